"""``array_condition``: goes on by ``true`` or ``false`` after looking at a list."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, ClassVar

import msgspec

from shared.nodes.base import Kind, NodeType, Outcome
from shared.nodes.budget import Budget, limited
from shared.nodes.comparisons import Terms
from shared.nodes.fields import Plain
from shared.nodes.list_comparisons import ARRAY, QUANTIFIERS, ArrayOperator, items_of
from shared.nodes.rules import ItemRule, Logic, predicate, rule_faults


class Data(msgspec.Struct, forbid_unknown_fields=True):
    """Configuration.

    Attributes:
        input: a list; for ``is_empty`` null will do.
        operator: ``contains`` looks for one value, ``contains_any``, ``contains_all`` and ``contains_none`` look for
            those of a list, ``length_...`` count the items. ``any``, ``all`` and ``none`` say how many items meet the
            ``conditions``, or without such, how many of a list of values are in the input.
        value: what is looked for, or a length; ``[min, max]``, both inside, for ``length_between``.
        conditions: what ``any``, ``all`` and ``none`` hold each of at most 10,000 items against: comparisons
            ``{field, operator, value}`` and groups ``{logic, rules}``, at most 100 in all and 10 deep.
        logic: what joins the conditions.
        case_sensitive: whether ``a`` and ``A`` differ; conditions have their own.
    """

    input: Any
    operator: Plain[ArrayOperator]
    value: Any = None
    conditions: list[ItemRule] | None = None
    logic: Plain[Logic] = "AND"
    case_sensitive: bool = True


class ArrayCondition(NodeType[Data]):
    """Looks at a list and takes the handle ``true`` or ``false``; output ``{result}``."""

    component_id = "array_condition"
    title = "Array condition"
    kind = Kind.CONDITION
    timed = True
    data_type = Data
    example: ClassVar[Mapping[str, Any]] = {
        "input": "{{ n1.orders }}",
        "operator": "any",
        "conditions": [{"field": "total", "operator": ">", "value": 100}],
    }
    example_context: ClassVar[Mapping[str, Any]] = {"n1": {"orders": [{"total": 80}, {"total": 120}]}}

    def handles(self, data: Mapping[str, Any]) -> tuple[str, ...]:  # noqa: ARG002 — the same for every data
        """``true`` and ``false``."""
        return ("true", "false")

    def check(self, data: Mapping[str, Any]) -> list[tuple[str, str]]:
        """See `NodeType.check`."""
        conditions, name = data.get("conditions"), data["operator"]
        if conditions is None:
            return ARRAY.faults(data)
        if name not in QUANTIFIERS:
            return [("conditions", f'Conditions go with "any", "all" and "none", not with "{name}".')]
        both = [("value", f'"{name}" takes "value" or "conditions": not both.')] if "value" in data else []
        return [*both, *rule_faults(conditions, "conditions")]

    def run_at(self, data: Data, now: Callable[[], datetime]) -> Outcome:
        """Look at it."""
        if data.conditions is None or data.operator not in QUANTIFIERS:
            result = ARRAY.holds(data.operator, data.input, data.value, Terms(data.case_sensitive))
        else:
            result = _quantified(data, data.conditions, now())
        return Outcome({"result": result}, "true" if result else "false")


def _quantified(data: Data, conditions: list[ItemRule], present: datetime) -> bool:
    items = limited(items_of(data.input, "data.input"), "data.input")
    meets = predicate(conditions, data.logic, "data.conditions", present, Budget())
    if data.operator == "all":
        return all(meets(item, index) for index, item in enumerate(items))
    found = any(meets(item, index) for index, item in enumerate(items))
    return found if data.operator == "any" else not found
