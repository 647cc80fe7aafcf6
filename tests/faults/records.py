"""What a drill leaves behind, as plain records: what the checker reads, and nothing else.

Runs are named by their id as the API writes it. Times are seconds of Unix time, on the clock of whoever wrote them:
a `Call` on the receiver's, the rest on Postgres's.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

#: How a receiver answered when it closed the connection instead.
CUT = 0


@dataclass
class Call:
    """One request that reached the receiver.

    Attributes:
        key: its ``Idempotency-Key``.
        run, node: as its body says.
        item: as its key says.
        nth: which call under this key it is, from 1.
        built_on: the tokens of its ancestors' answers that its body carries, by node; empty where there was none.
        began, ended: when it came, and when it was answered (None: never).
        status: of the answer; `CUT` if the connection was closed instead.
        token: what the answer named itself by, if it was a success.
    """

    key: str
    run: str
    node: str
    item: str
    nth: int
    built_on: dict[str, str]
    began: float
    ended: float | None = None
    status: int = CUT
    token: str | None = None


@dataclass
class Trigger:
    """One attempt of a client to start a run, with its repeats.

    Attributes:
        marker: in the payload, nobody else's.
        shape: name of the workflow's shape.
        payload: what was sent.
        keyed: whether it carried an ``Idempotency-Key``, so that it could be repeated.
        answers: the run ids that its 2xx answers named; none if it was refused or cut off.
        cancelled: whether somebody asked to cancel its run, whatever the answer was.
    """

    marker: int
    shape: str
    payload: Mapping[str, Any]
    keyed: bool
    answers: list[str] = field(default_factory=list)
    cancelled: bool = False


class Run(NamedTuple):
    """A row of ``runs``.

    Attributes:
        shape, marker: which trigger it belongs to; no marker for a scheduled one.
        open_steps: as the row counts them.
        left_open: rows of ``open_steps`` that there are.
    """

    id: str
    shape: str
    marker: int | None
    status: str
    open_steps: int
    left_open: int
    seq: int
    error_message: str | None
    output: Any
    started_at: float | None
    completed_at: float | None


class Step(NamedTuple):
    """A row of ``steps``."""

    node: str
    item: str
    attempt: int
    seq: int
    status: str
    handle: str | None
    output: Any
    error: Mapping[str, Any] | None
    started_at: float
    duration: float


class Sighting(NamedTuple):
    """What GET gave for a run at one moment; ``shown`` is the whole of it."""

    run: str
    at: float
    status: str
    shown: Mapping[str, Any]


class Slot(NamedTuple):
    """A row of ``schedule_slots``, and how many runs have its run id."""

    shape: str
    slot: float
    run: str
    runs: int


class Violation(NamedTuple):
    """A promise that was broken.

    Attributes:
        kind: which one, one of `tests.faults.checker.KINDS`.
        where: the run, the trigger or the slot.
        what: for people.
    """

    kind: str
    where: str
    what: str


class Case(NamedTuple):
    """Everything there is about one run; ``trigger`` is None if a schedule started it."""

    run: Run
    trigger: Trigger | None
    steps: Sequence[Step]
    calls: Sequence[Call]
    sightings: Sequence[Sighting]
