"""What a run tells: why each step waits, what it comes from, and where a huge log is cut."""

import json
from typing import Any
from uuid import UUID

import pytest

from api import run_view
from shared.ids import Prefix, decode, encode, uuid7
from shared.states import Waits
from shared.store import runs_read
from tests.api_client import ApiClient

_CHILD = UUID("01890000-0000-7000-8000-000000000001")


async def _run(api: ApiClient) -> str:
    made = await api.create()
    name: str = (await api.call("POST", f"/workflows/{made['id']}/execute", {})).json["id"]
    return name


async def _write(api: ApiClient, statement: str, *arguments: Any) -> None:
    async with api.api.services.pool.acquire() as connection:
        await connection.execute(statement, *arguments)


async def _waits(api: ApiClient, run: str) -> dict[str, Any]:
    read = (await api.call("GET", f"/workflows/runs/{run}")).json
    return {step["node_id"]: step["waiting_for"] for step in read["steps"] if step["waiting_for"]}


async def _waiting(api: ApiClient, run: str, node_id: str, waits: str | None, *, claim: bool = False) -> None:
    await _write(
        api,
        "INSERT INTO open_steps (run_id, workspace_id, workflow_id, priority, status, node_id, due_at, attempt, waits,"
        " claim_first, child_run_id) SELECT run_id, workspace_id, workflow_id, priority, 'waiting', $2,"
        " CASE WHEN $3::text IN ('items', 'child_run', 'concurrency') THEN NULL"
        " ELSE '2030-01-01 00:00Z'::timestamptz END,"
        " 2, $3, $4, CASE WHEN $3::text = 'child_run' THEN $5::uuid END FROM open_steps WHERE run_id = $1 LIMIT 1",
        decode(Prefix.RUN, run),
        node_id,
        waits,
        claim,
        _CHILD,
    )


async def test_every_wait_says_why(api: ApiClient) -> None:
    """Each reason there is has its word of the contract, its time if it has one, and a sentence."""
    run = await _run(api)
    for waits in Waits:
        await _waiting(api, run, waits, waits)
    told = await _waits(api, run)
    assert {name: told[name]["reason"] for name in Waits} == {
        "timer": "timer",
        "retry": "retry",
        "callback": "callback",
        "person": "callback",
        "child_run": "child_run",
        "items": "child_run",
        "concurrency": "concurrency",
    }
    timed = {name for name in Waits if told[name]["until"] == "2030-01-01T00:00:00.000000Z"}
    assert timed == {"timer", "retry", "callback", "person"}
    assert all(told[name]["until"] is None for name in set(Waits) - timed)
    assert encode(Prefix.RUN, _CHILD) in told["child_run"]["detail"]
    assert "Attempt 2" in told["retry"]["detail"]


async def test_waits_that_older_code_began(api: ApiClient) -> None:
    """They do not say what for: one that is to be claimed is a retry, any other a timer."""
    run = await _run(api)
    await _waiting(api, run, "d", None)
    await _waiting(api, run, "r", None, claim=True)
    told = await _waits(api, run)
    assert (told["d"]["reason"], told["r"]["reason"]) == ("timer", "retry")


async def test_a_retry_after_429_is_a_rate_limit(api: ApiClient) -> None:
    """The attempt before was answered with 429; one that failed otherwise is a plain retry."""
    run = await _run(api)
    for name, status in (("limited", 429), ("broken", 503)):
        await _waiting(api, run, name, "retry", claim=True)
        await _write(
            api,
            "INSERT INTO steps (run_id, workspace_id, seq, duration_ms, started_at, attempt, node_id, item, status,"
            " error) SELECT id, workspace_id, $4, 1, now(), 1, $2, '-', 'retried', $3 FROM runs WHERE id = $1",
            decode(Prefix.RUN, run),
            name,
            json.dumps({"code": "http", "message": "x", "status": status, "body": None}),
            status,
        )
    told = await _waits(api, run)
    assert (told["limited"]["reason"], told["broken"]["reason"]) == ("rate_limit", "retry")
    assert told["limited"]["until"] is not None


async def test_a_run_tells_its_parent_and_what_it_repeats(api: ApiClient) -> None:
    """By their ids, in the object and in lists."""
    run = await _run(api)
    other = uuid7(5)
    await _write(
        api, "UPDATE runs SET parent_run_id = $1, rerun_of = $2, status = 'awaiting_ui_interaction'", _CHILD, other
    )
    read = (await api.call("GET", f"/workflows/runs/{run}")).json
    listed = (await api.call("GET", f"/workflows/{read['workflow_id']}/executions")).json["data"][0]
    for shown in (read, listed):
        assert (shown["parent_run_id"], shown["rerun_of"]) == (encode(Prefix.RUN, _CHILD), encode(Prefix.RUN, other))
        assert shown["status"] == "awaiting_ui_interaction"


async def _settle(api: ApiClient, run: str, count: int, output: str) -> None:
    await _write(
        api,
        "INSERT INTO steps (run_id, workspace_id, seq, duration_ms, started_at, attempt, node_id, item, status, output)"
        " SELECT id, workspace_id, n, 1, now(), 1, 'n2', n::text, 'success', $3 FROM runs, generate_series(1, $2) AS n"
        " WHERE id = $1",
        decode(Prefix.RUN, run),
        count,
        output,
    )


async def test_a_log_of_many_entries_is_cut(api: ApiClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first ones are given, and `truncated` says that there are more; a run with just as many is whole."""
    for module in (runs_read, run_view):
        monkeypatch.setattr(module, "LOG_ENTRIES", 5)
    run = await _run(api)
    await _settle(api, run, 5, "1")
    whole = (await api.call("GET", f"/workflows/runs/{run}")).json
    assert (len(whole["logs"]), len(whole["steps"]), "truncated" in whole) == (5, 6, False)
    await _write(
        api,
        "INSERT INTO steps (run_id, workspace_id, seq, duration_ms, started_at, attempt, node_id, item, status)"
        " SELECT run_id, workspace_id, 6, 1, now(), 1, 'n9', '-', 'success' FROM steps WHERE item = '5'",
    )
    cut = (await api.call("GET", f"/workflows/runs/{run}")).json
    assert [log["seq"] for log in cut["logs"]] == [1, 2, 3, 4, 5]
    assert cut["truncated"] is True


async def test_a_log_of_many_bytes_is_cut(api: ApiClient) -> None:
    """Entries stop where outputs, inputs and errors have 16 MiB together; the steps are all there."""
    run = await _run(api)
    await _settle(api, run, 20, json.dumps("x" * (1024 * 1024 - 2)))
    answer = await api.call("GET", f"/workflows/runs/{run}")
    read = answer.json
    assert [log["item"] for log in read["logs"]] == [str(n) for n in range(1, 17)]
    assert len(read["steps"]) == 21
    assert read["truncated"] is True
    assert len(answer.body) < 17 * 1024 * 1024


async def test_many_open_steps_are_cut(api: ApiClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """As many as entries of a log."""
    for module in (runs_read, run_view):
        monkeypatch.setattr(module, "LOG_ENTRIES", 3)
    run = await _run(api)
    for name in "abc":
        await _waiting(api, run, name, "timer")
    read = (await api.call("GET", f"/workflows/runs/{run}")).json
    assert [step["node_id"] for step in read["steps"]] == ["a", "b", "c"]
    assert read["truncated"] is True
