"""``number_condition``: goes on by ``true`` or ``false`` after comparing numbers."""

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
        input: a number, or text that is one.
        operator: a word or a symbol.
        value: what it is compared with; ``[min, max]`` or ``{"min", "max"}``, both inside, for ``between``.
    """

    input: Any
    operator: Plain[comparisons.NumberOperator]
    value: Any


class NumberCondition(NodeType[Data]):
    """Compares numbers and takes the handle ``true`` or ``false``; output ``{result}``."""

    component_id = "number_condition"
    title = "Number condition"
    kind = Kind.CONDITION
    data_type = Data
    example: ClassVar[Mapping[str, Any]] = {"input": "{{ n1.total }}", "operator": ">=", "value": 100}
    example_context: ClassVar[Mapping[str, Any]] = {"n1": {"total": "250.5"}}

    def handles(self, data: Mapping[str, Any]) -> tuple[str, ...]:  # noqa: ARG002 — the same for every data
        """``true`` and ``false``."""
        return ("true", "false")

    def check(self, data: Mapping[str, Any]) -> list[tuple[str, str]]:
        """See `NodeType.check`."""
        return comparisons.NUMBER.faults(data)

    def run(self, data: Data) -> Outcome:
        """Compare."""
        result = comparisons.NUMBER.holds(data.operator, data.input, data.value, _TERMS)
        return Outcome({"result": result}, "true" if result else "false")
