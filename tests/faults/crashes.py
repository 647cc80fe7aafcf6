"""The world in which workers die: what their effects did, and who finishes their runs."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, NamedTuple
from uuid import UUID

import asyncpg

from shared.db import open_pool
from shared.errors import StepFailedError
from shared.ids import Prefix, decode, encode
from shared.lanes import Reference
from shared.nodes.base import Outcome, StepContext
from shared.store.cancel import cancel_runs
from tests.calls import beside
from tests.duties import Replica
from tests.engine import Effect, Engine, Flow, Graph, Mailbox, ProbeData, first, registry, start_run, wake_due, workflow
from tests.faults.mortal import Grave, Mortal

TERMINAL = {"completed", "failed", "cancelled"}
#: One settled attempt of a step: node, item, attempt; and how it ended: status, handle, output, error.
Story = dict[tuple[str, str, int], tuple[str, str | None, Any, Any]]


class Death(NamedTuple):
    """A run whose worker died.

    Attributes:
        passed: the names of the points its worker passed, the fatal one last.
        durable: the attempts that were settled in the database when it died.
        later: the effects that were made after that.
    """

    run_id: UUID
    passed: list[str]
    durable: set[tuple[str, str, int]]
    later: list[tuple[str, str, int]]


class Ledger:
    """What effects did. The first attempt of ``r``, every attempt of ``e``, and ``g`` in the item ``1`` fail.

    Attributes:
        calls: (node, item, attempt) for each time an effect was made.
        keys: the idempotency keys they were made with.
        early: effects made before all they are built on was durable.
    """

    def __init__(self, pool: asyncpg.Pool, shape: Graph) -> None:
        self._pool = pool
        # Iterators end behind what lies in their bodies.
        iterators = {node["id"] for node in shape[0] if node["data"]["componentId"] == "iterator"}
        self._before = {name: before - iterators for name, before in _ancestors(shape).items()}
        self.calls: list[tuple[str, str, int]] = []
        self.keys: set[str] = set()
        self.early: list[str] = []

    async def make(self, data: ProbeData, context: StepContext) -> Outcome:
        """Make an effect.

        Raises:
            StepFailedError: where it is to fail.
        """
        durable = {node_id for node_id, _, _ in await story(self._pool, decode(Prefix.RUN, context.run_id))}
        self.early.extend(
            f"{context.node_id} before {name}" for name in self._before.get(context.node_id, set()) - durable
        )
        self.calls.append((context.node_id, context.item, context.attempt))
        self.keys.add(context.idempotency_key)
        if context.node_id == "e" or (context.node_id, context.attempt, context.item) in {("r", 1, "-"), ("g", 1, "1")}:
            raise StepFailedError("refused", "The far side refused.", category="error")
        return Outcome({"value": data.value, "attempt": context.attempt})


class World:
    """A database with one workflow, a scheduler's duties, and a worker that takes over when others die."""

    def __init__(self, url: str, pool: asyncpg.Pool, replica: Replica, flow: Flow, shape: Graph) -> None:
        self.url = url
        self.pool = pool
        self.ledger = Ledger(pool, shape)
        self.heir: Engine
        self._replica = replica
        self._flow = flow
        self._shape = shape

    @classmethod
    @asynccontextmanager
    async def of(
        cls, url: str, broker_url: str, shape: Graph, *, called: Graph | None = None
    ) -> AsyncIterator["World"]:
        """A world whose workflow has this graph; its node ``c`` calls the other one, if there is one."""
        async with AsyncExitStack() as stack:
            pool = await open_pool(url, size=8, name="test")
            stack.push_async_callback(pool.close)
            replica = await stack.enter_async_context(Replica.running(url, broker_url))
            await replica.queued.mark_epoch()
            flow = await (workflow(pool, *shape) if called is None else _calling(pool, shape, called))
            world = cls(url, pool, replica, flow, shape)
            world.heir = await stack.enter_async_context(Engine.running(url, registry(world.effect), lease=600.0))
            yield world

    async def effect(self, data: ProbeData, context: StepContext) -> Outcome:
        """An effect as the heir makes it."""
        return await self.ledger.make(data, context)

    async def run(
        self, fatal: int = 0, *, keep_messages: bool = False, at_once: bool = False, cancel: bool = False
    ) -> Death:
        """Start a run on a worker that dies at a point; the run is terminal afterwards.

        Args:
            fatal: the number of the point, from 1; 0 for none.
            keep_messages: whether the heir gets the messages that were sent, and once more the one being handled;
                otherwise all of them are lost.
            at_once: whether the worker takes every message as soon as it is sent, so that steps overlap and the order
                of the points varies.
            cancel: whether the run is cancelled between the death and its discovery.
        """
        self.ledger = Ledger(self.pool, self._shape)
        grave = Grave(fatal)
        known = registry(self._mortal_effect(grave))
        async with Mortal.living(self.url, self.pool, known, grave) as mortal:
            run_id = await start_run(self.pool, self._flow)
            messages = [first(run_id, self._flow)]
            await self._live(mortal, run_id, messages, at_once=at_once)
            died = grave.dead.is_set()
        if not died:
            return Death(run_id, grave.passed, set(await story(self.pool, run_id)), [])
        durable, made = set(await story(self.pool, run_id)), len(self.ledger.calls)
        if cancel:
            async with self.pool.acquire() as connection:
                await cancel_runs(connection, [run_id])
        await self._inherit(mortal, run_id, [*messages, *mortal.engine.mailbox.references()] if keep_messages else [])
        return Death(run_id, grave.passed, durable, self.ledger.calls[made:])

    def _mortal_effect(self, grave: Grave) -> Effect:
        async def effect(data: ProbeData, context: StepContext) -> Outcome:
            await grave.point(f"effect {context.node_id}: not made")
            try:
                return await self.ledger.make(data, context)
            finally:
                await grave.point(f"effect {context.node_id}: made")

        return effect

    async def _live(self, mortal: Mortal, run_id: UUID, messages: list[Reference], *, at_once: bool) -> None:
        """Hand a worker its messages, until the run is terminal; ``messages`` keeps those not yet acknowledged."""
        engine, woken = mortal.engine, Mailbox()
        while not mortal.grave.dead.is_set() and not await self.is_terminal(run_id):
            while messages and await mortal.survives(engine.take(messages[0])):
                if not at_once and not await mortal.survives(engine.idle()):
                    break
                del messages[0]
                messages.extend(engine.mailbox.references())
            await wake_due(self.pool, woken)
            messages.extend([*woken.references(), *engine.mailbox.references()])

    async def _inherit(self, mortal: Mortal, run_id: UUID, messages: Iterable[Reference]) -> None:
        """The lease of the dead runs out, and the heir and the scheduler finish what it left."""
        await self.pool.execute(
            "UPDATE incarnations SET heartbeat_at = heartbeat_at - interval '1 hour' WHERE id = $1",
            mortal.engine.incarnation.id,
        )
        await self._replica.rescue.work()
        if mortal.grave.under_way is not None:
            landed = await mortal.grave.under_way()
            if mortal.grave.under_claim:
                lost = [row for row in landed if row["kind"] == "lost"]
                assert len(lost) == mortal.grave.under_claim, (
                    f"{mortal.grave.passed[-1]}: written after its claim was lost"
                )
        for reference in messages:
            await self.heir.take(reference)
        await self.heir.idle()
        async with asyncio.timeout(20):
            while not await self.is_terminal(run_id):
                await self._duties()

    async def _duties(self) -> None:
        """One turn of every duty, long after the last, and the heir does what they send."""
        await self.pool.execute("UPDATE open_steps SET sent_at = sent_at - interval '1 hour' WHERE status = 'ready'")
        await self._replica.rescue.work()
        for duty in (self._replica.steps.wake_due, self._replica.steps.top_up, self._replica.steps.resend):
            await duty()
        bells, self._replica.heard.bells = self._replica.heard.bells, []
        for _, reference in bells:
            await self.heir.take(reference)
        await self.heir.follow()
        await self.heir.idle()

    async def is_terminal(self, run_id: UUID) -> bool:
        """Whether a run has ended."""
        return await self.status(run_id) in TERMINAL

    async def status(self, run_id: UUID) -> str:
        """Where a run stands."""
        status: str = await self.pool.fetchval("SELECT status FROM runs WHERE id = $1", run_id)
        return status


