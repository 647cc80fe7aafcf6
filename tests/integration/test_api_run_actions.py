"""Cancelling runs and running them again over HTTP, with a worker that carries them."""

from collections.abc import AsyncIterator

import pytest

from tests.api_client import ApiClient, node, token
from tests.desk import Desk
from tests.engine import eventually


@pytest.fixture
async def desk(api: ApiClient, database_url: str) -> AsyncIterator[Desk]:
    """An api and a worker whose effects are gated."""
    async with Desk.open(api, database_url) as desk:
        yield desk


async def test_cancel_aborts_what_is_in_flight(desk: Desk) -> None:
    """202 with the run; the effect under way is aborted within a heartbeat, nothing follows, and it ends cancelled."""
    desk.gates.shut("a")
    run = await desk.execute(await desk.flow("t>a a>b"))
    await eventually(lambda: _taken(desk, "a"))
    async with desk.database.transaction():
        await desk.database.execute("SELECT FROM incarnations FOR UPDATE")  # so that no heartbeat comes between
        answer = await desk.api.call("POST", f"/workflows/runs/{run}/cancel")
        assert (answer.status, answer.json["id"], answer.json["status"]) == (202, run, "running")
        again = await desk.api.call("POST", f"/workflows/runs/{run}/cancel", {})
        assert again.status == 202
    ended = await desk.ends(run, "cancelled")
    assert ended["completed_at"] is not None
    assert (desk.gates.cancelled["a"], desk.gates.calls["b"]) == (1, 0)
    assert await desk.steps(run) == {"t": "success", "a": "cancelled"}
    rows = await desk.database.fetch("SELECT actor, action, target FROM audit WHERE action = 'run.cancel'")
    assert {tuple(row) for row in rows} == {("user-1", "run.cancel", run)}


async def _taken(desk: Desk, name: str) -> bool:
    await desk.engine.follow()
    return desk.gates.calls[name] > 0


async def test_cancel_refuses_what_has_ended(desk: Desk) -> None:
    """409 for a run that is over; 404 for another workspace's or an unknown one; 403 without the scope."""
    run = await desk.execute(await desk.flow("t>fa"))
    await desk.ends(run, "completed")
    path = f"/workflows/runs/{run}/cancel"
    refused = await desk.api.call("POST", path)
    assert (refused.status, refused.json["code"]) == (409, "run_ended")
    assert (await desk.api.call("POST", path, token=token("other"))).status == 404
    assert (await desk.api.call("POST", "/workflows/runs/fl_run_x/cancel")).status == 404
    assert (await desk.api.call("POST", path, token=token(scope="workflows:read"))).status == 403
    assert (await desk.api.call("POST", path, {"why": 1})).json["errors"][0]["code"] == "unknown_field"


async def test_rerun_has_the_payload_and_the_current_version(desk: Desk) -> None:
    """202 with a pending run of the newest version, made of the same payload, which says what it repeats."""
    made = await desk.api.create()
    first = await desk.execute(made["id"], {"k": "\u0000", "n": [1]})
    await desk.ends(first, "completed")
    nodes = [*made["nodes"], node("n3", "text_transform", template="x")]
    edges = [*made["edges"], {"id": "e2", "source": "n2", "target": "n3"}]
    assert (await desk.api.call("PUT", f"/workflows/{made['id']}", {"nodes": nodes, "edges": edges})).status == 200
    answer = await desk.api.call("POST", f"/workflows/runs/{first}/rerun")
    assert (answer.status, answer.json["message"]) == (202, "Workflow re-run initiated successfully.")
    new = answer.json["new_run"]
    assert (new["status"], new["version"], new["rerun_of"], new["logs"]) == ("pending", 2, first, [])
    assert new["trigger_payload"] == {"k": "\u0000", "n": [1]}
    assert new["id"] in answer.headers["Location"]
    await desk.ends(new["id"], "completed")
    assert set(await desk.steps(new["id"])) == {"n1", "n2", "n3"}
    started = await desk.database.fetch("SELECT started_by FROM runs")
    assert [row["started_by"] for row in started] == ["user-1", "user-1"]
    audited = await desk.database.fetchval("SELECT target FROM audit WHERE action = 'run.rerun'")
    assert audited == new["id"]


async def test_rerun_of_the_original_version(desk: Desk) -> None:
    """``?version=original`` runs the graph the run had, also if its trigger has another name by now."""
    made = await desk.api.create()
    first = await desk.execute(made["id"])
    await desk.ends(first, "completed")
    renamed = {
        "nodes": [node("begin", "webhook_trigger"), node("n9", "text_transform", template="x")],
        "edges": [{"id": "e1", "source": "begin", "target": "n9"}],
    }
    assert (await desk.api.call("PUT", f"/workflows/{made['id']}", renamed)).status == 200
    new = (await desk.api.call("POST", f"/workflows/runs/{first}/rerun?version=original")).json["new_run"]
    assert new["version"] == 1
    await desk.ends(new["id"], "completed")
    assert set(await desk.steps(new["id"])) == {"n1", "n2"}
    wrong = await desk.api.call("POST", f"/workflows/runs/{first}/rerun?version=2")
    assert (wrong.status, wrong.json["code"]) == (400, "invalid_parameter")


async def test_rerun_keeps_the_kind_of_trigger(desk: Desk) -> None:
    """A run that a webhook started gives its graph the same body once more."""
    made = await desk.api.create(
        nodes=[node("n1", "webhook_trigger"), node("n2", "text_transform", template="{{ n1.body.x }}")]
    )
    path = made["webhook_url"].partition("/workflows/")[2]
    first = (await desk.api.call("POST", f"/workflows/{path}", {"x": "same"})).json["run_id"]
    await desk.ends(first, "completed")
    new = (await desk.api.call("POST", f"/workflows/runs/{first}/rerun")).json["new_run"]
    ended = await desk.ends(new["id"], "completed")
    assert ended["trigger_type"] == "webhook"
    assert ended["logs"][1]["output"] == (await desk.read(first))["logs"][1]["output"]


async def test_rerun_refuses(desk: Desk) -> None:
    """409 for a run that is open, and for an inactive workflow; nothing is made."""
    made = await desk.api.create()
    run = await desk.execute(made["id"])
    path = f"/workflows/runs/{run}/rerun"
    assert (await desk.api.call("POST", path)).json["code"] == "run_open"
    await desk.ends(run, "completed")
    await desk.api.call("PUT", f"/workflows/{made['id']}", {"is_active": False})
    assert (await desk.api.call("POST", path)).json["code"] == "workflow_inactive"
    assert await desk.database.fetchval("SELECT count(*) FROM runs") == 1
    assert (await desk.api.call("POST", path, token=token(scope="workflows:write"))).status == 403


async def test_a_repeated_rerun_with_a_key_makes_one_run(desk: Desk) -> None:
    """The same Idempotency-Key gives the first answer again."""
    run = await desk.execute((await desk.api.create())["id"])
    await desk.ends(run, "completed")
    headers = {"Idempotency-Key": "k"}
    first, second = [await desk.api.call("POST", f"/workflows/runs/{run}/rerun", headers=headers) for _ in range(2)]
    assert first.body == second.body
    assert second.headers["Idempotency-Replayed"] == "true"
    assert await desk.database.fetchval("SELECT count(*) FROM runs") == 2
