"""The same at ten million runs that are really there, with the statistics that they have and with stale ones."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncpg
import pytest

from deploy.embedded import Postgres
from deploy.folder import Folder
from deploy.ports import Ports
from shared.migrate import migrate
from shared.store.advance import commit
from tests.bench import past
from tests.engine import Flow, graph, mint, start_runs, workflow
from tests.plans.past import when_empty
from tests.plans.test_plans import WALKED, WHOLE, scans, walks
from tests.plans.usual import check_usual
from tests.rows import advance, result

_RUNS = 10_000_000
_SECONDS = 3600


@contextmanager
def _server(path: Path) -> Iterator[Postgres]:
    """The database server of an installation's folder, nothing else of it running."""
    folder, ports = Folder(path), Ports()
    server = Postgres(folder.path, ports.any(), folder.password("postgres"), durable=False)
    server.prepare()
    process = server.spawn()
    try:
        server.wait_ready(process)
        yield server
    finally:
        process.send_signal(server.stop_signal)
        process.wait()
        ports.release()
        folder.close()


async def _begin(server: Postgres) -> Flow:
    """A workflow with one finished run, for the others to be copies of."""
    outside = await asyncpg.connect(server.url_of("postgres"))
    await outside.execute("CREATE DATABASE edgewise")
    await outside.close()
    await migrate(server.url)
    connection = await asyncpg.connect(server.url)
    try:
        flow = await workflow(connection, *graph("t>fa"))
        (run_id,) = await start_runs(connection, flow)
        await commit(connection, [advance(run_id, "t", results=[result("t"), result("fa", own=False)])], mint.uuid())
    finally:
        await connection.close()
    return flow


async def _check(url: str, flow: Flow) -> None:
    connection = await asyncpg.connect(url)
    try:
        assert await connection.fetchval("SELECT sum(reltuples) FROM pg_class WHERE relname ~ '^runs_2'") > 0.99 * _RUNS
        for cost in ("1", "4"):
            await connection.execute(f"SET random_page_cost = {cost}")
            assert await scans(connection) == WHOLE
            assert await walks(connection) <= WALKED
            await check_usual(connection, flow, f"loaded, random_page_cost {cost}")
        await when_empty(connection)
        assert await scans(connection) == WHOLE
        assert await walks(connection) <= WALKED
        await check_usual(connection, flow, "analysed when empty")
    finally:
        await connection.close()


@pytest.mark.drill
@pytest.mark.timeout(_SECONDS)
async def test_plans_hold_at_ten_million_runs(tmp_path: Path) -> None:
    """Loaded by COPY over ten days; what the engine reads is what it reads of an empty database."""
    with _server(tmp_path) as server:
        flow = await _begin(server)
    await past.load(tmp_path, past.Past(_RUNS), flow.workflow_id)
    with _server(tmp_path) as server:
        await _check(server.url, flow)
