"""A node ready to run: what is constant was converted once, what holds templates is rendered for each run."""

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime
from typing import Any, Final, Generic

import msgspec

from shared.errors import StepFailedError
from shared.nodes.base import (
    DataT,
    Division,
    Exposed,
    Kind,
    Mode,
    NodeType,
    Outcome,
    StepContext,
    TriggerContext,
    Wait,
    this_clock,
)
from shared.nodes.references import check_templates, fields_for, templates_of
from shared.nodes.schema import Field
from shared.templates import TemplateError, allowance, limits, parse
from shared.templates.fields import Render, Rendering, renderer
from shared.templates.secrets import VAULT
from shared.templates.values import weigh

#: Templates that a node may have without its data being measured: each gives a few MB at most.
_FEW: Final = 8
#: Characters of the data of a node with more.
_LARGEST: Final = 8 * limits.OUTPUT

_TOO_LONG: Final = f"The templates that read the vault take more than {limits.SECONDS:g} s of processor time."


class Compiled(Generic[DataT]):
    """One node of one workflow version; implements `CompiledNode`.

    Attributes:
        references: the names its templates begin with.
        vault: the vault items that they read.
        secretive: whether it reads the vault, or its type uses secrets otherwise.
        authorized: whether its type is.
    """

    def __init__(self, node_id: str, node_type: NodeType[DataT], data: Mapping[str, Any]) -> None:
        self.id = node_id
        self.component_id = node_type.component_id
        self.kind: Kind = node_type.kind
        self.mode: Mode = node_type.mode
        self._type = node_type
        fields = fields_for(node_type, data)
        self.references = check_templates(templates_of(fields, data, "data"))[1]
        _check_names(fields, data)
        readers = [parse(source) for _, source in templates_of(fields, data, "data") if VAULT in source]
        self._readers = [template for template in readers if template.vault.names]
        self.vault: frozenset[str] = frozenset().union(*(template.vault.names for template in self._readers))
        self.secretive = bool(self.vault) or node_type.secretive or node_type.authorized
        self.authorized: bool = node_type.authorized
        self._rendered = _renderers(fields, data)
        changing = {name for name, _, _ in self._rendered}
        self._constant = _constants(fields, {name: data[name] for name in data if name not in changing})
        self._many = sum(1 for _ in templates_of(fields, data, "data")) > _FEW
        self._data = None if self._rendered else node_type.data_type(**self._constant)

    def trigger(self, context: TriggerContext) -> Outcome:
        """See `NodeType.trigger`. A trigger has nothing before it that a template could refer to."""
        if type(context.payload) is not dict and not self._type.any_payload:
            # The workflow was synchronous once, and a run of then is run again.
            context = msgspec.structs.replace(context, payload={"payload": context.payload})
        return self._type.trigger(self._render({}), context)

    def run(self, scope: Mapping[str, Any], now: Callable[[], datetime] = this_clock) -> Outcome:
        """See `NodeType.run` and `NodeType.run_at`."""
        allowance.begin()
        try:
            data = self._render(scope)
            return self._type.run_at(data, now) if self._type.timed else self._type.run(data)
        except TemplateError as error:
            raise _unwritable(error) from error
        finally:
            allowance.end()

    async def call(self, scope: Mapping[str, Any], context: StepContext) -> Outcome:
        """See `NodeType.call`."""
        try:
            return await self._type.call(self._rendered_in_time(scope, context.rendered), context)
        except TemplateError as error:
            raise _unwritable(error) from error

    async def exposes(self, scope: Mapping[str, Any]) -> Exposed:
        """See `CompiledNode.exposes`; a template that fails exposes nothing, and fails again when it is rendered.

        The readers are rendered twice, here and for the call, and draw on one allowance both times.
        """
        texts: list[str] = []
        began = time.thread_time()
        allowance.begin()
        try:
            for template in self._readers:
                with suppress(TemplateError):
                    texts += template.exposed(scope)
                if allowance.left() <= 0:
                    raise StepFailedError("template_error", _TOO_LONG)
        finally:
            allowance.end()
        return Exposed(texts, time.thread_time() - began)

    def begin(self, scope: Mapping[str, Any], context: StepContext) -> Wait:
        """See `NodeType.begin`."""
        return self._type.begin(self._rendered_in_time(scope), context)

    def resume(self, scope: Mapping[str, Any], context: StepContext) -> Outcome:
        """See `NodeType.resume`."""
        return self._type.resume(self._rendered_in_time(scope), context)

    def divide(self, scope: Mapping[str, Any]) -> Division:
        """See `NodeType.divide`."""
        return self._type.divide(self._rendered_in_time(scope))

    def _rendered_in_time(self, scope: Mapping[str, Any], spent: float = 0.0) -> DataT:
        allowance.begin(spent)
        try:
            return self._render(scope)
        finally:
            allowance.end()

    def _render(self, scope: Mapping[str, Any]) -> DataT:
        if self._data is not None:
            return self._data  # type: ignore[return-value] # made of the type's own Struct
        values = dict(self._constant)
        for name, render, annotation in self._rendered:
            value = render(scope)
            values[name] = value if annotation is None else _converted(value, annotation, name)
        if self._many:
            _check_size(values)
        return self._type.data_type(**values)  # type: ignore[return-value] # likewise


