"""``boolean_condition``: goes on by ``true`` or ``false`` after looking at a boolean."""

from collections.abc import Mapping
from typing import Any, ClassVar, Final

import msgspec

from shared.nodes import comparisons
from shared.nodes.base import Kind, NodeType, Outcome
from shared.nodes.fields import Plain

_TERMS: Final = comparisons.Terms()


class Data(msgspec.Struct, forbid_unknown_fields=True):
    """Configuration.

    Attributes:
        input: true or false, 1 or 0, or a text that is one of true, false, yes, no, on, off, 1 and 0.
        operator: ``is_true``, ``is_false``, ``is_empty`` (null or an empty text) and its opposite look at the input
            alone; the others compare.
        value: what it is compared with, of the same kinds.
    """

    input: Any
    operator: Plain[comparisons.BooleanOperator] = "is_true"
    value: Any = None


class BooleanCondition(NodeType[Data]):
    """Looks at a boolean and takes the handle ``true`` or ``false``; output ``{result}``."""

    component_id = "boolean_condition"
    title = "Boolean condition"
    kind = Kind.CONDITION
    data_type = Data
    example: ClassVar[Mapping[str, Any]] = {"input": "{{ n1.active }}", "operator": "is_true"}
    example_context: ClassVar[Mapping[str, Any]] = {"n1": {"active": "yes"}}

    def handles(self, data: Mapping[str, Any]) -> tuple[str, ...]:  # noqa: ARG002 — the same for every data
        """``true`` and ``false``."""
        return ("true", "false")

    def check(self, data: Mapping[str, Any]) -> list[tuple[str, str]]:
        """See `NodeType.check`."""
        return comparisons.BOOLEAN.faults(data, default="is_true")

    def run(self, data: Data) -> Outcome:
        """Look at it."""
        result = comparisons.BOOLEAN.holds(data.operator, data.input, data.value, _TERMS)
        return Outcome({"result": result}, "true" if result else "false")
