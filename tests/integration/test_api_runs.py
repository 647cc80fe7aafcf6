"""Starting and reading runs over HTTP, against a real database."""

import re
from hashlib import sha256
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from shared.ids import Prefix, decode, encode, uuid7
from shared.store import runs_read
from tests.api_client import PUBLIC_URL, ApiClient, node, token, workflow

_RUN_FIELDS = {
    "id",
    "status",
    "error_message",
    "started_at",
    "completed_at",
    "duration_in_seconds",
    "logs",
    "trigger_payload",
    "created_at",
    "workflow_id",
    "version",
    "trigger_type",
    "parent_run_id",
    "rerun_of",
    "steps",
}
_LOG_FIELDS = {
    "id",
    "execution_id",
    "node_id",
    "component_id",
    "status",
    "output",
    "created_at",
    "seq",
    "input",
    "attempt",
    "item",
    "started_at",
    "duration_ms",
    "handle",
    "error",
}


async def test_execute_gives_a_pending_run_that_can_be_read(api: ApiClient) -> None:
    """202 with every field of a run; it is durable, pending, waits for a worker, and says who started it."""
    made = await api.create()
    answer = await api.call(
        "POST", f"/workflows/{made['id']}/execute", {"context": {"user_id": 7}}, headers={"X-Request-Id": "r-1"}
    )
    assert answer.status == 202
    run = answer.json
    assert set(run) == _RUN_FIELDS
    assert (run["status"], run["trigger_payload"], run["logs"]) == ("pending", {"user_id": 7}, [])
    assert (run["workflow_id"], run["version"], run["trigger_type"]) == (made["id"], 1, "manual")
    read = (await api.call("GET", f"/workflows/runs/{run['id']}")).json
    assert {**read, "steps": None} == {**run, "steps": None}
    assert [step["waiting_for"]["reason"] for step in read["steps"]] == ["worker"]
    row = await _row(api, "SELECT request_id, started_by FROM runs")
    assert (row["request_id"], row["started_by"]) == ("r-1", "user-1")
    audited = await _row(api, "SELECT actor, target, request_id, after_digest FROM audit WHERE action = 'run.create'")
    assert tuple(audited) == ("user-1", run["id"], "r-1", sha256(b'{"user_id":7}').digest())


async def test_execute_needs_no_body(api: ApiClient) -> None:
    """No body, an empty object and a null context are the same; anything else is 422 or 400."""
    made = await api.create()
    path = f"/workflows/{made['id']}/execute"
    for body in (None, {}, {"context": {}}, {"context": None}):
        assert (await api.call("POST", path, body)).json["trigger_payload"] == {}
    refused = await api.call("POST", path, {"contxt": {}})
    assert [e["code"] for e in refused.json["errors"]] == ["unknown_field"]
    assert (await api.call("POST", path, {"context": [1]})).status == 422
    assert (await api.call("POST", path, [])).json["code"] == "object_expected"


async def test_context_comes_back_as_it_was(api: ApiClient) -> None:
    """NUL, lone surrogates, key order and long numbers survive from execute to GET."""
    made = await api.create()
    text = b'{"context": {"z": "\\u0000", "a": "\\ud800", "n": 12345678901234567890123, "f": 1.10}}'
    headers = {"Content-Type": "application/json"}
    run = await api.call("POST", f"/workflows/{made['id']}/execute", data=text, headers=headers)
    assert run.status == 202
    read = await api.call("GET", _run_path(run.body))
    assert b'"\\u0000"' in read.body
    assert b'"\\ud800"' in read.body
    assert b"12345678901234567890123" in read.body


def _run_path(body: bytes) -> str:
    found = re.search(rb'"(fl_run_\w{26})"', body)
    assert found is not None
    return f"/workflows/runs/{found[1].decode()}"


async def test_inactive_workflow_is_not_started(api: ApiClient) -> None:
    """409 for an inactive workflow, whatever its trigger, and nothing is stored."""
    made = await api.create(is_active=False)
    answer = await api.call("POST", f"/workflows/{made['id']}/execute", {})
    assert (answer.status, answer.json["code"]) == (409, "workflow_inactive")
    assert (await _row(api, "SELECT count(*) AS n FROM runs"))["n"] == 0


