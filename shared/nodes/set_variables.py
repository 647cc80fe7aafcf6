"""``set_variables``: names for values, so that later templates are short."""

from collections import Counter
from collections.abc import Mapping
from typing import Any, ClassVar, Final

import msgspec

from shared.errors import StepFailedError
from shared.graph.suggest import shown
from shared.nodes.base import Kind, NodeType, Outcome
from shared.templates import is_template

#: Variables of one node.
MOST: Final = 500
_LONGEST: Final = 100


class Variable(msgspec.Struct, forbid_unknown_fields=True):
    """One variable of a list.

    Attributes:
        name: 1 to 100 characters, different from the others'.
        value: a string that is exactly one ``{{ expression }}`` keeps the value's type.
    """

    name: str
    value: Any = None


class Data(msgspec.Struct, forbid_unknown_fields=True):
    """Configuration.

    Attributes:
        variables: values by name, or a list of ``{"name", "value"}``; at most 500. Strings in a value that are exactly
            one ``{{ expression }}`` keep the value's type. None of them sees the others.
    """

    variables: dict[str, Any] | list[Variable]


class SetVariables(NodeType[Data]):
    """Names values; the output is the object of them: ``{{ n2.total }}``."""

    component_id = "set_variables"
    title = "Set variables"
    kind = Kind.ACTION
    data_type = Data
    example: ClassVar[Mapping[str, Any]] = {
        "variables": {"customer": "{{ n1.order.customer }}", "subject": "Order {{ n1.order.id }}"}
    }
    example_context: ClassVar[Mapping[str, Any]] = {"n1": {"order": {"id": 7, "customer": {"name": "Ada"}}}}

    def check(self, data: Mapping[str, Any]) -> list[tuple[str, str]]:
        """See `NodeType.check`."""
        raw = data["variables"]
        if isinstance(raw, str):
            return []
        if isinstance(raw, dict):
            return _faults([(f"variables.{name}", name) for name in raw])
        listed = [(f"variables[{index}].name", item.get("name")) for index, item in enumerate(raw) if _is_object(item)]
        return _faults([(path, name) for path, name in listed if not is_template(name)])

    def run(self, data: Data) -> Outcome:
        """The object of the variables."""
        raw = data.variables
        named = list(raw.items()) if isinstance(raw, dict) else [(item.name, item.value) for item in raw]
        for path, message in _faults([("variables", name) for name, _ in named]):
            raise StepFailedError("invalid_data", f"data.{path}: {message}")
        return Outcome(dict(named))


def _is_object(item: Any) -> bool:
    return isinstance(item, dict)


def _faults(names: list[tuple[str, Any]]) -> list[tuple[str, str]]:
    """What is wrong with names at their paths."""
    if len(names) > MOST:
        return [("variables", f"There are {len(names)} variables; legal: at most {MOST}.")]
    uses = Counter(name for _, name in names)
    faults = []
    for path, name in names:
        if not 1 <= len(name) <= _LONGEST:
            faults.append((path, f"A name has 1 to {_LONGEST} characters, not {len(name)}."))
        elif uses[name] > 1:
            faults.append((path, f"The name {shown(name)} stands {uses[name]} times; each stands once."))
    return faults
