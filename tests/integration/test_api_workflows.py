"""Workflows over HTTP, against a real database."""

import re
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from api.app import ROUTES
from shared.ids import Prefix, encode
from shared.store import workflows
from tests.api_client import PUBLIC_URL, ApiClient, node, token, workflow
from tests.halting import Halt, meet

_STAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")
_FIELDS = {
    "id",
    "name",
    "description",
    "nodes",
    "edges",
    "authorization_id",
    "schedule_type",
    "schedule_value",
    "next_run_at",
    "is_active",
    "webhook_url",
    "created_at",
    "updated_at",
    "version",
    "timezone",
    "settings",
}
#: The example of the original's page on creating a workflow.
_DOCUMENTED: dict[str, Any] = {
    "name": "New Customer Onboarding",
    "description": "Sends a welcome email when a new site is created.",
    "is_active": True,
    "schedule_type": "manual",
    "nodes": [
        {
            "id": "n1",
            "type": "manual_trigger",
            "position": {"x": 100, "y": 100},
            "data": {"componentId": "manual_trigger", "description": "Manually trigger this onboarding flow."},
        },
        {
            "id": "n2",
            "type": "webhook",
            "position": {"x": 400, "y": 100},
            "data": {
                "componentId": "webhook",
                "method": "POST",
                "url": "https://example.com/api/welcome",
                "body": '{"message": "Welcome!", "run_id": "{{ n1.run_id }}"}',
            },
        },
    ],
    "edges": [{"id": "e1-2", "source": "n1", "target": "n2"}],
}


async def test_documented_request_is_created_and_read_back(api: ApiClient) -> None:
    """The documented request gives 201 with exactly the contract's fields, and GET gives the same."""
    created = await api.call("POST", "/workflows", _DOCUMENTED)
    assert created.status == 201
    body = created.json
    assert set(body) == _FIELDS
    assert re.fullmatch(r"fl_[0-7][0-9a-z]{25}", body["id"])
    assert _STAMP.fullmatch(body["created_at"])
    assert _STAMP.fullmatch(body["updated_at"])
    assert {name: body[name] for name in _DOCUMENTED} == _DOCUMENTED
    assert (body["version"], body["timezone"], body["settings"], body["webhook_url"]) == (1, "UTC", {}, None)
    read = await api.call("GET", f"/workflows/{body['id']}")
    assert (read.status, read.json) == (200, body)
    assert read.headers["ETag"] == created.headers["ETag"]


async def test_unknown_authorization_is_a_fault(api: ApiClient) -> None:
    """An authorization that the workspace lacks is 422 on its field; one that it has is shown."""
    refused = await api.call("POST", "/workflows", {**_DOCUMENTED, "authorization_id": "auth_01H..."})
    assert refused.status == 422
    assert [(e["path"], e["code"]) for e in refused.json["errors"]] == [("authorization_id", "unknown_authorization")]
    made = await _authorization(api)
    created = await api.create(authorization_id=made)
    assert created["authorization_id"] == made
    foreign = await api.call("POST", "/workflows", workflow(authorization_id=made), token=token("other"))
    assert foreign.status == 422


async def _authorization(api: ApiClient) -> str:
    async with api.api.services.pool.acquire() as connection:
        await api.call("GET", "/workflows")
        await connection.execute(
            "INSERT INTO authorizations (id, workspace_id, kind)"
            " SELECT '01890000-0000-7000-8000-000000000001', id, 'bearer' FROM workspaces"
        )
    return encode(Prefix.AUTHORIZATION, UUID("01890000-0000-7000-8000-000000000001"))


async def test_every_fault_is_told(api: ApiClient) -> None:
    """A request with many faults gets all of them, with paths, in one answer."""
    body = workflow(
        name="",
        description=5,
        is_active="yes",
        scheduletype="cron",
        schedule_type="hourly",
        settings={"priority": "urgent", "run_timeout": 0},
        nodes=[node("n1", "manual_trigger"), node("n2", "text_transfrom")],
    )
    answer = await api.call("POST", "/workflows", body)
    assert answer.status == 422
    assert answer.json["type"] == "invalid_request_error"
    paths = {error["path"] for error in answer.json["errors"]}
    expected = {"name", "description", "is_active", "scheduletype", "schedule_type", "settings.priority"}
    assert paths >= expected | {"settings.run_timeout", "nodes[1].data.componentId"}
    near = {e["path"]: e["message"] for e in answer.json["errors"]}
    assert 'did you mean "schedule_type"' in near["scheduletype"]
    assert answer.json["doc_url"] == f"{PUBLIC_URL}/errors/validation_failed"


