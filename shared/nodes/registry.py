"""Every node type of this process: the files of this package, and what installed packages add.

A package adds types through the entry point group ``edgewise.nodes``, each entry naming a `NodeType` subclass.
"""

import pkgutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from importlib import import_module
from typing import Any, Final, TypeGuard

import msgspec

import shared.nodes
from shared.errors import Fault, NotFoundError, StepFailedError
from shared.graph.catalogue import DOCUMENTATION_FIELDS, OPERATION_FIELD, SETTINGS_FIELDS
from shared.graph.plan import Plan
from shared.log import get
from shared.nodes.base import CompiledNode, Kind, Mode, NodeType
from shared.nodes.compiled import Compiled
from shared.nodes.data_schema import data_schema
from shared.nodes.plugins import installed
from shared.nodes.references import VaultUse, check_templates, fields_for, templates_of, vault_faults, vault_uses
from shared.nodes.schema import fields_of, object_faults
from shared.nodes.unusable import Unusable
from shared.questions import Question
from shared.templates import TemplateError, TemplateSyntaxError, limits

#: Where the types of this package come from.
OWN: Final = "edgewise"
_log = get(__name__)
_NOT_CONFIG: Final = frozenset((*SETTINGS_FIELDS, *DOCUMENTATION_FIELDS))


class Registry:
    """The node types by component id and alias; implements `shared.graph.catalogue.Catalogue`."""

    def __init__(self, types: Iterable[NodeType[Any]]) -> None:
        self._types: dict[str, NodeType[Any]] = {}
        self._canonical: dict[str, str] = {}
        self._origins: dict[str, str] = {}
        for node_type in types:
            self.add(node_type)

    def add(self, node_type: NodeType[Any], origin: str = OWN) -> None:
        """Add a type, all of its names or none of them.

        Args:
            node_type: an instance of it.
            origin: where it comes from, for messages: ``edgewise`` or what `shared.nodes.plugins` says.

        Raises:
            ValueError: naming both types, if one of its names is taken.
        """
        for name in (node_type.component_id, *node_type.aliases):
            owner = self._canonical.get(name)
            if owner is not None:
                both = f"{owner} of {self._origins[owner]} and {node_type.component_id} of {origin}"
                raise ValueError(f"two node types are called {name!r}: {both}")
        self._canonical |= dict.fromkeys((node_type.component_id, *node_type.aliases), node_type.component_id)
        if node_type.mode is not Mode.EFFECT and any(field.secret for field in fields_of(node_type.data_type).values()):
            raise ValueError(f"{node_type.component_id!r} is no effect: values of the vault may not enter it")
        self._types[node_type.component_id] = node_type
        self._origins[node_type.component_id] = origin

    def origin(self, component: str) -> str:
        """Where a type comes from: ``edgewise``, or an entry point and its distribution."""
        return self._origins[component]

    def resolve(self, component: str) -> str | None:
        """See `Catalogue.resolve`."""
        return self._canonical.get(component)

    def names(self) -> Sequence[str]:
        """See `Catalogue.names`."""
        return tuple(sorted(self._types))

    def kind(self, component: str) -> Kind | None:
        """See `Catalogue.kind`."""
        found = self._types.get(component)
        return found.kind if found else None

    def mode(self, component: str) -> Mode:
        """See `Catalogue.mode`."""
        return self.type_of(component).mode

    def asks(self, component: str) -> bool:
        """See `Catalogue.asks`."""
        return self.type_of(component).asks

    def operates(self, component: str) -> bool:
        """See `Catalogue.operates`."""
        return _operates(self.type_of(component))

    def handles(self, component: str, data: Mapping[str, Any]) -> tuple[str, ...]:
        """See `Catalogue.handles`. Of a type that breaks there are none; `check` tells."""
        try:
            return self.type_of(component).handles(data)
        except Exception:  # noqa: BLE001 — what an outside package does
            _log.exception("a node type broke", component=component, origin=self._origins.get(component))
            return ()

    def check(self, component: str, data: Mapping[str, Any], path: str) -> tuple[list[Fault], frozenset[str]]:
        """See `Catalogue.check`."""
        try:
            return self._check(self.type_of(component), data, path)
        except (RecursionError, TemplateSyntaxError):
            message = f"Objects and lists in it nest at most {limits.DEPTH} deep."
            return [Fault(path, "invalid_value", message)], frozenset()
        except TemplateError as error:  # a constant that is too long for a text (`shared.templates.values.text_of`)
            return [Fault(path, "invalid_value", f"It holds what is too large: {error}.")], frozenset()
        except Exception as error:  # noqa: BLE001 — what an outside package does
            _log.exception("a node type broke", component=component, origin=self._origins.get(component))
            message = f"The node type of {self._origins.get(component)} broke over this data: {type(error).__name__}."
            return [Fault(path, "broken_component", message)], frozenset()

    def _check(
        self, node_type: NodeType[Any], data: Mapping[str, Any], path: str
    ) -> tuple[list[Fault], frozenset[str]]:
        faults = list(object_faults(node_type.data_type, data, path))
        template_faults, roots = check_templates(templates_of(fields_for(node_type, data), data, path))
        template_faults += vault_faults(fields_for(node_type, data), data, path)
        if not faults:
            told = [*_missing(node_type), *node_type.check(data)]
            faults.extend(Fault(f"{path}.{at}", "invalid_value", text) for at, text in told)
        return faults + template_faults, roots

    def vault_uses(self, component: str, data: Mapping[str, Any], path: str) -> list[VaultUse]:
        """The vault items that a node with this raw, faultless ``data`` names, in templates and otherwise.

        Args:
            component: its id or an alias.
            data: as the author wrote it.
            path: where it stands.
        """
        node_type = self.type_of(self._canonical.get(component, component))
        config = _config(node_type, data)
        otherwise = [VaultUse(f"{path}.{at}", name) for at, name in node_type.vault_names(config)]
        return [*vault_uses(fields_for(node_type, config), config, path), *otherwise]

    def compile(self, node_id: str, component: str, data: Mapping[str, Any]) -> CompiledNode:
        """A node ready to run. Settings and documentation fields in ``data`` are passed over.

        Data that the type does not take give a node that fails its step with the reason.

        Raises:
            NotFoundError: if there is no such type, so that the step is left to a newer worker.
        """
        node_type = self.type_of(self._canonical.get(component, component))
        try:
            return Compiled(node_id, node_type, _config(node_type, data))
        except (StepFailedError, TemplateSyntaxError) as error:
            return Unusable(node_id, node_type, str(error))

    def question(self, component: str, data: Mapping[str, Any]) -> Question | None:
        """What a node with this raw ``data`` asks, its templates as they stand; None if it does not ask."""
        node_type = self._types.get(self._canonical.get(component, component))
        if node_type is None or not node_type.asks:
            return None
        try:
            return node_type.question(msgspec.convert(_config(node_type, data), node_type.data_type))
        except msgspec.ValidationError:  # a version of the node that this code does not take
            return None

    def responses(self, plan: Plan) -> tuple[str, ...]:
        """The nodes of a plan whose steps answer the request that started the run: none inside an iterator does."""
        return tuple(
            name
            for name, node in plan.nodes.items()
            if not node.scope and not node.settings.disabled and self.type_of(node.component).answers(node.data)
        )

    def schema(self, component: str) -> dict[str, Any]:
        """The JSON Schema of a node's ``data`` as it is written; see `shared.nodes.data_schema`."""
        return data_schema(self.type_of(component))

    def type_of(self, component: str) -> NodeType[Any]:
        """The node type of a canonical component id.

        Raises:
            NotFoundError: if there is none.
        """
        try:
            return self._types[component]
        except KeyError:
            raise NotFoundError("unknown_component", f'There is no node type "{component[:80]}".') from None


