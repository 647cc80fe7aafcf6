"""Rules of ``validate`` about whether a value is there."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from shared.nodes.field_checks import MANY, Arguments, Asked, Subject, Test, filled
from shared.nodes.operands import truth_of
from shared.nodes.rules import member
from shared.templates.values import text_of


def _required_if(wanted: bool) -> Test:
    """Asked for if another field has one of some values, or if it has none of them."""

    def test(subject: Subject, arguments: Arguments) -> bool:
        asked = (text_of(member(subject.root, arguments[0])) in arguments[1:]) is wanted
        return not asked or filled(subject.value)

    return test


def _required_with(judge: Callable[[Any], bool], *, wanted: bool) -> Test:
    """Asked for if any or all (``judge``) of the other fields are there, or are not."""

    def test(subject: Subject, arguments: Arguments) -> bool:
        asked = judge(filled(member(subject.root, other)) is wanted for other in arguments)
        return not asked or filled(subject.value)

    return test


#: By name; they are asked of values that are not there, too.
PRESENCE: Final[Mapping[str, Asked]] = {
    "required": Asked(lambda subject, _: filled(subject.value), "is required", implicit=True),
    "required_if": Asked(_required_if(True), "is required if {}", 2, MANY, implicit=True),
    "required_unless": Asked(_required_if(False), "is required unless {}", 2, MANY, implicit=True),
    "required_with": Asked(_required_with(any, wanted=True), "is required with any of {}", 1, MANY, implicit=True),
    "required_with_all": Asked(_required_with(all, wanted=True), "is required with all of {}", 1, MANY, implicit=True),
    "required_without": Asked(_required_with(any, wanted=False), "is required without {}", 1, MANY, implicit=True),
    "required_without_all": Asked(
        _required_with(all, wanted=False), "is required without any of {}", 1, MANY, implicit=True
    ),
    "present": Asked(lambda subject, _: subject.present, "must be there, if only as null", implicit=True),
    "filled": Asked(
        lambda subject, _: not subject.present or filled(subject.value),
        "must not be empty if it is there",
        implicit=True,
    ),
    "accepted": Asked(
        lambda subject, _: truth_of(subject.value) is True, "must be accepted: true, 1, yes or on", implicit=True
    ),
    "declined": Asked(
        lambda subject, _: truth_of(subject.value) is False, "must be declined: false, 0, no or off", implicit=True
    ),
    "prohibited": Asked(lambda subject, _: not filled(subject.value), "must not be given", implicit=True),
}
