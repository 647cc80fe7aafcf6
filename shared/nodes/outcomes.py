"""How steps end, and what those that do not end yet wait for or go over."""

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

import msgspec

from shared.questions import Question
from shared.states import Waits


class Terminate(msgspec.Struct, frozen=True):
    """Ends the whole run at once, with this status, message and output."""

    status: Literal["completed", "failed"]
    message: str | None = None
    output: Any = None


class Outcome(msgspec.Struct, frozen=True):
    """How a step ended well.

    Attributes:
        output: an object; what templates behind this node see under its id.
        handle: the named handle taken, or None for the single unnamed output.
        step_input: what an effect was called with, for its log entry; never a secret.
        terminate: set by `terminate` alone.
    """

    output: dict[str, Any]
    handle: str | None = None
    step_input: Any = None
    terminate: Terminate | None = None


class WorkflowCall(msgspec.Struct, frozen=True):
    """A run that the step starts, in the transaction in which it begins to wait.

    Attributes:
        workflow_id: of the same workspace.
        payload: what the run is started with.
        waits: whether the step goes on with the run's end; if not it goes on at once.
    """

    workflow_id: UUID
    payload: dict[str, Any]
    waits: bool


class EventCall(msgspec.Struct, frozen=True):
    """An event that the step publishes, in the transaction in which it begins to wait; it goes on in the same one.

    What ends the wait is an ``answer`` whose outcome is ``published``, with ``run_ids`` as its data, or says why not.
    """

    name: str
    payload: Any


class Wait(msgspec.Struct, frozen=True):
    """The step waits until a moment of Postgres's clock, or for an answer, or a run's end, that comes before it.

    Attributes:
        reason: what it waits for: a timer, a callback, a person or a run.
        question: what is asked of whoever follows the step's link; only for callbacks and persons.
        call: the run that it starts and waits for.
        event: what it publishes.
    """

    until: datetime
    reason: Waits = Waits.TIMER
    question: Question | None = None
    call: WorkflowCall | None = None
    event: EventCall | None = None


class Division(msgspec.Struct, frozen=True):
    """What an iterator goes over.

    Attributes:
        items: at most 10,000 values.
        concurrency: how many of them may be under way at once.
        halts: whether a failed item stops the others.
    """

    items: list[Any]
    concurrency: int
    halts: bool
