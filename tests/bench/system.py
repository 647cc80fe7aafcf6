"""The system under measurement: `edgewise up` in a temporary folder, and a receiver for its outbound calls."""

import asyncio
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit
from uuid import UUID

import asyncpg
import msgspec
import redis.asyncio as redis

from shared.ids import Prefix, decode
from tests.bench import load
from tests.bench.graphs import Graph
from tests.bench.load import Load, Loaded
from tests.running import Up, post, until

_ROOT = Path(__file__).parents[2]
#: Seconds between two looks at whether every run has ended, and how many of them before what is open is counted.
_LOOK = 0.02
_COUNTED = 50
#: Seconds without one more ended run after which the system counts as stuck.
_STUCK = 30.0
_START_SECONDS = 60.0


class Workflow(NamedTuple):
    """A workflow with a webhook: its id, and the path of its webhook."""

    id: UUID
    path: str


class Server:
    """A server of `tests.bench.servers` in a process of its own."""

    def __init__(self, name: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.bench.servers", name],
            cwd=_ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())
        self.pid = self._process.pid

    def stop(self) -> None:
        """End it."""
        self._process.communicate()


class Ended(NamedTuple):
    """The runs of a load: how many, how many of them completed, unix time at which the last one ended."""

    runs: int
    completed: int
    last: float


