"""``logical_group_condition``: goes on by ``true`` or ``false`` after judging rules joined by AND or OR."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, ClassVar

import msgspec

from shared.nodes.base import Kind, NodeType, Outcome
from shared.nodes.budget import Budget
from shared.nodes.fields import Plain
from shared.nodes.rules import Logic, Rule, predicate, rule_faults


class Data(msgspec.Struct, forbid_unknown_fields=True):
    """Configuration.

    Attributes:
        logic: AND: every rule holds; OR: one does.
        rules: 1-100 comparisons ``{input, operator, value}`` with the fields of the single conditions, and groups
            ``{logic, rules}``, which nest at most 10 deep; judged in their order and no further than need be.
    """

    rules: list[Rule]
    logic: Plain[Logic] = "AND"


class LogicalGroupCondition(NodeType[Data]):
    """Judges rules joined by AND or OR and takes the handle ``true`` or ``false``; output ``{result}``."""

    component_id = "logical_group_condition"
    title = "Logical group"
    kind = Kind.CONDITION
    timed = True
    data_type = Data
    example: ClassVar[Mapping[str, Any]] = {
        "logic": "AND",
        "rules": [
            {"input": "{{ n1.total }}", "operator": ">=", "value": 100},
            {
                "logic": "OR",
                "rules": [
                    {"input": "{{ n1.country }}", "operator": "in", "value": ["DE", "AT"]},
                    {"type": "boolean", "input": "{{ n1.vip }}", "operator": "is_true"},
                ],
            },
        ],
    }
    example_context: ClassVar[Mapping[str, Any]] = {"n1": {"total": 120, "country": "CH", "vip": True}}

    def handles(self, data: Mapping[str, Any]) -> tuple[str, ...]:  # noqa: ARG002 — the same for every data
        """``true`` and ``false``."""
        return ("true", "false")

    def check(self, data: Mapping[str, Any]) -> list[tuple[str, str]]:
        """See `NodeType.check`."""
        return rule_faults(data["rules"], "rules", side="input")

    def run_at(self, data: Data, now: Callable[[], datetime]) -> Outcome:
        """Judge the rules."""
        result = predicate(data.rules, data.logic, "data.rules", now(), Budget())(None, 0)
        return Outcome({"result": result}, "true" if result else "false")