async def story(pool: asyncpg.Pool, run_id: UUID) -> Story:
    """How each attempt of a run, and of one it called, ended; when a delay ended and the other's id are left out."""
    records = await pool.fetch(
        "SELECT node_id, item, attempt, status, handle, output, error FROM steps WHERE run_id = $1"
        " OR run_id IN (SELECT id FROM runs WHERE parent_run_id = $1)",
        run_id,
    )
    return {
        (record["node_id"], record["item"], record["attempt"]): (
            record["status"],
            record["handle"],
            _timeless(record["output"]),
            record["error"] and json.loads(record["error"]),
        )
        for record in records
    }


def _timeless(output: str | None) -> Any:
    value = json.loads(output) if output else None
    return {**value, **dict.fromkeys({"resumed_at", "run_id"} & value.keys())} if isinstance(value, dict) else value


async def _calling(pool: asyncpg.Pool, shape: Graph, called: Graph) -> Flow:
    """A workflow whose node ``c`` calls another one."""
    callee = await workflow(pool, *called)
    for node in shape[0]:
        if node["id"] == "c":
            target = encode(Prefix.WORKFLOW, callee.workflow_id)
            node["data"] = {"componentId": "trigger_workflow", "workflow_id": target}  # type: ignore[index]
    return await beside(pool, callee, shape)


def _ancestors(shape: Graph) -> dict[str, set[str]]:
    nodes, edges = shape
    before: dict[str, set[str]] = {node["id"]: set() for node in nodes}
    for _ in nodes:
        for edge in edges:
            before[edge["target"]] |= {edge["source"], *before[edge["source"]]}
    return before
