"""Runs that requests wait for: which graphs can answer, and the wait itself."""

from collections.abc import Mapping, Sequence
from typing import Final
from uuid import UUID

import asyncpg
import msgspec
from aiohttp import web

from api.answer_bells import AnswerBells
from api.bounded import BoundedCache
from api.database import reading
from api.sync_waiting import Waiter, Waiters
from shared.db import Connection
from shared.graph.plan import Plan
from shared.nodes.registry import Registry
from shared.store import plans, responses
from shared.store.responses import Answered

TRIGGER_COMPONENT: Final = "sync_request_trigger"
#: The node that ends a run, and whose output then answers.
_ENDING: Final = "terminate"
#: Versions never change, so they are kept until there are too many.
_SIZE: Final = 512
_REMEMBERED: Final = 3600.0


class SyncGraph(msgspec.Struct, frozen=True):
    """What of a version matters to those who wait for its runs.

    Attributes:
        nodes: those that answer.
        can_answer: whether there is such a node, or one that ends the run with an output.
    """

    plan: Plan
    nodes: tuple[str, ...]
    can_answer: bool


class SyncRuns:
    """The waiting requests of one api process.

    Args:
        pool: of connections.
        registry: of node types.
        broker_url: where doorbells ring.
        seconds: how long a request waits.
    """

    def __init__(self, pool: asyncpg.Pool, registry: Registry, broker_url: str, *, seconds: float) -> None:
        self.seconds = seconds
        self._pool = pool
        self._registry = registry
        self._graphs: BoundedCache[tuple[UUID, int], SyncGraph] = BoundedCache(_SIZE, _REMEMBERED)
        self._waiters = Waiters(self.read)
        self._bells = AnswerBells(broker_url, self._waiters.ring)

    def known(self, workflow_id: UUID, version: int) -> SyncGraph | None:
        """What matters of a version, if it was read lately."""
        return self._graphs.get((workflow_id, version))

    async def graph(self, connection: Connection, workflow_id: UUID, version: int) -> SyncGraph | None:
        """What matters of a version; None once its workflow was removed."""
        key = (workflow_id, version)
        known = self._graphs.get(key)
        if known is None:
            plan = await plans.plan(connection, self._registry, workflow_id, version)
            if plan is None:
                return None
            nodes = self._registry.responses(plan)
            ends = any(node.component == _ENDING for node in plan.nodes.values())
            known = SyncGraph(plan, nodes, bool(nodes) or ends)
            self._graphs.put(key, known)
        return known

    async def enter(self, run_id: UUID, request: web.Request) -> Waiter:
        """Make ready to wait for a run, before it is stored; `leave` must follow.

        Raises:
            StoppingError: if the process stops.
        """
        await self._bells.listen()
        return self._waiters.enter(run_id, lambda: request.transport is None or request.transport.is_closing())

    async def wait(self, run_id: UUID, waiter: Waiter, nodes: Sequence[str]) -> Answered | None:
        """The answer of a run that is stored; None if it has none in time.

        Raises:
            StoppingError: if the process stops.
        """
        return await self._waiters.wait(run_id, waiter, nodes, self.seconds)

    def leave(self, run_id: UUID, waiter: Waiter) -> None:
        """Wait no longer."""
        self._waiters.leave(run_id, waiter)

    async def read(self, waiting: Mapping[UUID, Sequence[str]]) -> dict[UUID, Answered]:
        """Which of some runs, each given with the nodes that answer, have answered or ended."""
        async with reading(self._pool) as connection:
            return await responses.answered(connection, waiting)

    def stop(self) -> None:
        """Let nobody wait any longer."""
        self._waiters.close()

    async def close(self) -> None:
        """End it all."""
        self.stop()
        await self._bells.close()
