"""Runs across workflows, and actions over many of them, over HTTP."""

from typing import Any

import pytest

from shared.ids import Prefix, encode, uuid7
from shared.store import runs_scan
from tests.api_client import PUBLIC_URL, ApiClient, token

_BULK = "/workflows/runs/bulk"


async def _runs(api: ApiClient, workflow_id: str, count: int, **options: Any) -> list[str]:
    path = f"/workflows/{workflow_id}/execute"
    return [(await api.call("POST", path, {"context": {"n": n}}, **options)).json["id"] for n in range(count)]


async def _execute(api: ApiClient, statement: str, *arguments: Any) -> None:
    async with api.api.services.pool.acquire() as connection:
        await connection.execute(statement, *arguments)


async def test_runs_of_all_workflows_are_listed_newest_first(api: ApiClient) -> None:
    """A bare array without logs and steps, page by page through Link; another workspace sees none of them."""
    first, second = await api.create(), await api.create()
    names = await _runs(api, first["id"], 3) + await _runs(api, second["id"], 2)
    page = await api.call("GET", "/workflows/runs?limit=2")
    assert page.status == 200
    assert "logs" not in page.json[0]
    assert (page.json[0]["rerun_of"], page.json[0]["parent_run_id"]) == (None, None)
    seen = [run["id"] for run in page.json]
    while "Link" in page.headers:
        target = page.headers["Link"].partition("<")[2].partition(">")[0].removeprefix(PUBLIC_URL)
        page = await api.call("GET", target)
        seen += [run["id"] for run in page.json]
    assert seen == names[::-1]
    assert (await api.call("GET", "/workflows/runs", token=token("other"))).json == []
    assert (await api.call("GET", "/workflows/runs", token=token(scope="workflows:write"))).status == 403


async def test_the_list_is_filtered(api: ApiClient) -> None:
    """By workflow, status and time; what is not legal is 400, and an id of the wrong shape 404."""
    first, second = await api.create(), await api.create()
    names = await _runs(api, first["id"], 2)
    await _runs(api, second["id"], 1)
    await _execute(
        api,
        "UPDATE runs SET status = 'failed', outcome = 'failed', open_steps = 0, completed_at = now()"
        " WHERE workflow_id = (SELECT id FROM workflows ORDER BY id LIMIT 1)",
    )
    for query, count in (
        (f"workflow_id={first['id']}", 2),
        (f"workflow_id={second['id']}&status=failed", 0),
        ("status=failed", 2),
        ("status=pending", 1),
        ("from=2020-01-01&to=2200-01-01", 3),
        ("to=2020-01-01", 0),
        (f"workflow_id={encode(Prefix.WORKFLOW, uuid7(1))}", 0),
        (f"cursor={names[1]}", 1),
    ):
        assert len((await api.call("GET", f"/workflows/runs?{query}")).json) == count, query
    for query in ("status=done", "limit=0", "limit=201", "from=x", "cursor=x", "page=1"):
        assert (await api.call("GET", f"/workflows/runs?{query}")).json["code"] == "invalid_parameter", query
    assert (await api.call("GET", "/workflows/runs?workflow_id=x")).status == 404


