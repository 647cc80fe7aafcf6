"""Workflows that name one another, over HTTP: what may be called, circles, callers and error workflows."""

import asyncio
from itertools import pairwise
from typing import Any

from shared.ids import Prefix, decode
from tests.api_client import ApiClient, node, token, workflow

_UNKNOWN = "fl_01h455vb4pex5vsknk084sn02q"


def caller(*callees: str, trigger: str = "workflow_trigger", **changes: Any) -> dict[str, Any]:
    """A workflow that calls others, one after the other."""
    nodes = [node("n1", trigger)]
    nodes += [node(f"c{place}", "trigger_workflow", workflow_id=callee) for place, callee in enumerate(callees)]
    edges = [
        {"id": f"e{place}", "source": one["id"], "target": two["id"]}
        for place, (one, two) in enumerate(pairwise(nodes))
    ]
    return workflow(**{"nodes": nodes, "edges": edges, **changes})


async def create(api: ApiClient, *callees: str, **changes: Any) -> str:
    """Create a workflow that calls others; gives its id."""
    answer = await api.call("POST", "/workflows", caller(*callees, **changes))
    assert answer.status == 201, answer.body
    created: str = answer.json["id"]
    return created


async def save(api: ApiClient, workflow_id: str, *callees: str) -> Any:
    """Let a workflow call these and no others."""
    body = caller(*callees)
    return await api.call("PUT", f"/workflows/{workflow_id}", {name: body[name] for name in ("nodes", "edges")})


def faults(answer: Any) -> list[tuple[str, str]]:
    """Paths and codes of an answer's faults."""
    assert answer.status == 422, answer.body
    return [(fault["path"], fault["code"]) for fault in answer.json["errors"]]


async def test_callable_workflows_are_listed(api: ApiClient) -> None:
    """Those that begin with a workflow_trigger and are active, of this workspace, newest first, without graphs."""
    first, second = await create(api, name="A"), await create(api, name="B")
    await create(api, trigger="manual_trigger")
    await create(api, is_active=False)
    await api.call("POST", "/workflows", caller(), token=token("other"))
    answer = await api.call("GET", "/workflows/callable")
    assert [shown["id"] for shown in answer.json] == [second, first]
    assert "nodes" not in answer.json[0]


async def test_only_a_workflow_that_is_there_and_callable_may_be_called(api: ApiClient) -> None:
    """An unknown id, another workspace's and one that begins otherwise are faults that name what can be called."""
    manual = await create(api, trigger="manual_trigger")
    foreign = (await api.call("POST", "/workflows", caller(), token=token("other"))).json["id"]
    answer = await api.call("POST", "/workflows", caller(_UNKNOWN, manual, foreign))
    assert faults(answer) == [
        ("nodes[1].data.workflow_id", "unknown_workflow"),
        ("nodes[2].data.workflow_id", "workflow_not_callable"),
        ("nodes[3].data.workflow_id", "unknown_workflow"),
    ]
    assert "No workflow of this workspace can be called." in answer.json["errors"][0]["message"]
    target = await create(api, name="Invoices")
    answer = await api.call("POST", "/workflows", caller(manual))
    assert f'"Invoices" ({target})' in answer.json["errors"][0]["message"]


async def test_an_id_must_be_one_and_known_when_saved(api: ApiClient) -> None:
    """A text that is no id of a workflow is refused, and so is a template."""
    assert faults(await api.call("POST", "/workflows", caller("fl_x"))) == [
        ("nodes[1].data.workflow_id", "invalid_value")
    ]
    assert faults(await api.call("POST", "/workflows", caller("{{ n1.payload.id }}"))) != []


async def test_validate_checks_calls_too(api: ApiClient) -> None:
    """What creating would refuse, validate tells; a legal call is valid."""
    told = (await api.call("POST", "/workflows/validate", caller(_UNKNOWN))).json
    assert [fault["code"] for fault in told["details"]] == ["unknown_workflow"]
    told = (await api.call("POST", "/workflows/validate", caller(await create(api)))).json
    assert told == {"valid": True, "errors": [], "details": []}


async def test_a_workflow_may_not_call_itself(api: ApiClient) -> None:
    """A call of its own id is a circle of one."""
    own = await create(api, name="Own")
    answer = await save(api, own, own)
    assert faults(answer) == [("nodes[1].data.workflow_id", "workflow_cycle")]
    assert '"Own" -> "Own"' in answer.json["errors"][0]["message"]


