"""``array_filter``: the items of a list that meet conditions, or those that do not."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, ClassVar, Literal

import msgspec

from shared.nodes.base import Kind, NodeType, Outcome
from shared.nodes.budget import Budget, limited
from shared.nodes.fields import Plain
from shared.nodes.list_comparisons import items_of
from shared.nodes.rules import ItemRule, Logic, predicate, rule_faults


class Data(msgspec.Struct, forbid_unknown_fields=True):
    """Configuration.

    Attributes:
        input: a list of at most 10,000 items.
        conditions: comparisons ``{field, operator, value}`` with the fields of the single conditions, and groups
            ``{logic, rules}``; at most 100 in all and 10 deep. One group may stand for the list.
        logic: what joins the conditions.
        mode: ``include`` keeps the items that meet them, ``exclude`` the others.
    """

    input: Any
    conditions: list[ItemRule] | ItemRule
    logic: Plain[Logic] = "AND"
    mode: Plain[Literal["include", "exclude"]] = "include"


class ArrayFilter(NodeType[Data]):
    """Keeps some items of a list, in their order; output ``{result}``."""

    component_id = "array_filter"
    title = "Array filter"
    kind = Kind.ACTION
    timed = True
    data_type = Data
    example: ClassVar[Mapping[str, Any]] = {
        "input": "{{ n1.sites }}",
        "mode": "include",
        "conditions": [
            {"field": "status", "operator": "equals", "value": "offline"},
            {
                "logic": "OR",
                "rules": [
                    {"field": "priority", "operator": ">=", "value": 3},
                    {"field": "owner.email", "operator": "ends_with", "value": "@example.com"},
                ],
            },
        ],
    }
    example_context: ClassVar[Mapping[str, Any]] = {
        "n1": {
            "sites": [
                {"status": "offline", "priority": 1, "owner": {"email": "ada@example.com"}},
                {"status": "offline", "priority": 2, "owner": {"email": "bob@example.org"}},
                {"status": "online", "priority": 5},
            ]
        }
    }

    def check(self, data: Mapping[str, Any]) -> list[tuple[str, str]]:
        """See `NodeType.check`."""
        conditions = data["conditions"]
        if not isinstance(conditions, dict):
            return rule_faults(conditions, "conditions")
        faults = rule_faults([conditions], "conditions")
        return [(path.replace("conditions[0]", "conditions", 1), message) for path, message in faults]

    def run_at(self, data: Data, now: Callable[[], datetime]) -> Outcome:
        """Filter."""
        items = limited(items_of(data.input, "data.input"), "data.input")
        rules = data.conditions if isinstance(data.conditions, list) else [data.conditions]
        meets = predicate(rules, data.logic, "data.conditions", now(), Budget())
        wanted = data.mode == "include"
        kept = [item for index, item in enumerate(items) if meets(item, index) is wanted]
        return Outcome({"result": kept})