async def test_logs_follow_the_sequence(api: ApiClient) -> None:
    """One entry per attempt by seq; a retried or continued failure is a warning; the trigger's output is composed."""
    made = await api.create(
        nodes=[
            node("n1", "manual_trigger"),
            node("n2", "webhook", method="GET", url="https://x.test", continue_on_error=True),
        ]
    )
    run = (await api.call("POST", f"/workflows/{made['id']}/execute", {"context": {"k": 1}})).json
    run_id = decode(Prefix.RUN, run["id"])
    error = '{"code":"timeout","message":"slow","status":null,"body":null}'
    await _steps(
        api,
        run_id,
        [
            (1, "n2", 1, "retried", None, None, error),
            (0, "n1", 1, "success", None, None, None),
            (3, "n3", 1, "skipped", None, None, None),
            (2, "n2", 2, "failed", "error", '{"error":{"code":"timeout"}}', error),
        ],
    )
    read = (await api.call("GET", f"/workflows/runs/{run['id']}")).json
    assert all(set(entry) == _LOG_FIELDS for entry in read["logs"])
    assert [(e["seq"], e["node_id"], e["attempt"], e["status"]) for e in read["logs"]] == [
        (0, "n1", 1, "success"),
        (1, "n2", 1, "warning"),
        (2, "n2", 2, "warning"),
    ]
    assert read["logs"][0]["output"] == {"k": 1, "run_id": run["id"], "trigger_type": "manual", "context": {"k": 1}}
    assert read["logs"][1]["output"]["error"]["code"] == "timeout"
    assert [e["component_id"] for e in read["logs"]] == ["manual_trigger", "webhook", "webhook"]
    assert {e["execution_id"] for e in read["logs"]} == {run["id"]}
    ids = [e["id"] for e in read["logs"]]
    assert len(set(ids)) == 3
    assert ids == [e["id"] for e in (await api.call("GET", f"/workflows/runs/{run['id']}")).json["logs"]]
    assert all(re.fullmatch(r"fl_log_[0-7][0-9a-z]{25}", log_id) for log_id in ids)
    assert ("n3", "skipped") in [(s["node_id"], s["status"]) for s in read["steps"]]


async def test_waiting_steps_say_why(api: ApiClient) -> None:
    """A delay waits for a timer, another node's wait is a retry, a ready one waits for the queue; with times."""
    made = await api.create(
        nodes=[
            node("n1", "manual_trigger"),
            node("d", "delay", duration=1, unit="hours"),
            node("h", "webhook", method="GET", url="https://x.test"),
        ],
        edges=[{"id": "a", "source": "n1", "target": "d"}, {"id": "b", "source": "n1", "target": "h"}],
    )
    run = (await api.call("POST", f"/workflows/{made['id']}/execute", {})).json
    async with api.api.services.pool.acquire() as connection:
        await connection.execute(
            "INSERT INTO incarnations (id, host, pid) VALUES ('01890000-0000-7000-8000-000000000009', 'h', 1)"
        )
        await connection.execute(
            "INSERT INTO open_steps (run_id, workspace_id, workflow_id, priority, status, node_id, due_at, attempt)"
            " SELECT run_id, workspace_id, workflow_id, priority, 'waiting', n, '2030-01-01 00:00Z', 2"
            " FROM open_steps, unnest(ARRAY['d', 'h']) AS n"
        )
    read = (await api.call("GET", f"/workflows/runs/{run['id']}")).json
    reasons = {step["node_id"]: step["waiting_for"] for step in read["steps"]}
    assert {name: w["reason"] for name, w in reasons.items()} == {"d": "timer", "h": "retry", "n1": "queue"}
    assert reasons["d"]["until"] == "2030-01-01T00:00:00.000000Z"


async def test_executions_have_the_page_form(api: ApiClient) -> None:
    """data, links and meta as the contract has them, newest first, without logs."""
    made = await api.create()
    path = f"/workflows/{made['id']}/executions"
    runs = [(await api.call("POST", f"/workflows/{made['id']}/execute", {})).json["id"] for _ in range(5)]
    page = (await api.call("GET", f"{path}?page=2&per_page=2")).json
    assert set(page) == {"data", "links", "meta"}
    assert [run["id"] for run in page["data"]] == runs[::-1][2:4]
    assert set(page["data"][0]) == _RUN_FIELDS - {"logs", "steps"}
    base = f"{PUBLIC_URL}{path}"
    assert page["links"] == {
        "first": f"{base}?per_page=2&page=1",
        "last": f"{base}?per_page=2&page=3",
        "prev": f"{base}?per_page=2&page=1",
        "next": f"{base}?per_page=2&page=3",
    }
    assert page["meta"] == {
        "current_page": 2,
        "from": 3,
        "last_page": 3,
        "path": base,
        "per_page": 2,
        "to": 4,
        "total": 5,
        "total_is_estimate": False,
    }
    empty = (await api.call("GET", f"{path}?from=2200-01-01")).json
    assert (empty["data"], empty["meta"]["from"], empty["meta"]["total"], empty["links"]["next"]) == ([], None, 0, None)


