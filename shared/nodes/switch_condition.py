"""``switch_condition``: goes on by the first case that matches, or by ``default``."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Final

import msgspec

from shared.nodes import comparisons
from shared.nodes.asking import handle_faults
from shared.nodes.base import Kind, NodeType, Outcome
from shared.nodes.fields import Plain

#: Handles with a meaning of their own.
_RESERVED: Final = ("default", "error")
_SETTLED: Final = "No template can stand for a case: cases are handles, which are settled when the workflow is saved."


class Case(msgspec.Struct, forbid_unknown_fields=True):
    """One case.

    Attributes:
        name: the handle it takes, 1-64 characters, none of them a control character or half of a surrogate pair.
        operator: see `shared.nodes.comparisons`.
        value: what the input is compared with.
    """

    name: Plain[Annotated[str, msgspec.Meta(min_length=1, max_length=64)]]
    operator: Plain[comparisons.SwitchOperator] = "equals"
    value: Any = None


class Data(msgspec.Struct, forbid_unknown_fields=True):
    """Configuration.

    Attributes:
        input: what is compared with each case in turn.
        cases: 1-100, in order; the first that matches is taken.
        case_sensitive: whether ``a`` and ``A`` differ.
    """

    input: Any
    cases: Annotated[list[Case], msgspec.Meta(min_length=1, max_length=100)]
    case_sensitive: bool = True


class SwitchCondition(NodeType[Data]):
    """Takes the handle named by the first case that matches, or ``default``; output ``{case}``."""

    component_id = "switch_condition"
    title = "Switch"
    kind = Kind.CONDITION
    data_type = Data
    example: ClassVar[Mapping[str, Any]] = {
        "input": "{{ n1.status }}",
        "cases": [
            {"name": "paid", "operator": "equals", "value": "paid"},
            {"name": "open", "operator": "in", "value": ["open", "overdue"]},
        ],
    }
    example_context: ClassVar[Mapping[str, Any]] = {"n1": {"status": "overdue"}}

    def handles(self, data: Mapping[str, Any]) -> tuple[str, ...]:
        """The cases' names, in order and once each, and ``default``."""
        cases = data.get("cases")
        names = [case.get("name") for case in cases if isinstance(case, dict)] if isinstance(cases, list) else []
        legal = [name for name in names if isinstance(name, str) and name not in _RESERVED]
        return (*dict.fromkeys(legal), "default")

    def check(self, data: Mapping[str, Any]) -> list[tuple[str, str]]:
        """See `NodeType.check`."""
        cases = data["cases"]
        if not isinstance(cases, list):
            return [("cases", _SETTLED)]
        untold = [(f"cases[{index}]", _SETTLED) for index, case in enumerate(cases) if not isinstance(case, dict)]
        return untold or [*_name_faults(cases), *_value_faults(cases)]

    def run(self, data: Data) -> Outcome:
        """Find the case."""
        terms = comparisons.Terms(data.case_sensitive)
        for index, case in enumerate(data.cases):
            places = ("data.input", f"data.cases[{index}]")
            if comparisons.ANY.holds(case.operator, data.input, case.value, terms, places):
                return Outcome({"case": case.name}, case.name)
        return Outcome({"case": "default"}, "default")


def _name_faults(cases: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return handle_faults(
        [(f"cases[{index}].name", case["name"]) for index, case in enumerate(cases)], _RESERVED, "case"
    )


def _value_faults(cases: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return [fault for index, case in enumerate(cases) for fault in comparisons.ANY.faults(case, f"cases[{index}].")]
