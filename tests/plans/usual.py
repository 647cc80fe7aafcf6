"""What the engine does all the time, traced: runs are accepted, claimed, committed, looked at, and looked for."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple

import asyncpg

from shared.lanes import Reference
from shared.store import duties, runs_read, runs_scan, taken
from shared.store.advance import commit
from shared.store.cancel import cancel_runs
from tests.engine import Flow, mint, start_runs
from tests.plans.explained import Traced, traced
from tests.rows import advance, result

#: Runs in a batch, and on a page.
BATCH = 20


class Bound(NamedTuple):
    """The most that something may read.

    Attributes:
        pages: looked at by its last statement, of indexes too; one that is looked at twice counts twice.
        rows: of tables, those that a filter throws away among them.
        days: whose partitions of one table it may open.
    """

    pages: int
    rows: int
    days: int = 1


#: By what is done, about `BATCH` runs where it is about several. Lists come by every day from the newest on until there
#: is enough, the fortnight to come with nothing in it first. A search looks at 20 runs for each that is asked for; in a
#: small past of which statistics know nothing, at all there are.
BOUNDS = {
    "accept": Bound(400, 40),
    "load": Bound(160, 60),
    "commit": Bound(440, 120),
    "outputs": Bound(120, 40),
    "claim": Bound(360, 90),
    "give back": Bound(200, 40),
    "cancel": Bound(120, 240),
    "probe": Bound(40, 10),
    "wake": Bound(40, 10),
    "rescue": Bound(40, 10),
    "resend": Bound(40, 10),
    "top up": Bound(40, 10),
    "page": Bound(80, 40, days=17),
    "search": Bound(800, 6400, days=17),
    "get": Bound(12, 4),
    "log": Bound(12, 4),
}
#: What may be read whole: it has a row for each worker.
SMALL = {"incarnations"}


class Usual:
    """Does what the engine does, and keeps the traces by name."""

    def __init__(self, connection: asyncpg.Connection, flow: Flow) -> None:
        self._connection = connection
        self._flow = flow
        self.traces: dict[str, Traced] = {}

    async def everything(self) -> dict[str, Traced]:
        """Give the traces of all of it."""
        await self._pure_runs()
        await self._claimed_runs()
        await self._duties()
        await self._readers()
        return self.traces

    @asynccontextmanager
    async def _as(self, name: str) -> AsyncIterator[None]:
        async with traced(self._connection) as trace:
            yield
        self.traces[name] = trace

    async def _pure_runs(self) -> None:
        async with self._as("accept"):
            run_ids = await start_runs(self._connection, self._flow, BATCH)
        references = [Reference(run_id, self._flow.trigger, "-", claim=False) for run_id in run_ids]
        async with self._as("load"):
            assert len(await taken.load_ready(self._connection, references)) == BATCH
        results = [result("t"), result("fa", own=False)]
        advances = [advance(run_id, "t", results=results) for run_id in run_ids]
        async with self._as("commit"):
            done = await commit(self._connection, advances, mint.uuid())
        assert len(done.ended) == BATCH
        async with self._as("outputs"):
            await taken.outputs(self._connection, [(run_id, "fa", "-") for run_id in run_ids])

    async def _claimed_runs(self) -> None:
        incarnation = mint.uuid()
        run_ids = await start_runs(self._connection, self._flow, BATCH)
        wanted = [(Reference(run_id, self._flow.trigger, "-", claim=True), mint.uuid()) for run_id in run_ids]
        async with self._as("claim"):
            assert len(await taken.claim(self._connection, wanted, incarnation)) == BATCH
        async with self._as("give back"):
            await taken.release(self._connection, [claim for _, claim in wanted], incarnation)
        async with self._as("cancel"):
            assert await cancel_runs(self._connection, run_ids) == BATCH

    async def _duties(self) -> None:
        await start_runs(self._connection, self._flow, BATCH)
        async with self._as("probe"):
            await duties.probe(self._connection)
        async with self._as("wake"):
            await duties.wake_due(self._connection, 1000)
        async with self._as("rescue"):
            await duties.rescue(self._connection, judge=True, lease=6.0, limit=1000)
        async with self._as("resend"):
            await duties.resend(self._connection, limit=1000, queued_since=[0.0] * 3, bulk_since=[0.0] * 3)
        async with self._as("top up"):
            await duties.top_up(self._connection, window=1000, limit=1000)

    async def _readers(self) -> None:
        which = runs_read.RunFilter(self._flow.workflow_id)
        async with self._as("page"):
            page = await runs_read.page(self._connection, which, offset=0, limit=BATCH)
        assert len(page.runs) == BATCH
        async with self._as("search"):
            found = await runs_scan.scan(
                self._connection, runs_scan.Which(self._flow.workspace_id, statuses=["completed"]), BATCH
            )
        assert len(found.ids) == BATCH
        async with self._as("get"):
            assert await runs_read.get(self._connection, self._flow.workspace_id, found.ids[0])
        async with self._as("log"):
            assert len(await runs_read.settled_steps(self._connection, found.ids[0])) == 2


async def check_usual(connection: asyncpg.Connection, flow: Flow, situation: str) -> None:
    """Do everything, and hold what was read against `BOUNDS`; `situation` is for the message of a failure."""
    await Usual(connection, flow).everything()  # a session's first statements look types up and plan
    traces = await Usual(connection, flow).everything()
    assert traces.keys() == BOUNDS.keys()
    for name, trace in traces.items():
        most = BOUNDS[name]
        days = max(len(trace.partitions("runs")), len(trace.partitions("steps")))
        read = Bound(trace.pages(), trace.rows(), days)
        assert trace.scanned() <= SMALL, (situation, name)
        assert all(have <= may for have, may in zip(read, most, strict=True)), (situation, name, read, most)
