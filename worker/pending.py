"""What a walk has settled since its last commit, and the advance that is made of it."""

import time
from collections import deque
from collections.abc import Callable
from datetime import datetime
from functools import cache
from typing import Final
from uuid import UUID

from shared.advances import Arrival, Asked, ChildCall, ItemFailure, Iteration, Opening, Publishing, Result
from shared.db import Clock
from shared.graph import advance as graph
from shared.graph.paths import child
from shared.graph.plan import Plan, PlanNode
from shared.metrics import STEPS
from shared.nodes.base import Division, Wait
from shared.states import StepStatus, Waits
from shared.texts import Texts, item_text

_NOTHING: Final = Texts(None, None)
#: The counter of attempts of a component that ended in one way, looked up by its labels once.
_attempts: Final = cache(STEPS.labels)


class Pending:
    """Results, openings and outcome of one stretch of a walk; its steps all lie at one item path.

    Attributes:
        began: when the stretch did, in microseconds since 1970.
        queue: nodes that may run now.
        effects: nodes that may run once this is committed.
        outcome: what the run is to end with; None if it goes on.
        error_message: of the outcome; without one the run fails once its branches have ended.
    """

    def __init__(self, clock: Clock, item: str, own: str) -> None:
        self._clock = clock
        self._item = item
        self._own = own
        self.began = clock.microseconds()
        self.queue: deque[str] = deque()
        self.effects: list[PlanNode] = []
        self.results: list[Result] = []
        self.openings: list[Opening] = []
        self.iterations: list[Iteration] = []
        self.questions: list[Asked] = []
        self.calls: list[ChildCall] = []
        self.publications: list[Publishing] = []
        self.item_failure: ItemFailure | None = None
        self.outcome: str | None = None
        self.error_message: str | None = None
        self.output: str | None = None
        self.abort = False
        self._endings: dict[tuple[str, str], int] = {}

    @property
    def is_over(self) -> bool:
        """Whether the run, or the item, has been decided: nothing more of it starts."""
        return self.outcome is not None or self.item_failure is not None

    def record(  # noqa: PLR0917
        self,
        node: PlanNode,
        attempt: int,
        status: StepStatus,
        seconds: float,
        texts: Texts = _NOTHING,
        handle: str | None = None,
    ) -> None:
        """One settled attempt."""
        ending = (node.component, status)
        self._endings[ending] = self._endings.get(ending, 0) + 1
        self.results.append(
            Result(
                node.id == self._own,
                node.id,
                self._item,
                attempt,
                status,
                handle,
                texts.output,
                texts.step_input,
                texts.error,
                self._clock.microseconds(time.monotonic() - seconds),
                int(seconds * 1000),
            )
        )

    def count(self) -> None:
        """Count the attempts, each way of ending once: a counter takes its lock, at half a microsecond."""
        for ending, number in self._endings.items():
            _attempts(*ending).inc(number)
        self._endings.clear()

    def retry(self, node: PlanNode, attempt: int, delay: float) -> None:
        """A failed attempt is followed by another after so many seconds."""
        due = self._clock.at(time.monotonic() + delay)
        self._open(node.id, StepStatus.WAITING, attempt + 1, due, Waits.RETRY, claim_first=True)

    def wait(self, node: PlanNode, attempt: int, wait: Wait, new_id: Callable[[], UUID]) -> None:
        """A step waits, until a moment at most; the run that it waits for starts under a fresh id.

        Raises:
            StepFailedError: if its question, or what it calls a workflow or publishes an event with, is too large.
        """
        if wait.question is not None:
            self.questions.append(Asked(node.id, self._item, item_text(wait.question)))
        child = None
        if wait.call is not None:
            child, text = new_id(), item_text(wait.call.payload)
            self.calls.append(ChildCall(node.id, self._item, child, wait.call.workflow_id, text, wait.call.waits))
        if wait.event is not None:
            text = item_text(wait.event.payload)
            self.publications.append(Publishing(node.id, self._item, wait.event.name, text))
        self._open(node.id, StepStatus.WAITING, attempt, wait.until, wait.reason, child, claim_first=False)

    def leave(self, node: PlanNode) -> None:
        """A node may run now, and is left to another walk."""
        self.openings.append(Opening(node.id, self._item, StepStatus.READY, 1, None, None, claim_first=True))

    def iterate(self, node: PlanNode, attempt: int, division: Division) -> None:
        """An iterator begins: it waits for its items, the first of which start."""
        first = min(division.concurrency, len(division.items))
        contents = [item_text(value) for value in division.items]
        self._open(node.id, StepStatus.WAITING, attempt, None, Waits.ITEMS, claim_first=False)
        self.openings += [
            Opening(node.id, child(self._item, place), StepStatus.READY, 1, None, None, claim_first=False, wake="item")
            for place in range(first)
        ]
        self.iterations.append(Iteration(node.id, self._item, first, division.halts, contents))

    def arrivals(self, plan: Plan, joins: graph.Joins) -> list[Arrival]:
        """What was counted of joins that could not be resolved here."""
        nodes = plan.nodes
        return [
            Arrival(name, self._item, counts.arrived, counts.fired, nodes[name].in_degree, nodes[name].need)
            for name, counts in joins.items()
        ]

    def _open(  # noqa: PLR0917
        self,
        node_id: str,
        status: StepStatus,
        attempt: int,
        due: datetime | None,
        waits: str,
        child: UUID | None = None,
        *,
        claim_first: bool,
    ) -> None:
        self.openings.append(
            Opening(node_id, self._item, status, attempt, None, due, claim_first, waits=waits, child_run_id=child)
        )
