"""Events: whom they start, with which filters, all of them or none, by request and by step."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from shared.event_names import MAX_LISTENERS, MAX_STEP_LISTENERS
from shared.ids import Prefix, decode
from shared.store.open_runs import OpenRuns, RunLimits
from tests.api_client import ApiClient, node, token
from tests.engine import eventually
from tests.synced import Synced

_TEXT = node("n2", "text_transform", template="{{ n1.event }}: {{ n1.payload | json }}")


@pytest.fixture
async def synced(api: ApiClient, database_url: str) -> AsyncIterator[Synced]:
    """An api with a worker beside it."""
    async with Synced.open(api, database_url) as synced:
        yield synced


async def listener(synced: Synced, event: str = "order.paid", rules: Any = None, **data: Any) -> str:
    """A workflow that listens to an event; its id."""
    changes = data.pop("changes", {})
    if rules is not None:
        data["filter"] = rules
    nodes = [node("n1", "event_trigger", event=event, **data), _TEXT]
    return str((await synced.api.create(nodes=nodes, **changes))["id"])


async def publish(synced: Synced, body: Any = None, event: str = "order.paid", **options: Any) -> list[str]:
    """The workflows that an event starts."""
    answer = await synced.api.call("POST", f"/workflows/events/{event}", body, **options)
    assert answer.status == 202, answer.body
    runs = [(await synced.api.call("GET", f"/workflows/runs/{run}")).json for run in answer.json["run_ids"]]
    return [run["workflow_id"] for run in runs]


async def ended(synced: Synced, run: str) -> dict[str, Any]:
    """A run once it has ended."""

    async def look() -> bool:
        return (await synced.api.call("GET", f"/workflows/runs/{run}")).json["completed_at"] is not None

    await eventually(look)
    read: dict[str, Any] = (await synced.api.call("GET", f"/workflows/runs/{run}")).json
    return read


async def test_an_event_starts_every_workflow_that_listens(synced: Synced) -> None:
    """Active ones of the workspace, by the name; the run sees name and payload, and what it was started by."""
    first, second = await listener(synced), await listener(synced)
    await listener(synced, "order.paid.late")
    await listener(synced, changes={"is_active": False})
    gone = await listener(synced)
    await synced.api.call("DELETE", f"/workflows/{gone}")
    answer = await synced.api.call("POST", "/workflows/events/order.paid", [1, {"a": None}])
    assert answer.status == 202
    runs = [await ended(synced, run) for run in answer.json["run_ids"]]
    assert [run["workflow_id"] for run in runs] == [first, second]
    assert (runs[0]["status"], runs[0]["trigger_type"]) == ("completed", "event")
    assert runs[0]["trigger_payload"] == [1, {"a": None}]
    assert runs[0]["logs"][1]["output"] == {"text": 'order.paid: [1,{"a":null}]'}
    assert await publish(synced, {}, "nobody.listens") == []
    assert await publish(synced, {}, token=token("other")) == []


async def test_filters_choose(synced: Synced) -> None:
    """By fields of the payload, in groups; what a filter cannot judge does not match, and hinders nobody."""
    rules = [
        {"field": "total", "operator": ">=", "value": 100},
        {
            "logic": "OR",
            "rules": [
                {"field": "country", "operator": "in", "value": ["DE"]},
                {"field": "vip", "operator": "is_true"},
            ],
        },
    ]
    strict = await listener(synced, rules=rules)
    group = await listener(synced, rules={"logic": "OR", "rules": rules})
    dated = await listener(synced, rules=[{"field": "at", "operator": "before", "value": "2026-01-01"}])
    every = await listener(synced, rules=[])
    assert await publish(synced, {"total": 120, "country": "DE"}) == [strict, group, every]
    assert await publish(synced, {"total": 120, "country": "FR", "vip": False}) == [group, every]
    assert await publish(synced, {"total": 1, "at": "2025-12-31"}) == [dated, every]
    for odd in (None, 7, "x", [1], {"total": "many"}, {"at": {"b": []}}):
        assert every in await publish(synced, odd)


async def test_what_is_saved_counts(synced: Synced) -> None:
    """A changed name, filter, trigger or activity is that of the next event."""
    flow = await listener(synced)

    async def save(**changes: Any) -> None:
        assert (await synced.api.call("PUT", f"/workflows/{flow}", changes)).status == 200

    await save(nodes=[node("n1", "event_trigger", event="other", filter=[{"field": "a", "value": 1}]), _TEXT])
    assert await publish(synced, {"a": 1}) == []
    assert await publish(synced, {"a": 2}, "other") == []
    assert await publish(synced, {"a": 1}, "other") == [flow]
    await save(is_active=False)
    assert await publish(synced, {"a": 1}, "other") == []
    await save(is_active=True, nodes=[node("n1", "manual_trigger"), node("n2", "text_transform", template="x")])
    assert await publish(synced, {"a": 1}, "other") == []


async def test_what_no_event_trigger_may_say(api: ApiClient) -> None:
    """Names and filters are checked when they are saved."""
    cases: list[tuple[dict[str, Any], str]] = [
        ({"event": "no spaces"}, "event"),
        ({"event": "x" * 129}, "event"),
        ({}, "event"),
        ({"event": "{{ x }}"}, "event"),
        ({"event": "e", "filter": [{"field": "a", "operator": "near"}]}, "filter"),
        ({"event": "e", "filter": {"logic": "OR", "rules": []}}, "filter.rules"),
        ({"event": "e", "filter": [{"field": "a", "operator": "regex", "value": "("}]}, "filter[0].value"),
        ({"event": "e", "logic": "XOR"}, "logic"),
    ]
    for data, path in cases:
        body = {"name": "x", "nodes": [node("n1", "event_trigger", **data)], "edges": []}
        answer = await api.call("POST", "/workflows/validate", body)
        assert f"nodes[0].data.{path}" in [fault["path"] for fault in answer.json["details"]], answer.json


async def test_refusals(synced: Synced) -> None:
    """A name that is none is 422, a body that is no JSON 400; a reader may not publish."""
    answer = await synced.api.call("POST", "/workflows/events/a%20b", {})
    assert (answer.status, answer.json["code"]) == (422, "invalid_event_name")
    for name in ("execute", "executions"):  # an id of a workflow would stand there on other routes
        assert await publish(synced, {}, name) == []
    body = {"data": b"{", "headers": {"Content-Type": "application/json"}}
    assert (await synced.api.call("POST", "/workflows/events/e", **body)).status == 400
    assert (await synced.api.call("POST", "/workflows/events/e", {}, token=token(scope="workflows:read"))).status == 403


async def test_one_key_publishes_once(synced: Synced) -> None:
    """A repeat gets the same runs again."""
    await listener(synced)
    key = {"Idempotency-Key": "k"}
    first, second = [await synced.api.call("POST", "/workflows/events/order.paid", {}, headers=key) for _ in range(2)]
    assert first.json == second.json
    assert second.headers["Idempotency-Replayed"] == "true"


async def test_all_or_none(synced: Synced, monkeypatch: pytest.MonkeyPatch) -> None:
    """Past its limits an event starts nothing; many listeners are started in several statements of one transaction."""
    flows = [await listener(synced, rules=[{"field": "a", "value": 1}]) for _ in range(20)]
    monkeypatch.setattr("api.routes.events._RUNS", 3)
    assert await publish(synced, {"a": 1}) == flows
    for place, value, code in (
        ("api.routes.events.MAX_LISTENERS", 19, "too_many_listeners"),
        ("shared.events.MAX_BYTES", 100, "event_too_large"),
        ("shared.events._TOGETHER", -1.0, "filters_too_slow"),
    ):
        with monkeypatch.context() as patched:
            patched.setattr(place, value)
            answer = await synced.api.call("POST", "/workflows/events/order.paid", {"a": 1})
        assert (answer.status, answer.json["code"]) == (422, code)
    assert len((await synced.api.call("GET", "/workflows/runs")).json) == 20


async def test_a_step_publishes(synced: Synced) -> None:
    """Its runs know who started them, and its output which they are; in an iterator, too, and unheard."""
    flow = await listener(synced, rules=[{"field": "order", "operator": ">", "value": 1}])
    nodes = [
        node("n1", "manual_trigger"),
        node("each", "iterator", items="{{ n1.orders }}", concurrency=5),
        node("tell", "publish_event", event="order.{{ n1.what }}", payload={"order": "{{ each.item }}"}),
    ]
    edges = [
        {"id": "e1", "source": "n1", "target": "each"},
        {"id": "e2", "source": "each", "target": "tell", "sourceHandle": "item"},
    ]
    publisher = (await synced.api.create(nodes=nodes, edges=edges))["id"]
    context = {"context": {"orders": [1, 2, 3], "what": "paid"}}
    run = (await synced.api.call("POST", f"/workflows/{publisher}/execute", context)).json["id"]
    read = await ended(synced, run)
    assert read["status"] == "completed", read
    told = {log["item"]: log["output"] for log in read["logs"] if log["node_id"] == "tell"}
    assert told["0"] == {"event": "order.paid", "run_ids": []}
    for item, order in (("1", 2), ("2", 3)):
        (name,) = told[item]["run_ids"]
        heard = await ended(synced, name)
        assert (heard["workflow_id"], heard["parent_run_id"], heard["trigger_type"]) == (flow, run, "event")
        assert heard["trigger_payload"] == {"order": order}


async def test_a_step_starts_fewer_than_a_request(synced: Synced, monkeypatch: pytest.MonkeyPatch) -> None:
    """Others wait for the commit that starts its runs, so a step fails past a limit of its own, and starts nothing."""
    flows = [await listener(synced) for _ in range(3)]
    assert MAX_STEP_LISTENERS * 10 == MAX_LISTENERS
    monkeypatch.setattr("worker.publishing.MAX_STEP_LISTENERS", 2)
    assert await publish(synced) == flows
    flow = await synced.flow(node("n2", "publish_event", event="order.paid"), trigger="manual_trigger")
    run = (await synced.api.call("POST", f"/workflows/{flow}/execute", {})).json["id"]
    error = (await ended(synced, run))["logs"][1]["error"]
    assert (error["code"], "1,000" in error["message"]) == ("too_many_listeners", True)
    assert len((await synced.api.call("GET", "/workflows/runs")).json) == 4


async def test_events_do_not_go_round_for_ever(synced: Synced) -> None:
    """A workflow that publishes what it listens to stops ten runs deep, with a failed step that says why."""
    nodes = [
        node("n1", "event_trigger", event="echo"),
        node("n2", "publish_event", event="echo", payload="{{ n1.payload }}"),
    ]
    flow = (await synced.api.create(nodes=nodes))["id"]
    assert await publish(synced, {}, "echo") == [flow]

    async def over() -> bool:
        listed = (await synced.api.call("GET", f"/workflows/{flow}/executions")).json["data"]
        return len(listed) == 11 and all(run["completed_at"] for run in listed)

    await eventually(over)
    last = (await synced.api.call("GET", f"/workflows/{flow}/executions?status=failed")).json["data"]
    assert [run["error_message"].partition(",")[0] for run in last] == ["Ten runs stand above this one"]


@pytest.mark.parametrize("limits", [RunLimits(1, 100), RunLimits(100, 1)], ids=["the installation", "the workspace"])
async def test_a_full_backlog_fails_the_step(synced: Synced, limits: RunLimits) -> None:
    """A step starts nothing past either limit, and may try again (429)."""
    publisher = synced.engine.executor.commits._publisher
    publisher._open = OpenRuns(limits, 0, {})  # type: ignore[union-attr]
    await listener(synced)
    flow = await synced.flow(
        node("n2", "publish_event", event="order.paid", continue_on_error=True), trigger="manual_trigger"
    )
    run = (await synced.api.call("POST", f"/workflows/{flow}/execute", {})).json["id"]
    read = await ended(synced, run)
    assert read["logs"][1]["error"]["code"] == "backlog_full"
    assert len((await synced.api.call("GET", "/workflows/runs")).json) == 1


async def test_a_full_backlog_is_429(make_api: Callable[..., Awaitable[ApiClient]], database_url: str) -> None:
    """A request starts nothing past the limit, and is told when to come back."""
    async with Synced.open(await make_api(max_open_runs=1), database_url) as synced:
        flow = await synced.flow(node("n2", "delay", duration=1, unit="hours"), trigger="manual_trigger")
        await synced.api.call("POST", f"/workflows/{flow}/execute", {})
        backlog = synced.api.api.services.backlog
        backlog._asked_at = float("-inf")
        # Whoever asks makes it look; an earlier look may have found it full already.
        await synced.api.call("POST", "/workflows/events/order.paid", {})
        await eventually(lambda: backlog._open.full)
        answer = await synced.api.call("POST", "/workflows/events/order.paid", {})
        assert (answer.status, answer.json["code"]) == (429, "backlog_full")


async def test_a_message_that_comes_again_publishes_nothing_more(synced: Synced, api: ApiClient) -> None:
    """The step is settled by one of those that run it, and starts its runs once."""
    await listener(synced)
    flow = await synced.flow(node("n2", "publish_event", event="order.paid"), trigger="manual_trigger")
    bells: list[Any] = []
    api.api._announcer.announce = bells.extend  # type: ignore[method-assign]
    run = (await synced.api.call("POST", f"/workflows/{flow}/execute", {})).json["id"]
    reference = bells[0].reference
    await asyncio.gather(*(synced.engine.take(reference) for _ in range(5)))
    await ended(synced, run)
    assert len((await synced.api.call("GET", "/workflows/runs")).json) == 2
    assert decode(Prefix.RUN, run) == reference.run_id
