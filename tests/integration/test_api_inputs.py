"""What a workflow asks of the context that it is called with: when it is saved, at each call, and by hand."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.api_client import ApiClient, node
from tests.engine import eventually
from tests.synced import Synced

_ORDER = {
    "type": "object",
    "required": ["order"],
    "properties": {"order": {"type": "integer"}, "at": {"pattern": "^[a-z]+$"}},
}


@pytest.fixture
async def synced(api: ApiClient, database_url: str) -> AsyncIterator[Synced]:
    """An api with a worker beside it."""
    async with Synced.open(api, database_url) as synced:
        yield synced


async def callee(synced: Synced, schema: Any = None, **changes: Any) -> str:
    """A workflow that can be called; its id."""
    data = {} if schema is None else {"input_schema": schema}
    nodes = [node("n1", "workflow_trigger", **data), node("n2", "data_mapper", mapping={"got": "{{ n1.payload }}"})]
    return str((await synced.api.create(nodes=nodes, **changes))["id"])


async def call(synced: Synced, flow: str, context: Any, **data: Any) -> dict[str, Any]:
    """A run that calls a workflow, once it has ended."""
    calling = node("n2", "trigger_workflow", workflow_id=flow, context=context, **data)
    caller = await synced.flow(calling, trigger="manual_trigger")
    run = (await synced.api.call("POST", f"/workflows/{caller}/execute", {})).json["id"]
    read: dict[str, Any] = {}

    async def ended() -> bool:
        read.update((await synced.api.call("GET", f"/workflows/runs/{run}")).json)
        return read["completed_at"] is not None

    await eventually(ended)
    return read


async def runs(synced: Synced, flow: str) -> int:
    """How many runs a workflow has."""
    return len((await synced.api.call("GET", f"/workflows/{flow}/executions")).json["data"])


@pytest.mark.parametrize("wait", [True, False])
async def test_a_call_that_does_not_fit_starts_nothing(synced: Synced, wait: bool) -> None:
    """The step fails with every fault, whether it would wait or not; one that fits is a call like any other."""
    flow = await callee(synced, _ORDER)
    run = await call(synced, flow, {"order": "x", "at": "7"}, wait=wait)
    assert run["status"] == "failed"
    error = run["logs"][1]["error"]
    assert error["code"] == "invalid_input"
    assert [fault["path"] for fault in error["body"]["errors"]] == ["context.order", "context.at"]
    assert "context.order: 'x' is not of type 'integer'." in error["message"]
    assert await runs(synced, flow) == 0
    run = await call(synced, flow, {"order": 7}, wait=wait)
    assert run["status"] == "completed"
    await eventually(lambda: _has_one(synced, flow))


async def _has_one(synced: Synced, flow: str) -> bool:
    return await runs(synced, flow) == 1


async def test_each_attempt_is_checked(synced: Synced) -> None:
    """A failed call is tried again, and goes another way if that is asked for."""
    flow = await callee(synced, _ORDER)
    retry = {"max_attempts": 2, "backoff": "fixed", "delay": 0, "on": ["error"]}
    run = await call(synced, flow, {}, retry=retry, continue_on_error=True)
    assert run["status"] == "completed"
    assert [log["status"] for log in run["logs"][1:]] == ["warning", "warning"]


async def test_by_hand_it_counts_too(synced: Synced) -> None:
    """422 with every fault and no run; with an Idempotency-Key as well."""
    flow = await callee(synced, _ORDER)
    for headers in ({}, {"Idempotency-Key": "k"}):
        answer = await synced.api.call("POST", f"/workflows/{flow}/execute", {"context": {"at": "A"}}, headers=headers)
        assert (answer.status, answer.json["code"]) == (422, "invalid_input")
        assert [fault["path"] for fault in answer.json["errors"]] == ["context", "context.at"]
    fitting = {"context": {"order": 1}}
    assert (await synced.api.call("POST", f"/workflows/{flow}/execute", fitting)).status == 202
    assert await runs(synced, flow) == 1


async def test_the_current_version_counts(synced: Synced) -> None:
    """A schema that is changed, or taken out, is so for the next call; GET callable shows it."""
    flow, plain = await callee(synced, _ORDER), await callee(synced)

    async def shown() -> dict[str, Any]:
        listed = (await synced.api.call("GET", "/workflows/callable")).json
        return {each["id"]: each["input_schema"] for each in listed}

    assert await shown() == {flow: _ORDER, plain: None}
    for schema, status in ((False, "failed"), ({"minProperties": 1}, "failed"), (None, "completed")):
        trigger = node("n1", "workflow_trigger", **({} if schema is None else {"input_schema": schema}))
        text = node("n2", "text_transform", template="x")
        assert (await synced.api.call("PUT", f"/workflows/{flow}", {"nodes": [trigger, text]})).status == 200
        assert (await shown())[flow] == schema
        assert (await call(synced, flow, {}))["status"] == status


async def test_schemas_that_will_not_do(api: ApiClient) -> None:
    """No schema, a pattern that RE2 does not take, a reference elsewhere, a template: told when it is saved."""
    for schema in (
        {"type": "thing"},
        {"pattern": "(a+)+\\1"},
        {"$ref": "https://example.com/schema.json"},
        {"$ref": "file:///etc/passwd"},
        "{{ x }}",
        7,
    ):
        body = {"name": "x", "nodes": [node("n1", "workflow_trigger", input_schema=schema)], "edges": []}
        answer = await api.call("POST", "/workflows/validate", body)
        assert [fault["path"] for fault in answer.json["details"]] == ["nodes[0].data.input_schema"], schema
