"""Builders for tests of the engine: node types whose behaviour a test decides, workflows and runs as rows, and a
worker without its queue."""

import asyncio
import json
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, ClassVar, NamedTuple
from uuid import UUID

import asyncpg
import msgspec

from shared.db import Clock, open_pool
from shared.graph.plan import PLAN_FORMAT, compile_plan, encode_plan
from shared.ids import Mint
from shared.lanes import Doorbell, Reference
from shared.links import Links
from shared.nodes.base import Kind, Mode, NodeType, Outcome, StepContext
from shared.nodes.registry import Registry, default_registry
from shared.queries import load
from shared.store import duties
from shared.vault import parse_keys
from tests.api_client import PUBLIC_URL, VAULT_KEYS
from tests.graphs import edge, node
from tests.rows import assert_sound, steps_of  # noqa: F401 — what is asked after an engine has run
from worker.capacity import Capacity
from worker.executor import Executor
from worker.holdings import Held
from worker.incarnation import Incarnation
from worker.plans import Plans
from worker.secrets import Secrets
from worker.walk import Tools

mint = Mint()
KEYS = parse_keys(VAULT_KEYS)
LINKS = Links(KEYS, PUBLIC_URL)
_ALONE = """
    SELECT count(*) = 0 FROM pg_stat_activity
    WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()
"""
Effect = Callable[["ProbeData", StepContext], Awaitable[Outcome]]
Pure = Callable[["ProbeData"], Outcome]
Graph = tuple[Sequence[Mapping[str, Any]], Sequence[Mapping[str, Any]]]


class ProbeData(msgspec.Struct, forbid_unknown_fields=True):
    """``value`` is rendered like any field; ``name`` is there for a test to tell its nodes apart."""

    value: Any = None
    name: str = ""


async def succeed(data: ProbeData, context: StepContext) -> Outcome:
    """An effect that returns at once."""
    return Outcome({"value": data.value})


class Forked(NodeType[ProbeData]):
    """Has the handles ``left`` and ``right`` if its name says so."""

    def handles(self, data: Mapping[str, Any]) -> tuple[str, ...]:
        return ("left", "right") if data.get("name") == "forked" else ()


class Probe(Forked):
    """An effect that does what the test says."""

    component_id = "probe"
    title = "Probe"
    kind = Kind.ACTION
    mode = Mode.EFFECT
    data_type = ProbeData
    example: ClassVar[Mapping[str, Any]] = {}

    def __init__(self, act: Effect) -> None:
        self._act = act

    async def call(self, data: ProbeData, context: StepContext) -> Outcome:
        return await self._act(data, context)


class Fold(Forked):
    """A pure node that does what the test says."""

    component_id = "fold"
    title = "Fold"
    kind = Kind.ACTION
    mode = Mode.PURE
    data_type = ProbeData
    example: ClassVar[Mapping[str, Any]] = {}

    def __init__(self, act: Pure) -> None:
        self._act = act

    def run(self, data: ProbeData) -> Outcome:
        return self._act(data)


def registry(effect: Effect = succeed, pure: Pure = lambda data: Outcome({"value": data.value})) -> Registry:
    """The node types of the project, and ``probe`` and ``fold``."""
    known = default_registry()
    return Registry([*(known.type_of(name) for name in known.names()), Probe(effect), Fold(pure)])


class Flow(NamedTuple):
    """A workflow as rows."""

    workspace_id: UUID
    workflow_id: UUID
    trigger: str


async def workflow(connection: Any, nodes: Any, edges: Any, known: Registry | None = None) -> Flow:
    """Save a workflow past the api."""
    flow = Flow(mint.uuid(), mint.uuid(), "t")
    plan = compile_plan(nodes, edges, known or registry())
    await connection.execute(
        "INSERT INTO workspaces (id, claim) VALUES ($1, $2)", flow.workspace_id, str(flow.workspace_id)
    )
    await connection.execute(
        "INSERT INTO workflows (id, workspace_id, name, is_active, schedule_type, version, trigger_node,"
        " trigger_component) VALUES ($1, $2, 'w', true, 'manual', 1, $3, $4)",
        flow.workflow_id,
        flow.workspace_id,
        plan.trigger,
        plan.nodes[plan.trigger].component,
    )
    await connection.execute(
        "INSERT INTO workflow_versions (workspace_id, workflow_id, version, nodes, edges, settings, plan, plan_format,"
        " created_by) VALUES ($1, $2, 1, $3, $4, '{}', $5, $6, 'test')",
        flow.workspace_id,
        flow.workflow_id,
        json.dumps(nodes),
        json.dumps(edges),
        encode_plan(plan).decode(),
        PLAN_FORMAT,
    )
    return flow


async def start_runs(connection: Any, flow: Flow, count: int = 1, payload: str = "{}") -> list[UUID]:
    """Accept triggers past the api; their messages count as sent."""
    ids = [mint.uuid() for _ in range(count)]
    nothing = [None] * count
    await connection.fetch(
        load("ingest")["accept"],
        ids,
        [flow.workflow_id] * count,
        ["manual"] * count,
        [payload] * count,
        nothing,
        nothing,
        nothing,
        [True] * count,
        *[nothing] * 5,
    )
    return ids


async def start_run(connection: Any, flow: Flow, payload: str = "{}") -> UUID:
    """Accept one trigger."""
    return (await start_runs(connection, flow, 1, payload))[0]


def first(run_id: UUID, flow: Flow) -> Reference:
    """The reference that the ingest sends."""
    return Reference(run_id, flow.trigger, "-", claim=False)