async def test_missing_parameters_are_named(api: ApiClient) -> None:
    """An empty object lacks name, nodes and edges, and says so."""
    answer = await api.call("POST", "/workflows", {})
    assert [(e["path"], e["code"]) for e in answer.json["errors"]] == [
        ("name", "parameter_missing"),
        ("nodes", "parameter_missing"),
        ("edges", "parameter_missing"),
    ]


async def test_validate_tells_without_storing(api: ApiClient) -> None:
    """validate answers 200 with the faults as sentences and with paths, and nothing is stored."""
    good = await api.call("POST", "/workflows/validate", workflow())
    assert (good.status, good.json) == (200, {"valid": True, "errors": [], "details": []})
    bad = await api.call("POST", "/workflows/validate", workflow(edges=[]))
    assert bad.status == 200
    assert bad.json["valid"] is False
    assert len(bad.json["errors"]) == len(bad.json["details"]) >= 1
    assert (await api.call("GET", "/workflows")).json == []


async def test_put_changes_only_what_is_sent(api: ApiClient) -> None:
    """A new name keeps the version; a new graph makes the next one; drawing fields come back untouched."""
    made = await api.create()
    renamed = (await api.call("PUT", f"/workflows/{made['id']}", {"name": "Other"})).json
    assert (renamed["name"], renamed["version"], renamed["nodes"]) == ("Other", 1, made["nodes"])
    drawn = [{**made["nodes"][0], "width": 12, "selected": True}, made["nodes"][1]]
    redrawn = (await api.call("PUT", f"/workflows/{made['id']}", {"nodes": drawn})).json
    assert (redrawn["version"], redrawn["nodes"], redrawn["name"]) == (2, drawn, "Other")
    tuned = (await api.call("PUT", f"/workflows/{made['id']}", {"settings": {"priority": "high"}})).json
    assert (tuned["version"], tuned["settings"]) == (3, {"priority": "high"})


async def test_get_change_put_works(api: ApiClient) -> None:
    """The object that GET gave, with one change, is a legal PUT: read-only fields are ignored."""
    made = await api.create(trigger="webhook_trigger")
    answer = await api.call("PUT", f"/workflows/{made['id']}", {**made, "description": "new", "version": 99})
    assert answer.status == 200
    assert (answer.json["description"], answer.json["version"]) == ("new", 1)
    assert answer.json["webhook_url"] == made["webhook_url"]


async def test_if_match_refuses_a_lost_update(api: ApiClient) -> None:
    """The second of two changes made on the same reading gets 412; with the newest ETag it is made."""
    made = await api.create()
    path = f"/workflows/{made['id']}"
    tag = (await api.call("GET", path)).headers["ETag"]
    assert (await api.call("PUT", path, {"name": "A"}, headers={"If-Match": tag})).status == 200
    late = await api.call("PUT", path, {"name": "B"}, headers={"If-Match": tag})
    assert (late.status, late.json["code"]) == (412, "precondition_failed")
    assert (await api.call("DELETE", path, headers={"If-Match": tag})).status == 412
    fresh = (await api.call("GET", path)).headers["ETag"]
    assert (await api.call("PUT", path, {"name": "B"}, headers={"If-Match": f'"x", {fresh}'})).json["name"] == "B"


@pytest.mark.parametrize("careful", [True, False])
async def test_two_changes_at_once_are_made_one_after_the_other(
    api: ApiClient, database: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch, *, careful: bool
) -> None:
    """The second waits for the first, and is made to what that has stored, or refused if it was to something else."""
    path = f"/workflows/{(await api.create())['id']}"
    headers = {"If-Match": (await api.call("GET", path)).headers["ETag"]} if careful else {}
    first = api.call("PUT", path, {"name": "First"})
    second = api.call("PUT", path, {"description": "second"}, headers=headers)
    answers = await meet(first, Halt(monkeypatch, workflows, "update"), second, database)
    assert [answer.status for answer in answers] == [200, 412 if careful else 200]
    read = (await api.call("GET", path)).json
    assert (read["name"], read["description"]) == ("First", None if careful else "second")