async def test_executions_filter(api: ApiClient) -> None:
    """status, from and to narrow the list; a value that is not legal is 400."""
    made = await api.create()
    path = f"/workflows/{made['id']}/executions"
    run = (await api.call("POST", f"/workflows/{made['id']}/execute", {})).json
    for query, expected in (
        ("status=pending", 1),
        ("status=failed", 0),
        ("from=2020-01-01T00:00:00Z", 1),
        ("to=2020-01-01", 0),
        (f"from={run['created_at'][:10]}", 1),
        ("from=0001-01-01&to=9999-12-31", 1),
    ):
        assert (await api.call("GET", f"{path}?{query}")).json["meta"]["total"] == expected, query
    for query in ("status=done", "from=yesterday", "page=0", "per_page=201", "page=201&per_page=50", "cursor=x"):
        assert (await api.call("GET", f"{path}?{query}")).json["code"] == "invalid_parameter", query


async def _many_runs(api: ApiClient, count: int) -> dict[str, Any]:
    """A workflow with so many finished runs, every hundredth of them failed."""
    made = await api.create()
    async with api.api.services.pool.acquire() as connection:
        await connection.execute(
            "INSERT INTO runs (id, workspace_id, workflow_id, version, priority, trigger_type, trigger_payload,"
            " open_steps, status, completed_at)"
            " SELECT (lpad(to_hex((extract(epoch FROM now()) * 1000)::bigint - n), 12, '0')"
            " || '7000' || '8000000000000000')::uuid, w.workspace_id, w.id, 1, 1, 'manual', '{}', 0,"
            " CASE WHEN n % 100 = 0 THEN 'failed' ELSE 'completed' END, now()"
            " FROM workflows w, generate_series(1, $1) AS n",
            count,
        )
        await connection.execute("ANALYZE runs")
    return made


async def test_total_of_many_runs_is_an_estimate(api: ApiClient) -> None:
    """Past 10,000 the total is an estimate and says so; the numbered pages end and links.next goes on by cursor."""
    made = await _many_runs(api, 12_000)
    path = f"/workflows/{made['id']}/executions"
    page = (await api.call("GET", f"{path}?page=50&per_page=200")).json
    assert page["meta"]["total_is_estimate"] is True
    assert 10_000 < page["meta"]["total"] < 14_000
    assert page["meta"]["last_page"] == 50
    assert "cursor=fl_run_" in page["links"]["next"]
    seen = [run["id"] for run in page["data"]]
    while page["links"]["next"]:
        page = (await api.call("GET", page["links"]["next"].removeprefix(PUBLIC_URL))).json
        seen += [run["id"] for run in page["data"]]
    assert len(seen) == len(set(seen)) == 12_000 - 49 * 200
    assert seen == sorted(seen, reverse=True)


