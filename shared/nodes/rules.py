"""Conditions made of conditions: rules and groups of rules, over fixed inputs or over the items of a list.

A rule is one comparison. A group has a ``logic``, AND or OR, and members, which are rules or groups. Members are judged
in their order and no further than need be, so a first rule can protect a second: ``is_not_empty`` before ``>``.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any, Final, Literal

import msgspec

from shared.errors import StepFailedError
from shared.graph.suggest import listed, shown
from shared.nodes.budget import Budget, weight
from shared.nodes.comparisons import (
    ANY,
    BOOLEAN,
    NUMBER,
    STRING,
    BooleanOperator,
    Family,
    SwitchOperator,
    Terms,
    relocated,
)
from shared.nodes.date_comparisons import DATE, DateOperator, Unit, zone_faults
from shared.nodes.fields import Plain
from shared.nodes.list_comparisons import ARRAY, ArrayOperator

Logic = Literal["AND", "OR", "and", "or"]
Operator = Literal[SwitchOperator, DateOperator, BooleanOperator, ArrayOperator]
#: Rules and groups of one node, and groups inside each other.
MAX_RULES: Final = 100
MAX_DEPTH: Final = 10
_FAMILIES: Final[Mapping[str, Family]] = {family.name: family for family in (STRING, NUMBER, DATE, BOOLEAN, ARRAY)}
#: Whose an operator is if the rule does not say.
_GUESSES: Final = (ANY, DATE, BOOLEAN, ARRAY)
_OF_GROUPS: Final = ("rules", "conditions")
_SEGMENT: Final = re.compile(r"[^.\[\]]+")


class Comparing(msgspec.Struct, forbid_unknown_fields=True):
    """What rules of both kinds have in common.

    Attributes:
        operator: see the conditions of each type.
        value: what the input is compared with.
        type: what both sides are read as; if it is null, what the operator tells: order takes numbers, ``before`` and
            the like dates, ``is_true`` booleans, ``length_...`` lists, and the rest is text, so 5 equals "5".
        case_sensitive: whether ``a`` and ``A`` differ.
        timezone: of dates, an IANA name.
        unit: of ``within_last`` and ``within_next``.
        logic: of a group.
    """

    operator: Plain[Operator] = "equals"
    value: Any = None
    type: Plain[Literal["string", "number", "date", "boolean", "array"] | None] = None
    case_sensitive: bool = True
    timezone: str = "UTC"
    unit: Plain[Unit] = "days"
    logic: Plain[Logic] = "AND"


class Rule(Comparing, forbid_unknown_fields=True):
    """One comparison of an ``input``, or a group: ``logic`` with ``rules`` (or ``conditions``, the same).

    Attributes:
        input: what is compared.
        rules: members of a group.
        conditions: another name for them.
    """

    input: Any = None
    rules: "list[Rule] | None" = None
    conditions: "list[Rule] | None" = None

    def given(self, item: Any) -> Any:  # noqa: ARG002 — the same whatever the item
        """The input."""
        return self.input

    def place(self, path: str, index: int) -> str:  # noqa: ARG002 — likewise
        """Where the input stands."""
        return f"{path}.input"


class ItemRule(Comparing, forbid_unknown_fields=True):
    """One comparison of a ``field`` of an item, or a group: ``logic`` with ``rules`` (or ``conditions``, the same).

    Attributes:
        field: a path in the item, such as ``address.city`` or ``tags[0]``; null for the item itself. What is not there
            counts as null.
        rules: members of a group.
        conditions: another name for them.
    """

    field: str | None = None
    rules: "list[ItemRule] | None" = None
    conditions: "list[ItemRule] | None" = None

    def given(self, item: Any) -> Any:
        """The field of the item."""
        return item if self.field is None else member(item, self.field)

    def place(self, path: str, index: int) -> str:  # noqa: ARG002 — the item says more than the rule
        """Where the field stands."""
        return f"data.input[{index}]" + (f".{self.field[:80]}" if self.field else "")


Either = Rule | ItemRule
#: Whether an item meets some conditions; the second argument is its index.
Predicate = Callable[[Any, int], bool]


def member(item: Any, path: str) -> Any:
    """What stands at a path in a value, null if nothing does. A name that has dots itself goes before a path."""
    if isinstance(item, dict) and path in item:
        return item[path]
    for name in segments(path):
        if isinstance(item, dict):
            item = item.get(name)
        elif isinstance(item, list) and name.isdecimal() and int(name[:9]) < len(item):
            item = item[int(name[:9])]
        else:
            return None
    return item


@lru_cache(maxsize=512)
def segments(path: str) -> tuple[str, ...]:
    """The names and indices of a path such as ``address.city`` or ``tags[0]``."""
    return tuple(_SEGMENT.findall(path))


def predicate(rules: Sequence[Either], logic: str, path: str, present: datetime, budget: Budget) -> Predicate:
    """What tells whether an item meets some rules.

    Args:
        rules: at least one.
        logic: AND or OR.
        path: of each rule the path begins so, for errors.
        present: the moment that counts as now.
        budget: what judging takes is taken from it.

    Raises:
        StepFailedError: ``invalid_data`` if a rule or group is none, or there are too many.
    """
    return _Compiler(present, budget).joined(rules, logic, path, 1)


class _Compiler:
    def __init__(self, present: datetime, budget: Budget) -> None:
        self._present = present
        self._budget = budget
        self._count = 0

    def joined(self, rules: Sequence[Either], logic: str, path: str, depth: int) -> Predicate:
        self._count += len(rules)
        for fault in _size_faults(len(rules), depth, self._count):
            raise StepFailedError("invalid_data", f"{path}: {fault}")
        parts = [self._part(rule, f"{path}[{index}]", depth) for index, rule in enumerate(rules)]
        judge = any if logic.upper() == "OR" else all
        return lambda item, index: judge(part(item, index) for part in parts)

    def _part(self, rule: Either, path: str, depth: int) -> Predicate:
        for name in _OF_GROUPS:
            members: Sequence[Either] | None = getattr(rule, name)
            if members is not None:
                return self.joined(members, rule.logic, f"{path}.{name}", depth + 1)
        return self._leaf(rule, path)

    def _leaf(self, rule: Either, path: str) -> Predicate:
        compare = _family(rule.type, rule.operator, f"{path}.operator").comparisons[rule.operator]
        terms = Terms(rule.case_sensitive, rule.timezone, rule.unit, lambda: self._present)
        value, spend, own = rule.value, self._budget.spend, 1 + weight(rule.value)

        def holds(item: Any, index: int) -> bool:
            given = rule.given(item)
            spend(own + weight(given))
            try:
                return compare(given, value, terms)
            except StepFailedError as error:
                raise relocated(error, (rule.place(path, index), path)) from error

        return holds


def _family(kind: str | None, name: str, path: str) -> Family:
    """The family of an operator.

    Raises:
        StepFailedError: ``invalid_data`` if the kind has no such operator.
    """
    if kind is None:
        return next(family for family in _GUESSES if name in family.comparisons)
    family = _FAMILIES[kind]
    if name not in family.comparisons:
        legal = listed(tuple(family.comparisons))
        raise StepFailedError("invalid_data", f'{path}: {shown(name)} is no operator of "{kind}"; legal: {legal}.')
    return family


def _size_faults(length: int, depth: int, count: int) -> Iterator[str]:
    if length == 0:
        yield f"It is empty and takes 1 to {MAX_RULES} rules or groups."
    if depth > MAX_DEPTH:
        yield f"Groups nest at most {MAX_DEPTH} deep."
    if count > MAX_RULES:
        yield f"One node takes at most {MAX_RULES} rules and groups in all."


def rule_faults(rules: Any, path: str, *, side: str = "") -> list[tuple[str, str]]:
    """Everything that is wrong with raw rules, as (path, message).

    Args:
        rules: a list of rules whose fields have their types, or are templates; or a template.
        path: where it stands.
        side: a field that every rule must have.
    """
    return list(_Checker(side).faults(rules, path, 1))


class _Checker:
    def __init__(self, side: str) -> None:
        self._side = side
        self._count = 0

    def faults(self, rules: Any, path: str, depth: int) -> Iterator[tuple[str, str]]:
        if not isinstance(rules, list):
            return
        before, self._count = self._count, self._count + len(rules)
        # Too many are told once, where they become too many.
        for fault in _size_faults(len(rules), depth, self._count if before <= MAX_RULES else 0):
            yield path, fault
        if depth > MAX_DEPTH or self._count > MAX_RULES:
            return
        for index, rule in enumerate(rules):
            if isinstance(rule, dict):
                yield from self._rule(rule, f"{path}[{index}]", depth)

    def _rule(self, rule: Mapping[str, Any], path: str, depth: int) -> Iterator[tuple[str, str]]:
        groups = [name for name in _OF_GROUPS if rule.get(name) is not None]
        if not groups:
            yield from self._leaf(rule, path)
            return
        if len(groups) > 1:
            yield path, 'A group takes "rules" or "conditions", which are the same: not both.'
        for name in rule.keys() - {*_OF_GROUPS, "logic"}:
            yield f"{path}.{name}", 'A group takes "logic" and "rules" alone; comparisons are rules inside it.'
        for name in groups:
            yield from self.faults(rule[name], f"{path}.{name}", depth + 1)

    def _leaf(self, rule: Mapping[str, Any], path: str) -> Iterator[tuple[str, str]]:
        if self._side and self._side not in rule:
            yield f"{path}.{self._side}", f'"{self._side}" is required; a group has "rules" instead.'
        try:
            family = _family(rule.get("type"), rule.get("operator", "equals"), "")
        except StepFailedError as error:
            yield f"{path}.operator", error.message.removeprefix(": ")
            return
        yield from family.faults(rule, f"{path}.")
        yield from zone_faults(rule, f"{path}.")