def _unwritable(error: TemplateError) -> StepFailedError:
    """The failure of a node that took a value for text which is too long as one (`shared.templates.values.text_of`)."""
    return StepFailedError("value_too_large", f"The node takes a value for text, and {error}.")


def _check_size(values: Mapping[str, Any]) -> None:
    """Refuse data that many templates have made too large together, before anything is made of them.

    Raises:
        StepFailedError: ``output_too_large``.
    """
    try:
        weigh(values, _LARGEST)
    except TemplateError as error:
        message = f"What the templates of the node give is over {_LARGEST:,} characters together."
        raise StepFailedError("output_too_large", message) from error


def _check_names(fields: Mapping[str, Field], data: Mapping[str, Any]) -> None:
    """Refuse data with a field too many or too few.

    Raises:
        StepFailedError: ``invalid_data``.
    """
    missing = [field.name for field in fields.values() if field.required and field.name not in data]
    for names, rule in ((missing, "is required"), ([name for name in data if name not in fields], "is not known")):
        if names:
            raise StepFailedError("invalid_data", f"data.{names[0]} {rule}.")


def _renderers(fields: Mapping[str, Field], data: Mapping[str, Any]) -> list[tuple[str, Render, Any]]:
    """Of each field with templates its name, what renders it, and what to convert that to, or None if it fits as is."""
    found = []
    for name, field in fields.items():
        render = renderer(data.get(name), f"data.{name}", field.rendering, data.get(field.fallbacks))
        if render is not None:
            found.append((name, render, None if _fits(field, data[name]) else field.annotation))
    return found


def _fits(field: Field, raw: Any) -> bool:
    bare = getattr(field.annotation, "__origin__", field.annotation)
    return bare is Any or (bare is str and field.rendering is Rendering.TEXT and isinstance(raw, str))


def _constants(fields: Mapping[str, Field], data: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _converted(value, fields[name].annotation, name) for name, value in data.items()}


def _converted(value: Any, annotation: Any, name: str) -> Any:
    """The value as its field takes it; text that a template gave may stand for a number or a boolean.

    Raises:
        StepFailedError: ``invalid_data`` if the field does not take it.
    """
    try:
        return msgspec.convert(value, annotation, strict=False)
    except msgspec.ValidationError as error:
        message, _, inner = str(error).partition(" - at `$")
        where = f"data.{name}{inner.rstrip('`')}"
        raise StepFailedError("invalid_data", f"{where}: {message.replace('`', '')}.") from error
    except UnicodeEncodeError as error:  # a lone surrogate where something else than text should be
        raise StepFailedError("invalid_data", f"data.{name}: a text that is no Unicode will not do here.") from error
