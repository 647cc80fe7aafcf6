"""Why an open step waits: ``waiting_for``."""

from collections.abc import Iterable
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from api.moments import stamp_or_none
from shared import jsontext
from shared.ids import Prefix, encode
from shared.states import StepStatus, Waits
from shared.store.runs_read import OpenStep, SettledStep

_TOO_MANY_REQUESTS: Final = 429


class WaitingFor(msgspec.Struct, frozen=True):
    """Why a step waits.

    Attributes:
        reason: one of queue, timer, retry, concurrency, rate_limit, callback, child_run, worker.
        until: when it ends at the latest, null if nobody can say.
        detail: a sentence for people.
    """

    reason: Annotated[
        str, Meta(description="one of queue, timer, retry, concurrency, rate_limit, callback, child_run, worker")
    ]
    until: Annotated[str | None, Meta(description="when it ends at the latest; null if nobody can say")]
    detail: Annotated[str, Meta(description="a sentence for people")]


#: By what a step waits for: the reason, and the sentence; ``{attempt}`` and ``{child}`` are filled in.
_REASONS: Final[dict[Waits, tuple[str, str]]] = {
    Waits.TIMER: ("timer", "It goes on when its time has come."),
    Waits.RETRY: ("retry", "Attempt {attempt} starts when its time has come."),
    Waits.CALLBACK: ("callback", "It waits for an answer to its callback URL."),
    Waits.PERSON: ("callback", "It waits for a person's answer."),
    Waits.CHILD_RUN: ("child_run", "It waits for the end of the run {child}, which it started."),
    Waits.ITEMS: ("child_run", "It waits for the ends of its items."),
    Waits.CONCURRENCY: (
        "concurrency",
        "It waits until its workflow's limit of runs at a time, or its schedule's overlap, lets it start.",
    ),
}
_RATE_LIMIT: Final = "The other side answered 429; attempt {attempt} starts when its time has come."


def rate_limited(settled: Iterable[SettledStep]) -> set[tuple[str, str, int]]:
    """The attempts (node, item, number) that follow one which was answered with 429."""
    return {
        (step.node_id, step.item, step.attempt + 1)
        for step in settled
        if step.status == StepStatus.RETRIED and step.error is not None and _is_limit(step.error)
    }


def waiting_for(step: OpenStep, *, waits: bool, limited: bool) -> WaitingFor | None:
    """Why a step waits; None while it is running.

    Args:
        step: that is open.
        waits: whether its node is one that waits.
        limited: whether it is to run again after an answer of 429.
    """
    if step.status == StepStatus.RUNNING:
        return None
    if step.status == StepStatus.WAITING:
        return _wait(step, _reason(step, waits=waits), limited=limited)
    if not step.attended:
        return WaitingFor("worker", None, "No worker is alive.")
    return WaitingFor("queue", None, "It waits for its turn.")


def _reason(step: OpenStep, *, waits: bool) -> Waits:
    """What it waits for; code from before iterators and callbacks only knew moments, and did not say which."""
    if step.waits is not None:
        return Waits(step.waits)
    return Waits.RETRY if step.claim_first and not waits else Waits.TIMER


def _wait(step: OpenStep, reason: Waits, *, limited: bool) -> WaitingFor:
    name, detail = _REASONS[reason]
    if reason is Waits.RETRY and limited:
        name, detail = "rate_limit", _RATE_LIMIT
    child = "" if step.child_run_id is None else encode(Prefix.RUN, step.child_run_id)
    return WaitingFor(name, stamp_or_none(step.due_at), detail.format(attempt=step.attempt, child=child))


def _is_limit(error: str) -> bool:
    return isinstance(told := jsontext.decode(error), dict) and told.get("status") == _TOO_MANY_REQUESTS
