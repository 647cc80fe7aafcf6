"""Rules such as ``required|email|min:3`` for the fields of a value: read, and held against it.

The names and what they mean are Laravel's. Text is divided at ``|``; what follows ``regex:`` or ``not_regex:`` is
all of it the expression. A field is a path, in which ``*`` stands for every item: ``items.*.price``.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any, Final

import msgspec

from shared.errors import StepFailedError
from shared.graph.suggest import Nearest, shown
from shared.nodes.budget import ITEMS, Budget, weight
from shared.nodes.field_amounts import AMOUNTS
from shared.nodes.field_checks import Asked, Subject, filled
from shared.nodes.field_formats import FORMATS
from shared.nodes.field_presence import PRESENCE
from shared.nodes.field_relations import RELATIONS
from shared.nodes.rules import segments
from shared.templates import is_template

#: What says how the other rules of a field are applied, and asks nothing itself.
MODIFIERS: Final = ("nullable", "sometimes", "bail")
RULES: Final[Mapping[str, Asked]] = {**PRESENCE, **FORMATS, **AMOUNTS, **RELATIONS}
#: Fields with rules, rules of one field, and characters of one rule.
MAX_FIELDS: Final = 200
MAX_RULES: Final = 30
_LONGEST: Final = 4_096
_NUMERIC: Final = frozenset({"integer", "numeric"})
_EXPRESSIONS: Final = ("regex:", "not_regex:")
_EVERY: Final = "*"
RawRules = Mapping[str, str | list[str]] | str | Sequence[str]


class Check(msgspec.Struct, frozen=True):
    """One rule of a field.

    Attributes:
        name: of the rule.
        arguments: behind its colon.
    """

    name: str
    arguments: tuple[str, ...]

    @property
    def asked(self) -> Asked | None:
        """What it asks; None for a modifier."""
        return RULES.get(self.name)

    def phrase(self) -> str:
        """What it asks, in words."""
        phrase = self.asked.phrase if self.asked is not None else ""
        return phrase.replace("{}", ", ".join(self.arguments)[:200])


class FieldFault(msgspec.Struct, frozen=True):
    """A value that does not satisfy a rule.

    Attributes:
        path: where it is in the input, empty for the input itself.
        code: the name of the rule.
        message: for people.
    """

    path: str
    code: str
    message: str


def rule_faults(rules: Any, path: str) -> Iterator[tuple[str, str]]:
    """What is wrong with raw rules, as (path, message)."""
    if isinstance(rules, str) and is_template(rules):
        return
    nearest = Nearest()
    fields = _fields(rules)
    if not 1 <= len(fields) <= MAX_FIELDS:
        yield path, f"There are rules for {len(fields)} fields; it takes 1 to {MAX_FIELDS}."
        return
    for field, raw in fields.items():
        at = f"{path}.{field}" if isinstance(rules, Mapping) else path
        texts = [text for text in _texts(raw) if not is_template(text)]
        if not 1 <= len(_texts(raw)) <= MAX_RULES:
            yield at, f"A field takes 1 to {MAX_RULES} rules."
            continue
        for text in texts:
            yield from ((at, message) for message in _text_faults(text, nearest))


def _text_faults(text: str, nearest: Nearest) -> Iterator[str]:
    if len(text) > _LONGEST:
        yield f"A rule has at most {_LONGEST:,} characters."
        return
    check = _check_of(text)
    asked = check.asked
    legal = (*RULES, *MODIFIERS)
    if asked is None:
        if check.name not in MODIFIERS:
            hint = nearest.hint(check.name, lambda: legal)
            yield f"{shown(check.name)} is no rule; the rules are {', '.join(legal)}{hint}"
        return
    if not asked.least <= len(check.arguments) <= asked.most:
        counts = "none" if not asked.most else f"{asked.least}" + (" or more" if asked.most > asked.least else "")
        yield f'The rule "{check.name}" takes {counts} behind its colon, not {len(check.arguments)}.'
        return
    try:
        for argument in check.arguments:
            asked.argument(argument)
    except StepFailedError as error:
        yield f'The rule "{check.name}": {error.message.removeprefix("data.value: ")}'


def _fields(rules: Any) -> Mapping[str, Any]:
    return rules if isinstance(rules, Mapping) else {"": rules}


def _texts(raw: str | Sequence[str]) -> list[str]:
    """The rules of a field, one by one."""
    if not isinstance(raw, str):
        return [text.strip() for text in raw]
    texts: list[str] = []
    rest = raw
    while rest:
        text, _, following = rest.partition("|")
        if text.strip().startswith(_EXPRESSIONS):
            text, following = rest, ""
        texts.append(text.strip())
        rest = following
    return texts


@lru_cache(maxsize=2048)
def _check_of(text: str) -> Check:
    name, colon, rest = text.partition(":")
    if not colon:
        return Check(name, ())
    whole = text.startswith(_EXPRESSIONS)
    return Check(name, (rest,) if whole else tuple(argument.strip() for argument in rest.split(",")))


def faults_of(value: Any, rules: RawRules, now: Callable[[], datetime], budget: Budget, most: int) -> list[FieldFault]:
    """Every fault of a value, in the order of the rules; the first ``most``.

    Raises:
        StepFailedError: ``invalid_data`` if a rule is none, ``too_much_work``.
    """
    for at, message in rule_faults(rules, "data.rules"):
        raise StepFailedError("invalid_data", f"{at}: {message}")
    found: list[FieldFault] = []
    for field, raw in _fields(rules).items():
        checks = [_check_of(text) for text in _texts(raw)]
        for path, present, given in places(value, field, budget):
            numeric = any(check.name in _NUMERIC for check in checks)
            found += _faults(Subject(given, present, path, value, numeric, now), checks, budget)
            if len(found) >= most:
                return found[:most]
    return found


def places(value: Any, field: str, budget: Budget) -> list[tuple[str, bool, Any]]:
    """Each value that a field means, as (path, whether it is there, value).

    Raises:
        StepFailedError: ``too_many_items`` if they are more than 10,000.
    """
    found: list[tuple[str, bool, Any]] = [("", True, value)]
    for name in segments(field):
        following: list[tuple[str, bool, Any]] = []
        for path, present, part in found:
            budget.spend(1)
            following += _every(path, part) if name == _EVERY else [_member(path, present, part, name)]
            if len(following) > ITEMS:
                raise StepFailedError("too_many_items", f"data.rules.{field[:80]} means more than {ITEMS:,} values.")
        found = following
    return found


def _every(path: str, part: Any) -> list[tuple[str, bool, Any]]:
    if isinstance(part, list):
        return [(f"{path}[{index}]", True, item) for index, item in enumerate(part)]
    if isinstance(part, dict):
        return [(_below(path, name), True, item) for name, item in part.items()]
    return []


def _member(path: str, present: bool, part: Any, name: str) -> tuple[str, bool, Any]:
    if isinstance(part, list) and name.isdecimal():
        index = int(name[:9])
        there = index < len(part)
        return f"{path}[{index}]", there, part[index] if there else None
    there = present and isinstance(part, dict) and name in part
    return _below(path, name), there, part[name] if there else None


def _below(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _faults(subject: Subject, checks: Sequence[Check], budget: Budget) -> Iterator[FieldFault]:
    names = {check.name for check in checks}
    if "sometimes" in names and not subject.present:
        return
    for check in checks:
        asked = check.asked
        if asked is None or not _applies(asked, subject, names):
            continue
        budget.spend(2 + 2 * weight(subject.value) + len(check.arguments) // 8)
        if asked.test(subject, check.arguments):
            continue
        yield FieldFault(subject.path, check.name, _message(subject, check))
        if "bail" in names:
            return


def _applies(asked: Asked, subject: Subject, names: set[str]) -> bool:
    """Whether a rule is asked: of nothing only an implicit one, of null and blank text not if they are allowed."""
    if asked.implicit:
        return True
    if not subject.present or (isinstance(subject.value, str) and not filled(subject.value)):
        return False
    return not (subject.value is None and "nullable" in names)


def _message(subject: Subject, check: Check) -> str:
    named = shown(subject.path) if subject.path else "The value"
    return f"{named} {check.phrase()}; it is {shown(subject.value) if subject.present else 'not there'}."