async def test_webhook_url_is_minted_once_and_kept(api: ApiClient) -> None:
    """A workflow gets its URL with its first webhook trigger, hides it without one, and has the same one again."""
    made = await api.create()
    path = f"/workflows/{made['id']}"
    assert made["webhook_url"] is None
    nodes = [node("n1", "webhook_trigger"), made["nodes"][1]]
    url = (await api.call("PUT", path, {"nodes": nodes})).json["webhook_url"]
    assert re.fullmatch(re.escape(PUBLIC_URL) + r"/workflows/webhooks/whsec_[\w-]{43}", url)
    assert (await api.call("PUT", path, {"nodes": made["nodes"]})).json["webhook_url"] is None
    assert (await api.call("PUT", path, {"nodes": nodes})).json["webhook_url"] == url
    async with api.api.services.pool.acquire() as connection:
        stored = await connection.fetchval("SELECT webhook_token FROM workflows")
    assert url.rpartition("/")[2].encode() not in stored


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"schedule_type": "interval"}, "schedule_value"),
        ({"schedule_type": "cron", "schedule_value": "61 * * * *"}, "schedule_value"),
        ({"schedule_type": "daily", "timezone": "Mars/Olympus"}, "timezone"),
    ],
)
async def test_faulty_schedules_are_refused(api: ApiClient, fields: dict[str, Any], path: str) -> None:
    """A schedule that cannot be read is 422 on the field that is wrong."""
    answer = await api.call("POST", "/workflows", workflow(**fields))
    assert answer.status == 422
    assert path in [error["path"] for error in answer.json["errors"]]


async def test_schedule_sets_the_next_run(api: ApiClient) -> None:
    """An active schedule has a next slot; manual or inactive has none, and the value beside manual is kept."""
    made = await api.create(schedule_type="interval", schedule_value="5 minutes")
    path = f"/workflows/{made['id']}"
    assert _STAMP.fullmatch(made["next_run_at"])
    renamed = (await api.call("PUT", path, {"name": "x"})).json
    assert renamed["next_run_at"] == made["next_run_at"]
    assert (await api.call("PUT", path, {"is_active": False})).json["next_run_at"] is None
    assert (await api.call("PUT", path, {"is_active": True})).json["next_run_at"] is not None
    manual = (await api.call("PUT", path, {"schedule_type": "manual"})).json
    assert (manual["schedule_value"], manual["next_run_at"]) == ("5 minutes", None)


def _scheduled(**data: Any) -> list[dict[str, Any]]:
    return [node("n1", "scheduled_trigger", **data), node("n2", "text_transform", template="x")]


async def test_schedule_of_the_trigger_is_shown(api: ApiClient) -> None:
    """A schedule in the trigger's data is the workflow's; the same twice is fine; two different ones are 422."""
    nodes = _scheduled(schedule_type="interval", schedule_value="1 hour")
    made = await api.create(nodes=nodes)
    assert (made["schedule_type"], made["schedule_value"]) == ("interval", "1 hour")
    assert made["next_run_at"] is not None
    same = {"schedule_type": "interval", "schedule_value": "1 hour"}
    assert (await api.call("POST", "/workflows", workflow(nodes=nodes, **same))).status == 201
    other = {"schedule_type": "interval", "schedule_value": "2 hours"}
    refused = await api.call("POST", "/workflows", workflow(nodes=nodes, **other))
    assert [e["code"] for e in refused.json["errors"]] == ["schedule_conflict"]
    moved = await api.call(
        "PUT", f"/workflows/{made['id']}", {"nodes": _scheduled(schedule_type="interval", schedule_value="3 hours")}
    )
    assert moved.json["schedule_value"] == "3 hours"
    freed = await api.call("PUT", f"/workflows/{made['id']}", {"nodes": _scheduled()})
    assert (freed.json["schedule_type"], freed.json["next_run_at"]) == ("manual", None)


async def test_list_leaves_graphs_out_and_filters(api: ApiClient) -> None:
    """The list is a bare array, newest first, without graphs; filters narrow it; unknown ones are refused."""
    first = await api.create(name="Alpha report")
    second = await api.create(name="Beta", is_active=False, schedule_type="daily")
    listed = (await api.call("GET", "/workflows")).json
    assert [w["id"] for w in listed] == [second["id"], first["id"]]
    assert set(listed[0]) == _FIELDS - {"nodes", "edges"}
    for query, expected in (
        ("is_active=true", [first["id"]]),
        ("schedule_type=daily", [second["id"]]),
        ("q=REPORT", [first["id"]]),
        ("q=%25", []),
    ):
        assert [w["id"] for w in (await api.call("GET", f"/workflows?{query}")).json] == expected
    for query in ("is_actve=true", "limit=0", "limit=201", "limit=x", "cursor=fl_x", "is_active=true&is_active=false"):
        refused = await api.call("GET", f"/workflows?{query}")
        assert (refused.status, refused.json["code"]) == (400, "invalid_parameter"), query


async def test_list_pages_by_cursor(api: ApiClient) -> None:
    """Following rel=next sees everything once and ends."""
    made = [(await api.create(name=f"w{index}"))["id"] for index in range(5)]
    seen: list[str] = []
    path = "/workflows?limit=2"
    while path:
        answer = await api.call("GET", path)
        seen += [w["id"] for w in answer.json]
        link = answer.headers.get("Link", "")
        match = re.fullmatch(rf'<{re.escape(PUBLIC_URL)}(.+)>; rel="next"', link)
        path = match[1] if match else ""
    assert seen == made[::-1]