class Mailbox:
    """An announcer that keeps what it is given."""

    def __init__(self) -> None:
        self.bells: list[Doorbell] = []

    def announce(self, doorbells: Sequence[Doorbell]) -> None:
        self.bells.extend(doorbells)

    def references(self) -> list[Reference]:
        """What was announced since the last call."""
        taken, self.bells = [bell.reference for bell in self.bells], []
        return taken


class Engine:
    """A worker without Dramatiq: a test hands it references, and finds in ``mailbox`` what it would have sent.

    ``outside`` is the test's own way to the database: when the worker's leads through a proxy that cuts connections,
    only the worker's are cut.
    """

    def __init__(
        self, url: str, pool: asyncpg.Pool, outside: asyncpg.Pool, known: Registry, lease: float, slots: int
    ) -> None:
        self.pool = pool
        self.outside = outside
        self.held = Held()
        self.mailbox = Mailbox()
        self.capacity = Capacity(slots)
        self.incarnation = Incarnation(url, lease=lease, new_id=mint.uuid, holdings=self.held)
        self.clock = Clock()
        self.executor = Executor(
            pool=pool,
            plans=Plans(pool, known),
            held=self.held,
            incarnation=self.incarnation,
            capacity=self.capacity,
            announcer=self.mailbox,  # type: ignore[arg-type]
            tools=Tools(self.clock, mint.uuid, random.Random(1).random, None, LINKS, Secrets(pool, KEYS)),
        )
        self.stopped = False

    @classmethod
    @asynccontextmanager
    async def running(
        cls, url: str, known: Registry | None = None, *, lease: float = 6.0, slots: int = 256, pool_url: str = ""
    ) -> AsyncIterator["Engine"]:
        """An engine with a registered incarnation that heartbeats."""
        pool = await open_pool(pool_url or url, size=6, name="test")
        outside = await open_pool(url, size=2, name="outside")
        engine = cls(url, pool, outside, known or registry(), lease, slots)
        await engine.incarnation.start()
        try:
            yield engine
        finally:
            if not engine.stopped:
                await engine.stop()
            await pool.close()
            await outside.close()

    async def stop(self, grace: float = 0.0) -> None:
        """As SIGTERM does."""
        self.stopped = True
        await self.executor.stop(grace)
        await self.incarnation.stop()

    async def take(self, *references: Reference) -> None:
        """As an actor does with one message."""
        self.capacity.take(len(references))
        await self.executor.take(references)

    async def follow(self) -> None:
        """Take up everything announced so far."""
        for reference in self.mailbox.references():
            await self.take(reference)

    async def run(self, flow: Flow, payload: str = "{}", *, until: str | None = None, seconds: float = 20.0) -> UUID:
        """Start a run and carry it on until it is terminal (or has the status ``until``)."""
        run_id = await start_run(self.outside, flow, payload)
        await self.take(first(run_id, flow))
        await self.finish(run_id, until=until, seconds=seconds)
        return run_id

    async def finish(self, run_id: UUID, *, until: str | None = None, seconds: float = 20.0) -> None:
        """Take up what is announced and what comes due, until the run is terminal (or has the status ``until``)."""

        async def ended() -> bool:
            await self.follow()
            await wake_due(self.outside, self.mailbox)
            status = await self.outside.fetchval("SELECT status FROM runs WHERE id = $1", run_id)
            return status in ((until,) if until else ("completed", "failed", "cancelled"))

        await eventually(ended, seconds)

    async def idle(self) -> None:
        """Wait until every slot is free again."""
        await eventually(lambda: self.capacity.used == 0)


async def wake_due(connection: Any, mailbox: Mailbox) -> None:
    """The scheduler's duty: waits that are over become ready, and are announced."""
    mailbox.announce(await duties.wake_due(connection, 1000))


async def eventually(condition: Callable[[], Any], seconds: float = 20.0) -> None:
    """Wait until a condition, sync or async, holds."""
    async with asyncio.timeout(seconds):
        while True:
            held = condition()
            if await held if asyncio.iscoroutine(held) else held:
                return
            await asyncio.sleep(0.005)


async def alone(database: Any) -> None:
    """Wait until no other session of this database is left: each tells statistics what it did only as it ends."""
    await eventually(lambda: database.fetchval(_ALONE))
    await database.execute("SELECT pg_stat_force_next_flush(), pg_stat_clear_snapshot()")


def graph(spec: str, **data: Mapping[str, Any]) -> Graph:
    """A graph of edges such as ``"t>a a>b:true"``, each node a ``probe`` unless its id begins with ``f`` (``fold``).

    ``data`` adds to the data of nodes by id. The trigger is ``t``.
    """
    edges = []
    names = ["t"]
    for part in spec.split():
        source, _, rest = part.partition(">")
        target, _, handle = rest.partition(":")
        edges.append(edge(source, target, handle or None))
        names.extend(name for name in (source, target) if name not in names)
    nodes = [
        node(name, **{"component": _component(name), **data.get(name, {})})  # type: ignore[arg-type]
        for name in names
    ]
    return nodes, edges


def _component(name: str) -> str:
    return "manual_trigger" if name == "t" else "fold" if name.startswith("f") else "probe"


class Gates:
    """An effect that counts its calls, and waits at the gate of its node if that is shut."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self.keys: set[str] = set()
        self.cancelled: Counter[str] = Counter()
        self.gates: dict[str, asyncio.Event] = {}

    def shut(self, *names: str) -> None:
        for name in names:
            self.gates[name] = asyncio.Event()

    async def __call__(self, data: ProbeData, context: StepContext) -> Outcome:
        self.calls[context.node_id] += 1
        self.keys.add(context.idempotency_key)
        try:
            if context.node_id in self.gates:
                await self.gates[context.node_id].wait()
        except asyncio.CancelledError:
            self.cancelled[context.node_id] += 1
            raise
        return Outcome({"value": data.value, "attempt": context.attempt})