async def test_a_rare_status_reads_a_window_only(api: ApiClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """A status is looked for in the newest runs only; links.next goes on behind them until everything was seen."""
    monkeypatch.setattr(runs_read, "STATUS_WINDOW", 1000)
    made = await _many_runs(api, 2_500)
    path = f"/workflows/{made['id']}/executions?status=failed"
    page = (await api.call("GET", path)).json
    seen = len(page["data"])
    assert seen == 10
    assert (page["meta"]["total_is_estimate"], page["meta"]["total"]) == (True, 25)
    while page["links"]["next"]:
        page = (await api.call("GET", page["links"]["next"].removeprefix(PUBLIC_URL))).json
        seen += len(page["data"])
    assert seen == 25


async def test_listing_does_not_read_the_history(api: ApiClient) -> None:
    """A page of a workflow with many runs is found by the index, without sorting or scanning them."""
    made = await _many_runs(api, 12_000)
    which = runs_read.RunFilter(decode(Prefix.WORKFLOW, made["id"]))
    async with api.api.services.pool.acquire() as connection:
        query = runs_read._SQL["page"]
        plan = "\n".join(r[0] for r in await connection.fetch(f"EXPLAIN {query}", *which, 51, 0, 51))
    assert "Index Scan Backward" in plan
    assert "Seq Scan" not in plan
    assert "Sort" not in plan


async def test_ids_of_the_wrong_kind_are_404(api: ApiClient) -> None:
    """An id with the wrong prefix or shape is 404 on every route, never 500."""
    made = await api.create()
    for text in (
        "x",
        "fl_run_",
        made["id"][:-1],
        made["id"].upper(),
        made["id"].replace("fl_", "fl_run_"),
        "%00",
        "%FF",
    ):
        for method, path in (
            ("GET", f"/workflows/{text}"),
            ("PUT", f"/workflows/{text}"),
            ("DELETE", f"/workflows/{text}"),
            ("POST", f"/workflows/{text}/execute"),
            ("GET", f"/workflows/{text}/executions"),
            ("GET", f"/workflows/runs/{text}"),
        ):
            answer = await api.call(method, path, {} if method == "PUT" else None)
            assert answer.status == 404, (method, path)
    assert (await api.call("GET", f"/workflows/{encode(Prefix.WORKFLOW, uuid7(1))}")).status == 404


async def test_a_full_backlog_is_429(make_api: Any) -> None:
    """Past the limit of open runs triggers get 429 with Retry-After, and are let in again when runs have ended."""
    api: ApiClient = await make_api(max_open_runs=2)
    moment = [0.0]
    api.api.services.backlog._clock = lambda: moment[0]
    made = await api.create(nodes=workflow("webhook_trigger")["nodes"])
    path = f"/workflows/{made['id']}/execute"
    for _ in range(2):
        assert (await api.call("POST", path)).status == 202
        await _backlog_looked(api)  # the first trigger's look has not found the second
    moment[0] += 1.0
    assert (await api.call("POST", path)).status == 202  # starts the look that finds it full
    await _backlog_looked(api)
    refused = await api.call("POST", path)
    assert (refused.status, refused.json["code"]) == (429, "backlog_full")
    assert int(refused.headers["Retry-After"]) >= 1
    assert (await api.call("POST", made["webhook_url"].removeprefix(PUBLIC_URL), {})).status == 429
    async with api.api.services.pool.acquire() as connection:
        await connection.execute("DELETE FROM open_steps")
    moment[0] += 1.0
    assert (await api.call("POST", path)).status == 202


async def test_the_flood_of_one_workspace_is_no_429_for_another(make_api: Any) -> None:
    """Past its limit a workspace's own triggers get 429 and say so; others go on up to the installation's."""
    api: ApiClient = await make_api(max_open_runs=5, max_open_runs_per_workspace=2)
    moment = [0.0]
    api.api.services.backlog._clock = lambda: moment[0]
    theirs = token("other")
    paths: dict[str, list[str]] = {}
    for bearer in (api.token, theirs):
        made = (await api.call("POST", "/workflows", workflow("webhook_trigger"), token=bearer)).json
        paths[bearer] = [f"/workflows/{made['id']}/execute", made["webhook_url"].removeprefix(PUBLIC_URL)]
    for bearer, times in ((api.token, 2), (theirs, 1)):
        for _ in range(times):
            assert (await api.call("POST", paths[bearer][0], {}, token=bearer)).status == 202
    moment[0] += 1.0
    assert (await api.call("POST", paths[theirs][0], {}, token=theirs)).status == 202  # starts the look
    await _backlog_looked(api)
    for path in (*paths[api.token], "/workflows/events/some.event"):
        refused = await api.call("POST", path, {})
        assert (refused.status, refused.json["code"]) == (429, "backlog_full")
        assert "2 runs of this workspace" in refused.json["message"]
        assert int(refused.headers["Retry-After"]) >= 1
    assert (await api.call("POST", paths[theirs][1], {}, token="")).status == 202
    moment[0] += 1.0
    assert (await api.call("POST", paths[api.token][0], {})).status == 429  # five are open now, and the look says so
    refused = await api.call("POST", paths[theirs][1], {}, token="")
    assert (refused.status, "5 runs are open" in refused.json["message"]) == (429, True)


async def _backlog_looked(api: ApiClient) -> None:
    asking = api.api.services.backlog._asking
    assert asking is not None
    await asking


async def _row(api: ApiClient, query: str) -> asyncpg.Record:
    async with api.api.services.pool.acquire() as connection:
        row = await connection.fetchrow(query)
    assert row is not None
    return row


async def _steps(api: ApiClient, run_id: UUID, steps: list[tuple[Any, ...]]) -> None:
    async with api.api.services.pool.acquire() as connection:
        await connection.executemany(
            "INSERT INTO steps (run_id, workspace_id, seq, node_id, attempt, status, handle, output, error, item,"
            " duration_ms, started_at)"
            " SELECT id, workspace_id, $2, $3, $4, $5, $6, $7, $8, '-', 5, now() FROM runs WHERE id = $1",
            [(run_id, *step) for step in steps],
        )