async def test_delete_is_gone_at_once(api: ApiClient) -> None:
    """DELETE gives 204; afterwards the workflow, its runs and its webhook are 404."""
    made = await api.create(trigger="webhook_trigger")
    path = f"/workflows/{made['id']}"
    run = (await api.call("POST", f"{path}/execute")).json
    gone = await api.call("DELETE", path)
    assert (gone.status, gone.body) == (204, b"")
    for method, url in (
        ("GET", path),
        ("PUT", path),
        ("DELETE", path),
        ("POST", f"{path}/execute"),
        ("GET", f"{path}/executions"),
        ("GET", f"/workflows/runs/{run['id']}"),
        ("POST", made["webhook_url"].removeprefix(PUBLIC_URL)),
    ):
        answer = await api.call(method, url, {} if method in ("PUT", "POST") else None)
        assert answer.status == 404, url
    assert (await api.call("GET", "/workflows")).json == []
    async with api.api.services.pool.acquire() as connection:
        assert await connection.fetchval("SELECT status FROM runs") == "cancelled"
        assert await connection.fetchval("SELECT count(*) FROM open_steps") == 0


async def test_other_workspaces_see_nothing(api: ApiClient) -> None:
    """Everything of one workspace is 404 for a token of another."""
    made = await api.create()
    run = (await api.call("POST", f"/workflows/{made['id']}/execute")).json
    stranger = token("other")
    for method, path in (
        ("GET", f"/workflows/{made['id']}"),
        ("PUT", f"/workflows/{made['id']}"),
        ("DELETE", f"/workflows/{made['id']}"),
        ("POST", f"/workflows/{made['id']}/execute"),
        ("GET", f"/workflows/{made['id']}/executions"),
        ("GET", f"/workflows/runs/{run['id']}"),
    ):
        answer = await api.call(method, path, {} if method == "PUT" else None, token=stranger)
        assert (answer.status, answer.json["type"]) == (404, "not_found_error"), path
    assert (await api.call("GET", "/workflows", token=stranger)).json == []


async def test_each_write_leaves_an_audit_row(api: ApiClient) -> None:
    """Create, update and delete are noted with actor, target, digests and request id; a refused write is not."""
    made = await api.create()
    path = f"/workflows/{made['id']}"
    await api.call("PUT", path, {"name": "x"}, headers={"X-Request-Id": "mine-1"})
    await api.call("PUT", path, {"name": ""})
    await api.call("DELETE", path)
    rows = await _audit(api)
    assert [row["action"] for row in rows] == ["workflow.create", "workflow.update", "workflow.delete"]
    assert {(row["actor"], row["target"]) for row in rows} == {("user-1", made["id"])}
    assert rows[1]["request_id"] == "mine-1"
    assert rows[0]["after_digest"] == rows[1]["before_digest"] != rows[1]["after_digest"] == rows[2]["before_digest"]
    assert rows[0]["before_digest"] is rows[2]["after_digest"] is None


async def _audit(api: ApiClient) -> list[asyncpg.Record]:
    async with api.api.services.pool.acquire() as connection:
        rows: list[asyncpg.Record] = await connection.fetch("SELECT * FROM audit ORDER BY id")
        return rows


async def test_openapi_names_the_fields_of_a_request(api: ApiClient) -> None:
    """The OpenAPI document has every field of the documented request."""
    document = (await api.call("GET", "/openapi.json")).json
    assert set(_DOCUMENTED) <= set(document["components"]["schemas"]["NewWorkflow"]["properties"])


async def test_every_route_that_is_served_is_documented(api: ApiClient) -> None:
    """The OpenAPI document and the page for people have the routes of the application, and no other."""
    document = (await api.call("GET", "/openapi.json")).json
    described = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}
    assert described == {(route.method, route.path) for route in ROUTES}
    page = (await api.call("GET", "/docs")).body.decode()
    assert all(f"<h2><code>{route.method} {route.path}</code></h2>" in page for route in ROUTES)


async def test_a_question_ends_a_sentence(api: ApiClient) -> None:
    """A suggestion is not followed by a full stop, in a schedule's fault or a template's."""
    body = workflow(schedule_type="interval", schedule_value="5 minuts")
    body["nodes"][1]["data"]["template"] = "{{ n1.run_id | upcas }}"
    faults = (await api.call("POST", "/workflows", body)).json["errors"]
    asking = [fault["message"] for fault in faults if "did you mean" in fault["message"]]
    assert len(asking) == 2
    assert all(message.endswith("?") for message in asking)