def _missing(node_type: NodeType[Any]) -> Iterator[tuple[str, str]]:
    """The extras that a type needs and that are not installed, each told once."""
    for name in dict.fromkeys(extra.name for extra in node_type.extras):
        told = (extra.faults() for extra in node_type.extras if extra.name == name)
        yield from next((faults for faults in told if faults), [])


def _operates(node_type: NodeType[Any]) -> bool:
    return OPERATION_FIELD in fields_of(node_type.data_type)


def _config(node_type: NodeType[Any], data: Mapping[str, Any]) -> dict[str, Any]:
    """``data`` without what belongs to the engine or documents the node."""
    aside = _NOT_CONFIG if _operates(node_type) else _NOT_CONFIG | {OPERATION_FIELD}
    return {name: value for name, value in data.items() if name not in aside}


@lru_cache(maxsize=1)
def default_registry() -> Registry:
    """The registry of this process.

    An installed package whose type cannot be had, or whose name is taken, is logged and left out: the rest works.
    """
    registry = Registry(_built_in())
    for plugin in installed():
        try:
            registry.add(plugin.node_type, plugin.origin)
        except ValueError as error:
            _log.error("a node type of an installed package is left out", origin=plugin.origin, reason=str(error))
    return registry


def _built_in() -> Iterator[NodeType[Any]]:
    for module in pkgutil.iter_modules(shared.nodes.__path__):
        for found in vars(import_module(f"shared.nodes.{module.name}")).values():
            if _is_node_type(found) and found.__module__ == f"{shared.nodes.__name__}.{module.name}":
                yield found()


def _is_node_type(found: object) -> TypeGuard[type[NodeType[Any]]]:
    return isinstance(found, type) and issubclass(found, NodeType) and found is not NodeType