class System:
    """A running installation. Make it with `running`.

    Args:
        options: of `edgewise up`.
        servers: pids of servers that the options name, by name; the caller's to end.

    Attributes:
        folder: its data; a folder beside it is gone when this system is.
        pids: by name of the process; `postgres` is the postmaster.
        database: the bench's own connection, whose statements carry the comment ``/* bench */``.
    """

    def __init__(self, folder: Path, receiver: Server, *options: str, servers: Mapping[str, int] | None = None) -> None:
        self.folder = folder
        self._options = options
        self._servers = servers or {}
        self._receiver = receiver
        self.receiver_url = f"http://127.0.0.1:{receiver.port}/"
        self.database: asyncpg.Connection
        self.broker: redis.Redis
        self.pids: dict[str, int]

    async def start(self) -> float:
        """Start on the folder, whatever it holds; returns the unix time at which the command was given."""
        given = time.time()
        allow = f"127.0.0.1:{self._receiver.port}"
        env = {"EDGEWISE_EGRESS_ALLOW": allow, "EDGEWISE_LOG_LEVEL": "warning"}
        self._up = Up(self.folder, *self._options, env=env)
        async with asyncio.timeout(_START_SECONDS):
            while "\nready http" not in f"\n{self._up.output()}":
                if self._up.process.poll() is not None:
                    raise RuntimeError(f"edgewise up ended:\n{self._up.output()}")
                await asyncio.sleep(0.005)
        told = self._up.told()
        self._url, self._token, self.database_url = told["url"], told["token"], told["database_url"]
        self.broker_url: str = told["broker_url"]
        self.port = urlsplit(self._url).port or 0
        workers = {f"worker-{number}": pid for number, pid in enumerate(told["pids"].pop("workers"), start=1)}
        others = {"up": self._up.process.pid, "receiver": self._receiver.pid}
        self.pids = {**told["pids"], **self._servers, **workers, **others}
        return given

    async def connect(self) -> None:
        """Open the bench's own connections."""
        self.database = await asyncpg.connect(self.database_url)
        await self.database.execute("CREATE EXTENSION IF NOT EXISTS pg_stat_statements")
        self.broker = redis.Redis.from_url(self.broker_url)

    async def stop(self) -> None:
        """Stop it, and keep the folder.

        Raises:
            RuntimeError: if it left a process behind or did not end well.
        """
        await self.database.close()
        await self.broker.aclose()
        code = await asyncio.to_thread(self._up.stop)
        if code != 0 or self._up.members():
            raise RuntimeError(f"edgewise up ended with status {code}, leaving {self._up.members()}")

    def kill(self) -> None:
        """Leave no process behind, whatever happened."""
        self._up.kill()
        until(lambda: not self._up.members())

    @property
    def url(self) -> str:
        """Of the API."""
        return self._url

    @property
    def headers(self) -> dict[str, str]:
        """What a request is admitted by."""
        return {"Authorization": f"Bearer {self._token}"}

    async def create(self, graph: Graph, **fields: str) -> Workflow:
        """Create a workflow over HTTP; the path is empty if no webhook starts it."""
        body = {"name": "bench", "nodes": graph[0], "edges": graph[1], **fields}
        made = await asyncio.to_thread(post, f"{self._url}/workflows", self._token, body)
        return Workflow(decode(Prefix.WORKFLOW, made["id"]), urlsplit(made["webhook_url"] or "").path)

    async def send(self, workflow: Workflow, wanted: Load) -> Loaded:
        """Send a load to the webhook of a workflow."""
        return await load.run(self.addressed(workflow, wanted))

    def addressed(self, workflow: Workflow, wanted: Load) -> Load:
        """A load that goes to the webhook of a workflow."""
        return msgspec.structs.replace(
            wanted,
            port=self.port,
            path=workflow.path,
            workflow_id=workflow.id,
            database_url=self.database_url,
        )

    async def idle(self, workflow: Workflow) -> None:
        """Wait until no run of a workflow is open. Looks cost little, for the runs go on beside them.

        Raises:
            RuntimeError: if runs stop ending.
        """
        known, moved = -1, time.monotonic()
        for look in count(1):
            if not await self._is_open(workflow):
                return
            if look % _COUNTED == 0 and (left := await self._open(workflow)) != known:
                known, moved = left, time.monotonic()
            if time.monotonic() - moved > _STUCK:
                raise RuntimeError(f"{known} steps of {workflow.id} have not moved for {_STUCK:g} s")
            await asyncio.sleep(_LOOK)

    async def ended(self, workflow: Workflow) -> Ended:
        """Wait until no run of a workflow is open, and count all that it ever had, which reads every one of them.

        Raises:
            RuntimeError: if runs stop ending.
        """
        await self.idle(workflow)
        row = await self.database.fetchrow(
            "SELECT /* bench */ count(*) AS runs, count(*) FILTER (WHERE status = 'completed') AS completed,"
            " extract(epoch FROM max(completed_at))::float8 AS last FROM runs WHERE workflow_id = $1",
            workflow.id,
        )
        assert row is not None
        return Ended(row["runs"], row["completed"], row["last"] or 0.0)

    async def latencies(self, loaded: Loaded) -> list[float]:
        """Seconds from each request's start to its run's completion, of the runs that completed."""
        started = {decode(Prefix.RUN, sample.run_id): sample.started for sample in loaded.samples}
        rows = await self.database.fetch(
            "SELECT /* bench */ k.id, extract(epoch FROM r.completed_at)::float8 AS at"
            " FROM unnest($1::uuid[]) AS k (id)"
            " CROSS JOIN LATERAL (SELECT * FROM runs WHERE id = k.id AND status = 'completed' OFFSET 0) AS r",
            list(started),
        )
        return [row["at"] - started[row["id"]] for row in rows]

    async def _is_open(self, workflow: Workflow) -> bool:
        found: bool = await self.database.fetchval(
            "SELECT /* bench */ EXISTS (SELECT FROM open_steps WHERE workflow_id = $1)", workflow.id
        )
        return found

    async def _open(self, workflow: Workflow) -> int:
        left: int = await self.database.fetchval(
            "SELECT /* bench */ count(*) FROM open_steps WHERE workflow_id = $1", workflow.id
        )
        return left


@asynccontextmanager
async def running(
    folder: Path, *options: str, servers: Mapping[str, int] | None = None, calling: str = "receiver"
) -> AsyncIterator[System]:
    """A system on a folder, started and connected; no process of it is left afterwards. See `System`.

    Args:
        folder, options, servers: see `System`.
        calling: which of `tests.bench.servers` its outbound calls reach.
    """
    receiver = Server(calling)
    system = System(folder, receiver, *options, servers=servers)
    try:
        await system.start()
        try:
            await system.connect()
            yield system
            await system.stop()
        finally:
            system.kill()
    finally:
        receiver.stop()
