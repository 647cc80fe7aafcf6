"""What one run writes together: the unit of the group commit, and what it consists of."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from shared.states import StepStatus, Waits

#: What `Reference`-like keys of a step are made of: run, node, item.
Key = tuple[UUID, str, str]


class Result(NamedTuple):
    """One settled attempt of a step; texts are JSON.

    Attributes:
        own: it is the held step's own, so it is recorded even when the run is being ended.
        started_us: microseconds since 1970, on Postgres's clock.
        duration_ms: milliseconds.
    """

    own: bool
    node_id: str
    item: str
    attempt: int
    status: str
    handle: str | None
    output: str | None
    input: str | None
    error: str | None
    started_us: int
    duration_ms: int


class Opening(NamedTuple):
    """A step that opens: ``running`` under a claim of the worker itself, ``ready`` for others, or ``waiting``.

    Attributes:
        waits: what a waiting step waits for (`shared.states.Waits`).
        child_run_id: the run it waits for.
        wake: ``item`` for the start of an iterator's item.
    """

    node_id: str
    item: str
    status: str
    attempt: int
    claim_id: UUID | None
    due_at: datetime | None
    claim_first: bool
    waits: str | None = None
    child_run_id: UUID | None = None
    wake: str | None = None

    @property
    def is_active(self) -> bool:
        """Whether it counts against its run's time-out: ready, running or between retries."""
        return self.status != StepStatus.WAITING or self.waits == Waits.RETRY


class Arrival(NamedTuple):
    """Edges into a join that this advance settles; ``need`` as in `shared.graph.plan.PlanNode`."""

    node_id: str
    item: str
    arrived: int
    fired: int
    degree: int
    need: int


class Iteration(NamedTuple):
    """An iterator that begins.

    Attributes:
        first: how many of its items are among the openings.
        halts: whether a failed item stops the others.
        contents: the items as JSON texts.
    """

    node_id: str
    item: str
    first: int
    halts: bool
    contents: Sequence[str]


class Asked(NamedTuple):
    """A step that begins to wait for an answer, and its question as JSON; ``shared/questions.py``."""

    node_id: str
    item: str
    question: str


class ChildCall(NamedTuple):
    """A step that starts a run, under an id minted for it; it is among the openings, as one that waits for this run.

    Attributes:
        payload: JSON text.
        waits: whether the step goes on with the run's end; if not it goes on at once.
    """

    node_id: str
    item: str
    child_run_id: UUID
    workflow_id: UUID
    payload: str
    waits: bool


class Publishing(NamedTuple):
    """A step that publishes an event; it is among the openings, as one that waits, and goes on in the same transaction.

    Attributes:
        payload: JSON text.
    """

    node_id: str
    item: str
    event: str
    payload: str


class ItemFailure(NamedTuple):
    """The item that the held step belongs to failed.

    Attributes:
        error: ``{code, message}`` as JSON.
        body: the nodes inside the iterator.
    """

    error: str
    body: Sequence[str]


class Advance(NamedTuple):
    """All that one run writes together.

    Attributes:
        claim_id: under which the held step was claimed; None if it was not.
        started_us: when it began, in microseconds since 1970, on Postgres's clock.
        outcome: the status the run is to end with, decided by this advance; None if it goes on.
        abort: the outcome is `terminate`'s: steps in flight are aborted, not awaited.
        next_claim: of the opening this worker goes on with, if any.
        error_message: beside no outcome: the run fails with it once every branch has ended (``finish_branches``).
        iterator: the innermost one that the held step lies in; its `item` is one of that iterator's.
        caller: the run that waits for this one.
        wake: what had woken the held step; None if it had not waited.
        answers: it settles a step that answers the request which started the run.
    """

    run_id: UUID
    node_id: str
    item: str
    claim_id: UUID | None
    started_us: int
    results: Sequence[Result]
    openings: Sequence[Opening] = ()
    arrivals: Sequence[Arrival] = ()
    outcome: str | None = None
    error_message: str | None = None
    output: str | None = None
    abort: bool = False
    next_claim: UUID | None = None
    iterator: str | None = None
    caller: UUID | None = None
    item_failure: ItemFailure | None = None
    iterations: Sequence[Iteration] = ()
    questions: Sequence[Asked] = ()
    calls: Sequence[ChildCall] = ()
    wake: str | None = None
    answers: bool = False
    publications: Sequence[Publishing] = ()

    @property
    def ends(self) -> bool:
        """Whether it ends its run or its item, so that nothing else of the run may be in its batch."""
        return self.outcome is not None or self.item_failure is not None

    @property
    def needs_transaction(self) -> bool:
        """Whether more than the one statement belongs to it."""
        return self.item_failure is not None or bool(
            self.iterations or self.questions or self.calls or self.publications
        )
