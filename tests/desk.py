"""An api with a worker beside it: what the one announces, the other carries, and some of its effects fail."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg

from shared.errors import StepFailedError
from shared.ids import Prefix, decode, encode
from shared.nodes.base import Outcome, StepContext
from tests.api_client import ApiClient
from tests.engine import Engine, Gates, ProbeData, graph, registry, workflow
from tests.rows import assert_sound, steps_of


class Failing(Gates):
    """Gates of which those in ``fail`` fail."""

    def __init__(self) -> None:
        super().__init__()
        self.fail: set[str] = set()

    async def __call__(self, data: ProbeData, context: StepContext) -> Outcome:
        outcome = await super().__call__(data, context)
        if context.node_id in self.fail:
            raise StepFailedError("refused", "The far side refused.")
        return outcome


class Desk:
    """An api, a worker beside it, and the database; what the api announces goes to the worker."""

    def __init__(self, api: ApiClient, engine: Engine, database: asyncpg.Connection, gates: Failing) -> None:
        self.api, self.engine, self.database, self.gates = api, engine, database, gates

    @classmethod
    @asynccontextmanager
    async def open(cls, api: ApiClient, database_url: str) -> AsyncIterator["Desk"]:
        """A desk; in the end the database must be sound."""
        gates = Failing()
        database = await asyncpg.connect(database_url)
        async with Engine.running(database_url, registry(gates)) as engine:
            api.api._announcer.announce = engine.mailbox.announce  # type: ignore[method-assign]
            yield cls(api, engine, database, gates)
            await assert_sound(database)
        await database.close()

    async def flow(self, spec: str, **data: Any) -> str:
        """A workflow of the token's workspace, saved past the api."""
        flow = await workflow(self.database, *graph(spec, **data), registry(self.gates))
        await self.api.call("GET", "/workflows")  # the first token of a workspace makes its row
        await self.database.execute(
            "UPDATE workflows SET workspace_id = (SELECT id FROM workspaces WHERE claim = 'acme') WHERE id = $1",
            flow.workflow_id,
        )
        return encode(Prefix.WORKFLOW, flow.workflow_id)

    async def execute(self, flow: str, context: Any = None) -> str:
        """Start a run."""
        answer = await self.api.call("POST", f"/workflows/{flow}/execute", {"context": context or {}})
        assert answer.status == 202, answer.body
        name: str = answer.json["id"]
        return name

    async def read(self, run: str) -> dict[str, Any]:
        """The run as callers see it."""
        read: dict[str, Any] = (await self.api.call("GET", f"/workflows/runs/{run}")).json
        return read

    async def ends(self, run: str, status: str) -> dict[str, Any]:
        """Carry a run on until it has a status."""
        await self.engine.finish(decode(Prefix.RUN, run), until=status)
        return await self.read(run)

    async def steps(self, run: str) -> dict[str, str]:
        """How each step of a run ended."""
        return await steps_of(self.database, decode(Prefix.RUN, run))
