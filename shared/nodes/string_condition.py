"""``string_condition``: goes on by ``true`` or ``false`` after comparing text."""

from collections.abc import Mapping
from typing import Any, ClassVar

import msgspec

from shared.nodes import comparisons
from shared.nodes.base import Kind, NodeType, Outcome
from shared.nodes.fields import Plain


class Data(msgspec.Struct, forbid_unknown_fields=True):
    """Configuration.

    Attributes:
        input: what is compared; values other than text stand as they would in text.
        operator: a word, or a symbol for equality; see `shared.nodes.comparisons`.
        value: what it is compared with; a list, or text with commas, for ``in``; ``/pattern/flags`` of RE2 for
            ``regex``.
        case_sensitive: whether ``a`` and ``A`` differ.
    """

    input: Any
    operator: Plain[comparisons.StringOperator]
    value: Any = None
    case_sensitive: bool = True


class StringCondition(NodeType[Data]):
    """Compares text and takes the handle ``true`` or ``false``; output ``{result}``."""

    component_id = "string_condition"
    title = "String condition"
    kind = Kind.CONDITION
    data_type = Data
    example: ClassVar[Mapping[str, Any]] = {
        "input": "{{ n1.email }}",
        "operator": "ends_with",
        "value": "@example.com",
        "case_sensitive": False,
    }
    example_context: ClassVar[Mapping[str, Any]] = {"n1": {"email": "ada@EXAMPLE.com"}}

    def handles(self, data: Mapping[str, Any]) -> tuple[str, ...]:  # noqa: ARG002 — the same for every data
        """``true`` and ``false``."""
        return ("true", "false")

    def check(self, data: Mapping[str, Any]) -> list[tuple[str, str]]:
        """See `NodeType.check`."""
        return comparisons.STRING.faults(data)

    def run(self, data: Data) -> Outcome:
        """Compare."""
        terms = comparisons.Terms(data.case_sensitive)
        result = comparisons.STRING.holds(data.operator, data.input, data.value, terms)
        return Outcome({"result": result}, "true" if result else "false")
