"""Limits and breakers of hosts in a worker process, as its settings have them, and what becomes of its steps."""

import base64
from typing import Any

import asyncpg

from shared.announcer import Announcer
from shared.config import load
from shared.db import Clock, open_pool
from shared.ingest import Ingest, Trigger
from shared.metrics import EGRESS, EGRESS_HOSTS
from shared.nodes.registry import default_registry
from tests.engine import Flow, eventually, workflow
from tests.outward import closed_port
from worker.main import Worker


def _calling(url: str, **more: Any) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    call = {"componentId": "webhook", "method": "GET", "url": url, **more}
    nodes = [{"id": "t", "data": {"componentId": "manual_trigger"}}, {"id": "call", "data": call}]
    return nodes, [{"id": "e1", "source": "t", "target": "call"}]


def _counted(counter: Any, label: str) -> float:
    return float(counter.labels(label)._value.get())


async def test_a_breaker_puts_retries_off(database_url: str, broker_url: str) -> None:
    """A host that is gone is called once; then steps fail at once, or wait to be tried as long as it is left alone.
    Another workspace finds out for itself."""
    config = load(
        {
            "EDGEWISE_DATABASE_URL": database_url,
            "EDGEWISE_BROKER_URL": broker_url,
            "EDGEWISE_JWT_SECRET": "x" * 32,
            "EDGEWISE_VAULT_KEYS": "k1:" + base64.b64encode(b"x" * 32).decode(),
            "EDGEWISE_EGRESS_ALLOW": "127.0.0.1",
            "EDGEWISE_EGRESS_BREAKER_FAILURES": "1",
            "EDGEWISE_EGRESS_BREAKER_SECONDS": "600",
            "EDGEWISE_WORKER_THREADS": "1",
        }
    )
    url, known = f"http://127.0.0.1:{closed_port()}/", default_registry()
    outside = await asyncpg.connect(database_url)
    pool = await open_pool(database_url, size=4, name="test")
    announcer, worker = Announcer(broker_url), await Worker.start(config, pool)
    ingest = Ingest(pool, announcer, Clock(), window=1000)
    network, opened = _counted(EGRESS, "network"), _counted(EGRESS_HOSTS, "opened")

    async def error_of(flow: Flow) -> str:
        await ingest.accept(Trigger(flow.workflow_id, "manual", "{}"))
        found = "SELECT error FROM steps WHERE workspace_id = $1 AND node_id = 'call' AND error IS NOT NULL"
        await eventually(lambda: outside.fetchval(found, flow.workspace_id))
        return str(await outside.fetchval(found, flow.workspace_id))

    try:
        flow = await workflow(outside, *_calling(url), known)
        assert "network_error" in await error_of(flow)
        again = await workflow(
            outside, *_calling(url, retry={"max_attempts": 3, "delay": 0.1, "on": ["network"]}), known
        )
        await outside.execute(
            "UPDATE workflows SET workspace_id = $1 WHERE id = $2", flow.workspace_id, again.workflow_id
        )
        await ingest.accept(Trigger(again.workflow_id, "manual", "{}"))
        due = "SELECT extract(epoch FROM due_at - now()) FROM open_steps WHERE status = 'waiting' AND node_id = 'call'"
        await eventually(lambda: outside.fetchval(due))
        assert 500 < await outside.fetchval(due) <= 600
        other = await workflow(outside, *_calling(url), known)
        assert "network_error" in await error_of(other)
    finally:
        await worker.stop()
        await ingest.close()
        announcer.close()
        await pool.close()
        await outside.close()
    assert _counted(EGRESS, "network") == network + 2
    assert _counted(EGRESS_HOSTS, "opened") == opened + 2
