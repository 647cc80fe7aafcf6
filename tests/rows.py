"""What tests write and read of runs and steps: advances made by hand, and the rows that commits left."""

import json
from typing import Any
from uuid import UUID

from shared.advances import Advance, Arrival, Opening, Result
from shared.db import Clock


async def status_of(connection: Any, run_id: UUID) -> str | None:
    """A run's status."""
    status: str | None = await connection.fetchval("SELECT status FROM runs WHERE id = $1", run_id)
    return status


async def steps_of(connection: Any, run_id: UUID) -> dict[str, str]:
    """How each step of a run ended, its last attempt."""
    records = await connection.fetch("SELECT node_id, status FROM steps WHERE run_id = $1 ORDER BY attempt", run_id)
    return {record["node_id"]: record["status"] for record in records}


async def output_of(connection: Any, run_id: UUID, node_id: str) -> Any:
    """What a step gave out."""
    text = await connection.fetchval(
        "SELECT output FROM steps WHERE run_id = $1 AND node_id = $2 ORDER BY attempt DESC LIMIT 1", run_id, node_id
    )
    return None if text is None else json.loads(text)


async def error_of(connection: Any, run_id: UUID, node_id: str) -> Any:
    """What a step's last attempt failed with."""
    text = await connection.fetchval(
        "SELECT error FROM steps WHERE run_id = $1 AND node_id = $2 ORDER BY attempt DESC LIMIT 1", run_id, node_id
    )
    return None if text is None else json.loads(text)


async def waits_for_locks(connection: Any, count: int = 1) -> bool:
    """Whether so many sessions of this database wait for a lock."""
    found: int = await connection.fetchval(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    return found >= count


async def assert_sound(connection: Any) -> None:
    """What must hold of every run after every commit: its counter, its log numbers, its status."""
    wrong = await connection.fetch(
        "SELECT r.id, r.open_steps, (SELECT count(*) FROM open_steps o WHERE o.run_id = r.id) AS there FROM runs r"
        " WHERE r.open_steps <> (SELECT count(*) FROM open_steps o WHERE o.run_id = r.id)"
    )
    assert not wrong, f"counters lost: {wrong}"
    wrong = await connection.fetch(
        "SELECT s.run_id, s.seq FROM steps s GROUP BY 1, 2 HAVING count(*) > 1"
        " UNION SELECT s.run_id, s.seq FROM steps s JOIN runs r ON r.id = s.run_id WHERE s.seq >= r.seq OR s.seq < 0"
    )
    assert not wrong, f"log numbers that stand twice or are out of range: {wrong}"


def result(node_id: str, *, own: bool = True, status: str = "success", attempt: int = 1, **fields: Any) -> Result:
    """A settled attempt; a failed one has an error."""
    error = '{"code":"x","message":"x"}' if status in {"failed", "retried"} else None
    values = {"handle": None, "output": "{}", "input": None, "error": error} | fields
    return Result(own, node_id, "-", attempt, status, **values, started_us=Clock().microseconds(), duration_ms=1)


def opening(node_id: str, status: str = "ready", claim_id: UUID | None = None, **fields: Any) -> Opening:
    """A step that opens."""
    values = {"attempt": 1, "due_at": None, "claim_first": True} | fields
    return Opening(node_id, "-", status, claim_id=claim_id, **values)


def arrival(node_id: str, arrived: int, fired: int, degree: int, need: int = 0) -> Arrival:
    """Edges that settle."""
    return Arrival(node_id, "-", arrived, fired, degree, need)


def advance(run_id: UUID, node_id: str, claim_id: UUID | None = None, **fields: Any) -> Advance:
    """An advance that settles its own step with success, unless told otherwise."""
    values = {"results": [result(node_id)]} | fields
    return Advance(run_id, node_id, "-", claim_id, Clock().microseconds(), **values)