async def test_a_search_looks_at_a_window_and_leads_on(api: ApiClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many runs others have, a page costs the same: it may be short or empty, and its Link goes on below."""
    monkeypatch.setattr(runs_scan, "WINDOW", 4)
    mine, theirs = await api.create(), None
    names = await _runs(api, mine["id"], 2)
    other = {"token": token("other")}
    theirs = (await api.call("POST", "/workflows", _sample(), **other)).json
    await _runs(api, theirs["id"], 9, **other)
    target, pages, seen = "/workflows/runs", 0, []
    while target:
        page = await api.call("GET", target)
        pages += 1
        seen += [run["id"] for run in page.json]
        link = page.headers.get("Link", "")
        target = link.partition("<")[2].partition(">")[0].removeprefix(PUBLIC_URL)
    assert seen == names[::-1]
    assert pages == 2


def _sample() -> dict[str, Any]:
    node = {"id": "n1", "type": "x", "position": {"x": 0, "y": 0}, "data": {"componentId": "manual_trigger"}}
    return {"name": "Theirs", "nodes": [node], "edges": []}


async def test_a_search_reads_the_index_alone(api: ApiClient) -> None:
    """The newest ids are walked downward: nothing is sorted or scanned whole, with a workflow and without."""
    made = await api.create()
    await _execute(
        api,
        "INSERT INTO runs (id, workspace_id, workflow_id, version, priority, trigger_type, trigger_payload, open_steps,"
        " status, outcome, completed_at) SELECT (lpad(to_hex((extract(epoch FROM now()) * 1000)::bigint - n), 12, '0')"
        " || '7000' || '8000000000000000')::uuid, w.workspace_id, w.id, 1, 1, 'manual', '{}', 0, 'completed',"
        " 'completed', now() FROM workflows w, generate_series(1, 20000) AS n",
    )
    await _execute(api, "ANALYZE runs")
    async with api.api.services.pool.acquire() as connection:
        row = await connection.fetchrow("SELECT workspace_id, id FROM workflows")
        for name, workflow_id in (("scan", None), ("scan_workflow", row["id"])):
            which = runs_scan.Which(row["workspace_id"], workflow_id=workflow_id)
            query = f"EXPLAIN {runs_scan._SQL[name]}"
            plan = "\n".join(r[0] for r in await connection.fetch(query, *which, 1000, 51))
            assert "Scan Backward" in plan
            assert "Seq Scan on runs" not in plan
    assert len((await api.call("GET", f"/workflows/runs?workflow_id={made['id']}")).json) == 50


async def test_a_bulk_action_is_kept_and_reports_progress(api: ApiClient) -> None:
    """202 with the action; it can be read, by its own workspace alone, and is audited; a repeat makes no second one."""
    made = await api.create()
    body = {"action": "cancel", "filter": {"workflow_id": made["id"], "status": "pending", "to": "2200-01-01"}}
    headers = {"Idempotency-Key": "k"}
    answer, again = [await api.call("POST", _BULK, body, headers=headers) for _ in range(2)]
    assert (answer.status, answer.body) == (202, again.body)
    told = answer.json
    assert told["id"].startswith("fl_bulk_")
    assert (told["action"], told["filter"], told["status"]) == ("cancel", body["filter"], "running")
    assert (told["matched"], told["done"], told["failed"], told["completed_at"]) == (0, 0, 0, None)
    path = f"{_BULK}/{told['id']}"
    assert answer.headers["Location"] == f"{PUBLIC_URL}{path}"
    assert (await api.call("GET", path)).json == told
    assert (await api.call("GET", path, token=token("other"))).status == 404
    assert (await api.call("GET", f"{_BULK}/fl_run_x")).status == 404
    async with api.api.services.pool.acquire() as connection:
        rows = await connection.fetch("SELECT actor, target FROM audit WHERE action = 'bulk.create'")
        assert [tuple(row) for row in rows] == [("user-1", told["id"])]
        await connection.execute("UPDATE bulk_actions SET completed_at = now(), matched = 2, done = 1, failed = 1")
    over = (await api.call("GET", path)).json
    assert (over["status"], over["matched"], over["done"], over["failed"]) == ("completed", 2, 1, 1)


@pytest.mark.parametrize(
    ("body", "paths"),
    [
        ({}, ["action", "filter"]),
        ({"action": "stop", "filter": {"status": "failed"}}, ["action"]),
        ({"action": "cancel", "filter": {}}, ["filter"]),
        ({"action": "cancel", "filter": {"status": None}}, ["filter"]),
        ({"action": "cancel", "filter": []}, ["filter"]),
        ({"action": "cancel", "filter": {"status": "failed"}}, ["filter.status"]),
        ({"action": "rerun", "filter": {"status": "pending"}}, ["filter.status"]),
        ({"action": "rerun", "filter": {"from": "then", "to": "x"}}, ["filter.from", "filter.to"]),
        ({"action": "rerun", "filter": {"workflow": "x"}, "x": 1}, ["x", "filter.workflow"]),
        ({"action": "rerun", "filter": {"workflow_id": "fl_x"}}, ["filter.workflow_id"]),
        ({"action": "rerun", "filter": {"workflow_id": encode(Prefix.WORKFLOW, uuid7(1))}}, ["filter.workflow_id"]),
    ],
)
async def test_what_is_wrong_with_a_bulk_action_is_told(api: ApiClient, body: Any, paths: list[str]) -> None:
    """422 with every fault and its path, and nothing is kept."""
    answer = await api.call("POST", _BULK, body)
    assert answer.status == 422, answer.body
    assert [fault["path"] for fault in answer.json["errors"]] == paths
    async with api.api.services.pool.acquire() as connection:
        assert await connection.fetchval("SELECT count(*) FROM bulk_actions") == 0


async def test_a_bulk_action_needs_the_scope(api: ApiClient) -> None:
    """Executing is a scope of its own."""
    body = {"action": "cancel", "filter": {"status": "pending"}}
    assert (await api.call("POST", _BULK, body, token=token(scope="workflows:read"))).status == 403