async def test_a_circle_is_refused_and_named(api: ApiClient) -> None:
    """The save that would close it is 422 and names the way; the graph stays as it was, and other calls are fine."""
    last = await create(api, name="C")
    middle = await create(api, last, name="B")
    first = await create(api, middle, last, name="A")
    answer = await save(api, last, first)
    assert faults(answer) == [("nodes[1].data.workflow_id", "workflow_cycle")]
    assert '"C" -> "A" -> "C"' in answer.json["errors"][0]["message"]
    assert (await save(api, middle)).status == 200
    assert (await save(api, first, middle)).status == 200
    assert (await save(api, last, first)).status == 200


async def test_two_saves_at_once_close_no_circle(api: ApiClient) -> None:
    """Of two workflows that begin to call each other at the same moment one is refused, each of ten times."""
    for _ in range(10):
        one, two = await create(api), await create(api)
        answers = await asyncio.gather(save(api, one, two), save(api, two, one))
        assert sorted(answer.status for answer in answers) == [200, 422]


async def test_a_called_workflow_cannot_be_deleted(api: ApiClient) -> None:
    """409 names the callers; without the call, or once the caller is deleted, it is gone."""
    target = await create(api)
    first, second = await create(api, target, name="First"), await create(api, target, name="Second")
    refused = await api.call("DELETE", f"/workflows/{target}")
    assert (refused.status, refused.json["code"], refused.json["type"]) == (409, "workflow_called", "conflict_error")
    assert f'"First" ({first}), "Second" ({second})' in refused.json["message"]
    assert (await save(api, first)).status == 200
    assert (await api.call("DELETE", f"/workflows/{second}")).status == 204
    assert (await api.call("DELETE", f"/workflows/{target}")).status == 204


async def test_a_delete_and_a_new_call_exclude_each_other(api: ApiClient) -> None:
    """Of a delete and a save that begins to call the same workflow one is refused, each of ten times."""
    for _ in range(10):
        target, other = await create(api), await create(api)
        deleted, saved = await asyncio.gather(api.call("DELETE", f"/workflows/{target}"), save(api, other, target))
        assert (deleted.status, saved.status) in {(204, 422), (409, 200)}


async def test_a_name_can_change_when_a_callee_is_gone(api: ApiClient) -> None:
    """Calls are checked when the graph is sent, so an inactive callee keeps nobody from other changes."""
    target = await create(api)
    first = await create(api, target)
    await api.call("PUT", f"/workflows/{target}", {"is_active": False})
    assert (await api.call("PUT", f"/workflows/{first}", {"name": "New"})).status == 200
    assert (await api.call("DELETE", f"/workflows/{target}")).status == 409


async def error_workflow_of(api: ApiClient, workflow_id: str) -> Any:
    """What the engine reads live."""
    async with api.api.services.pool.acquire() as connection:
        return await connection.fetchval(
            "SELECT error_workflow_id FROM workflows WHERE id = $1", decode(Prefix.WORKFLOW, workflow_id)
        )


async def test_settings_name_an_error_workflow(api: ApiClient) -> None:
    """It must be of this workspace and begin with an error_trigger; what is stored follows the settings."""
    handler = await create(api, trigger="error_trigger")
    other = await create(api)
    path = "settings.error_workflow_id"
    for named, code in ((_UNKNOWN, "unknown_workflow"), ("x", "unknown_workflow"), (other, "no_error_trigger")):
        answer = await api.call("POST", "/workflows", workflow(settings={"error_workflow_id": named}))
        assert faults(answer) == [(path, code)]
    own = await api.call("PUT", f"/workflows/{handler}", {"settings": {"error_workflow_id": handler}})
    assert faults(own) == [(path, "workflow_cycle")]
    created = await api.create(settings={"error_workflow_id": handler})
    assert created["settings"] == {"error_workflow_id": handler}
    assert await error_workflow_of(api, created["id"]) == decode(Prefix.WORKFLOW, handler)
    await api.call("PUT", f"/workflows/{created['id']}", {"name": "Other"})
    assert await error_workflow_of(api, created["id"]) == decode(Prefix.WORKFLOW, handler)
    await api.call("PUT", f"/workflows/{created['id']}", {"settings": {"error_workflow_id": None}})
    assert await error_workflow_of(api, created["id"]) is None
