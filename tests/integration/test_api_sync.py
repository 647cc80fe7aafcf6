"""``/workflows/sync/{id}``: what is answered, when, and what becomes of those who wait."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from io import BytesIO
from typing import Any

import pytest

from shared.ids import Prefix, decode
from shared.links import Place
from tests.api_client import Answer, ApiClient, node, token
from tests.engine import eventually
from tests.synced import Synced, text

_DELAY = node("wait", "delay", duration=1, unit="hours")
_JSON = {"Content-Type": "application/json"}
_PEOPLE = node("wait", "wait_for_callback")


@pytest.fixture
async def synced(api: ApiClient, database_url: str) -> AsyncIterator[Synced]:
    """An api whose answers are found by looking for them."""
    async with Synced.open(api, database_url) as synced:
        synced.api.api.services.sync._waiters._every = 0.02
        yield synced


@pytest.fixture
async def hasty(make_api: Callable[..., Awaitable[ApiClient]], database_url: str) -> AsyncIterator[Synced]:
    """One that waits for a third of a second only, with two connections."""
    async with Synced.open(await make_api(sync_seconds=0.3, api_pool=2), database_url) as synced:
        synced.api.api.services.sync._waiters._every = 0.02
        yield synced


async def runs(synced: Synced, flow: str) -> list[dict[str, Any]]:
    """The runs of a workflow, newest first."""
    listed: list[dict[str, Any]] = (await synced.api.call("GET", f"/workflows/{flow}/executions")).json["data"]
    return listed


async def test_the_response_node_says_status_headers_and_body(synced: Synced) -> None:
    """What it rendered is answered as it is, with the run's id, and with what guards a browser on the API's origin."""
    node_ = text(
        status="{{ n1.payload.status }}", content_type="text/html", headers={"X-Name": "é {{ n1.payload.name }}"}
    )
    flow = await synced.flow(node("x", "set_variables", variables={"a": 1}), node_)
    answer = await synced.call(flow, {"name": "<b>Ada</b>", "status": 418})
    assert (answer.status, answer.body) == (418, b"hello <b>Ada</b>")
    assert answer.headers["Content-Type"] == "text/html"
    assert answer.headers["X-Name"] == "é <b>Ada</b>"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Content-Security-Policy"] == "sandbox"
    assert answer.headers["Cache-Control"] == "no-store"
    run = (await synced.api.call("GET", f"/workflows/runs/{answer.headers['X-Run-Id']}")).json
    assert (run["trigger_type"], run["trigger_payload"]) == ("sync", {"name": "<b>Ada</b>", "status": 418})
    assert run["logs"][2]["output"] == {"text": "hello <b>Ada</b>"}
    assert run["logs"][2]["input"]["status"] == 418


async def test_any_json_is_taken(synced: Synced) -> None:
    """Lists, texts, numbers and null are payloads too, kept as they were written; no body at all is null."""
    flow = await synced.flow(text(template="{{ n1.payload | json }}", content_type="application/json"))
    for body in (b"[1,2]", b'"x"', b"null", b"7", b'{"b":1,"a":"\\u0000\\ud800"}', b""):
        answer = await synced.call(flow, data=body or None, headers=_JSON)
        assert (answer.status, answer.body) == (200, body or b"null")


async def test_it_is_answered_before_the_run_ends(synced: Synced) -> None:
    """The answer is what the node gave out, as soon as that is durable; the run goes on."""
    flow = await synced.flow(text(), _DELAY)
    answer = await synced.call(flow, {"name": "Ada"})
    assert (answer.status, answer.body) == (200, b"hello Ada")
    assert (await runs(synced, flow))[0]["status"] == "running"


async def test_the_first_of_several_answers(synced: Synced) -> None:
    """Of two response nodes the one that settles first counts, whatever the second says."""
    flow = await synced.flow(text("n2", template="first"), text("n3", template="second", status=500))
    answer = await synced.call(flow, {})
    assert (answer.status, answer.body) == (200, b"first")


async def test_a_status_without_a_body_has_none(synced: Synced) -> None:
    """Whatever the template renders."""
    flow = await synced.flow(text(template="left out", status="{{ n1.payload }}"))
    for status in (204, 304):
        answer = await synced.call(flow, status)
        assert (answer.status, answer.body) == (status, b"")


async def test_without_a_response_the_run_s_output_answers(synced: Synced) -> None:
    """A run that takes a way without a response answers with what it gave out, and `terminate` with what it left."""
    condition = node("n2", "string_condition", input="{{ n1.payload.way }}", operator="equals", value="respond")
    nodes = [
        node("n1", "sync_request_trigger"),
        condition,
        text("n3"),
        node("n4", "data_mapper", mapping={"way": "{{ n1.payload.way }}"}),
    ]
    edges = [
        {"id": "e1", "source": "n1", "target": "n2"},
        {"id": "e2", "source": "n2", "target": "n3", "sourceHandle": "true"},
        {"id": "e3", "source": "n2", "target": "n4", "sourceHandle": "false"},
    ]
    flow = (await synced.api.create(nodes=nodes, edges=edges))["id"]
    answer = await synced.call(flow, {"way": "other"})
    assert (answer.status, answer.json) == (200, {"way": "other"})
    assert answer.headers["Content-Type"] == "application/json"
    ending = await synced.flow(node("n2", "terminate", status="completed", output={"ended": "{{ n1.payload }}"}))
    answer = await synced.call(ending, [1])
    assert (answer.status, answer.json) == (200, {"ended": [1]})


async def test_a_run_that_fails_is_502_with_its_reason(synced: Synced) -> None:
    """It is the graph's fault and not the service's; the answer names the run, and an answer given before stands."""
    flow = await synced.flow(text(headers={"X-A": "{{ n1.payload.a }}"}))
    answer = await synced.call(flow, {"a": "x\r\nSet-Cookie: y"})
    (run,) = await runs(synced, flow)
    assert answer.status == 502
    assert (answer.json["type"], answer.json["code"], answer.json["run_id"]) == ("api_error", "run_failed", run["id"])
    assert "X-A has a line break" in answer.json["message"]
    ended = await synced.flow(node("n2", "terminate", status="failed", message="No such order."), text("n3"))
    assert "No such order." in (await synced.call(ended, {})).json["message"]


async def test_a_run_that_is_cancelled_is_409(synced: Synced) -> None:
    """Whoever waits is told so at once."""
    flow = await synced.flow(_PEOPLE, text())
    asking = asyncio.create_task(synced.call(flow, {}))
    await synced.waiting()
    await eventually(lambda: _status(synced, flow, "awaiting_ui_interaction"))
    (run,) = await runs(synced, flow)
    await synced.api.call("POST", f"/workflows/runs/{run['id']}/cancel")
    answer = await asking
    assert (answer.status, answer.json["code"], answer.json["run_id"]) == (409, "run_cancelled", run["id"])


async def _status(synced: Synced, flow: str, status: str) -> bool:
    return any(run["status"] == status for run in await runs(synced, flow))


async def test_what_takes_too_long_is_504_with_the_run(hasty: Synced) -> None:
    """The run goes on, and nothing of the wait is left."""
    flow = await hasty.flow(_PEOPLE, text())
    answer = await hasty.call(flow, {})
    await eventually(lambda: _status(hasty, flow, "awaiting_ui_interaction"))
    (run,) = await runs(hasty, flow)
    assert (answer.status, answer.json["type"], answer.json["code"]) == (504, "timeout_error", "sync_timeout")
    assert answer.json["run_id"] == run["id"]
    assert run["id"] in answer.json["message"]
    await hasty.waiting(0)


async def test_a_wait_holds_no_connection(hasty: Synced) -> None:
    """Twenty that wait leave the two connections of the pool to others."""
    hasty.api.api.services.sync.seconds = 20.0
    flow = await hasty.flow(_PEOPLE, text())
    asking = [asyncio.create_task(hasty.call(flow, {})) for _ in range(20)]
    await hasty.waiting(20)
    await eventually(lambda: _count(hasty, flow, 20))
    assert (await hasty.api.call("GET", f"/workflows/{flow}")).status == 200
    for task in asking:
        task.cancel()
    await hasty.waiting(0)


async def _count(synced: Synced, flow: str, number: int) -> bool:
    return len(await runs(synced, flow)) == number


async def test_who_hangs_up_is_waited_for_no_longer(synced: Synced) -> None:
    """A connection that closes frees its wait within a look; the run goes on."""
    flow = await synced.flow(_PEOPLE, text())
    asking = asyncio.create_task(synced.call(flow, {}))
    await synced.waiting()
    await eventually(lambda: _status(synced, flow, "awaiting_ui_interaction"))
    asking.cancel()
    await synced.waiting(0)
    assert (await runs(synced, flow))[0]["status"] == "awaiting_ui_interaction"


async def test_a_stop_tells_those_who_wait(make_api: Callable[..., Awaitable[ApiClient]], database_url: str) -> None:
    """Near the end of the grace period who still waits gets 503 with the run, instead of a connection that breaks."""
    api = await make_api(grace_seconds=1.0)
    async with Synced.open(api, database_url) as synced:
        flow = await synced.flow(_PEOPLE, text())
        asking = asyncio.create_task(synced.call(flow, {}))
        await synced.waiting()
        await eventually(lambda: _status(synced, flow, "awaiting_ui_interaction"))
        (run,) = await runs(synced, flow)
        await asyncio.gather(api.api._runner.cleanup(), _soon(api.api.services.sync.stop))
        answer = await asking
    assert (answer.status, answer.json["code"], answer.json["run_id"]) == (503, "stopping", run["id"])
    assert answer.headers["Retry-After"] == "1"


async def _soon(call: Callable[[], None]) -> None:
    call()


async def test_what_cannot_answer_is_refused(synced: Synced) -> None:
    """422 without a response node outside iterators, or with another trigger; 409 inactive; 404 elsewhere: no run."""
    bare = await synced.flow(text(is_response=False))
    disabled = await synced.flow(text(disabled=True))
    iterated = await synced.api.create(
        nodes=[node("n1", "sync_request_trigger"), node("n2", "iterator", items="{{ n1.payload }}"), text("n3")],
        edges=[
            {"id": "e1", "source": "n1", "target": "n2"},
            {"id": "e2", "source": "n2", "target": "n3", "sourceHandle": "item"},
        ],
    )
    manual = await synced.flow(text(template="x"), trigger="manual_trigger")
    inactive = await synced.flow(text(), is_active=False)
    cases = [
        (bare, 422, "no_response_node"),
        (disabled, 422, "no_response_node"),
        (iterated["id"], 422, "no_response_node"),
        (manual, 422, "workflow_not_synchronous"),
        (inactive, 409, "workflow_inactive"),
        ("fl_01h455vb4pex5vsknk084sn02q", 404, "not_found"),
        ("execute", 404, "not_found"),
    ]
    for flow, status, code in cases:
        answer = await synced.call(flow, {})
        assert (answer.status, answer.json["code"]) == (status, code)
    flow = await synced.flow(text())
    assert (await synced.call(flow, {}, token=token("other"))).status == 404
    assert (await synced.call(flow, {}, token=token(scope="workflows:read"))).status == 403
    assert (await synced.call(flow, {}, token="")).status == 401
    assert (await synced.call(flow, data=b"{", headers=_JSON)).status == 400
    assert (await synced.call(flow, data=b"x", headers={"Content-Type": "text/plain"})).status == 415
    assert (await synced.call(flow, data=BytesIO(b'"' + b"x" * 2**20 + b'"'), headers=_JSON)).status == 413
    assert await runs(synced, flow) == []
    await synced.waiting(0)


async def test_a_full_backlog_is_429(make_api: Callable[..., Awaitable[ApiClient]], database_url: str) -> None:
    """As for every trigger, with Retry-After and without a run."""
    async with Synced.open(await make_api(max_open_runs=1, sync_seconds=0.3), database_url) as synced:
        flow = await synced.flow(_PEOPLE, text())
        await synced.call(flow, {})
        backlog = synced.api.api.services.backlog
        backlog._asked_at = float("-inf")
        await synced.call(await synced.flow(text()), {})  # whoever asks makes it look
        await eventually(lambda: backlog._open.full)
        answer = await synced.call(flow, {})
        assert (answer.status, answer.json["code"]) == (429, "backlog_full")
        assert "Retry-After" in answer.headers
        assert await _count(synced, flow, 1)


async def test_a_run_by_hand_and_a_rerun_wait_for_nobody(synced: Synced) -> None:
    """They run like any other, with the context or the first payload; only the route waits."""
    flow = await synced.flow(text())
    by_hand = (await synced.api.call("POST", f"/workflows/{flow}/execute", {"context": {"name": "Bo"}})).json
    await eventually(lambda: _status(synced, flow, "completed"))
    run = (await synced.api.call("GET", f"/workflows/runs/{by_hand['id']}")).json
    assert run["logs"][1]["output"] == {"text": "hello Bo"}
    first = await synced.call(flow, {"name": "Ada"})
    again = await synced.api.call("POST", f"/workflows/runs/{first.headers['X-Run-Id']}/rerun")
    name = again.json["new_run"]["id"]
    await eventually(lambda: _ended(synced, name))
    run = (await synced.api.call("GET", f"/workflows/runs/{name}")).json
    assert (run["trigger_type"], run["logs"][1]["output"]) == ("sync", {"text": "hello Ada"})


async def _ended(synced: Synced, run: str) -> bool:
    return bool((await synced.api.call("GET", f"/workflows/runs/{run}")).json["status"] == "completed")


async def test_a_list_is_run_again_after_the_trigger_changed(synced: Synced) -> None:
    """A trigger that takes objects sees another payload as ``payload``."""
    flow = await synced.flow(text(template="{{ n1.payload | json }}"))
    first = await synced.call(flow, [1, 2])
    nodes = [node("n1", "manual_trigger"), text(template="{{ n1.payload | json }}")]
    assert (await synced.api.call("PUT", f"/workflows/{flow}", {"nodes": nodes})).status == 200
    again = await synced.api.call("POST", f"/workflows/runs/{first.headers['X-Run-Id']}/rerun")
    await eventually(lambda: _ended(synced, again.json["new_run"]["id"]))
    run = (await synced.api.call("GET", f"/workflows/runs/{again.json['new_run']['id']}")).json
    assert run["logs"][1]["output"] == {"text": "[1,2]"}


async def test_one_key_makes_one_run(synced: Synced) -> None:
    """A repeat gets the answer of the first run again, another body 409, and a failed run stays that of its key."""
    flow = await synced.flow(text(template="{{ n1.run_id }}", status="{{ n1.payload.status }}"))
    key = {"Idempotency-Key": "k1"}
    first = await synced.call(flow, {"status": 201}, headers=key)
    second = await synced.call(flow, {"status": 201}, headers=key)
    assert (second.status, second.body) == (201, first.body)
    assert second.headers["Idempotency-Replayed"] == "true"
    assert "Idempotency-Replayed" not in first.headers
    assert (await synced.call(flow, {"status": 202}, headers=key)).json["code"] == "idempotency_key_reused"
    for _ in range(2):
        failed = await synced.call(flow, {"status": 99}, headers={"Idempotency-Key": "k2"})
        assert (failed.status, failed.json["code"]) == (502, "run_failed")
    assert len(await runs(synced, flow)) == 2


async def test_a_repeat_after_the_time_waits_for_the_same_run(synced: Synced) -> None:
    """While the first request may wait a repeat is 409; after that it waits for the run, and gets its answer."""
    sync = synced.api.api.services.sync
    flow = await synced.flow(_PEOPLE, text())
    key = {"Idempotency-Key": "k"}
    first = asyncio.create_task(synced.call(flow, {}, headers=key))
    await eventually(lambda: _count(synced, flow, 1))
    repeat = await synced.call(flow, {}, headers=key)
    assert (repeat.status, repeat.json["code"]) == (409, "idempotency_in_progress")
    first.cancel()
    await synced.waiting(0)
    (run,) = await runs(synced, flow)
    sync.seconds = 0.1  # which are over as soon as a repeat is let in
    answers: list[Answer] = []

    async def is_let_in() -> bool:
        answers.append(await synced.call(flow, {}, headers=key))
        return answers[-1].status != 409

    await eventually(is_let_in)
    assert (answers[-1].status, answers[-1].json["run_id"]) == (504, run["id"])
    link = synced.api.api.services.links.url(Place(decode(Prefix.RUN, run["id"]), "wait", "-"))
    await synced.api.call("POST", "/workflows/callbacks/" + link.rpartition("/")[2], {})
    await eventually(lambda: _status(synced, flow, "completed"))
    last = await synced.call(flow, {}, headers=key)
    assert (last.status, last.body) == (200, b"hello you")


async def test_the_doorbell_wakes(api: ApiClient, database_url: str, broker_url: str) -> None:
    """With the broker there nobody looks: the answer, and the end of a run without one, are heard of."""
    sync = api.api.services.sync
    sync._waiters._every = 3600.0
    await sync._bells.listen()
    await eventually(sync._bells._heard.is_set)  # what rings before that is found by looking, which nobody does here
    async with Synced.open(api, database_url, broker_url=broker_url) as synced:
        answering = await synced.flow(text(), _DELAY)
        ending = await synced.flow(node("n2", "terminate", output={"a": 1}))
        async with asyncio.timeout(10):
            assert (await synced.call(answering, {"name": "Ada"})).body == b"hello Ada"
            assert (await synced.call(ending, {})).json == {"a": 1}


async def test_without_a_broker_it_is_answered_by_looking(
    make_api: Callable[..., Awaitable[ApiClient]], database_url: str
) -> None:
    """Nothing rings, and the answer comes half a second later at most."""
    async with Synced.open(await make_api(broker_url="redis://127.0.0.1:1/0"), database_url) as synced:
        flow = await synced.flow(text())
        async with asyncio.timeout(10):
            assert (await synced.call(flow, {"name": "Ada"})).body == b"hello Ada"


async def test_an_api_key_may_ask(synced: Synced) -> None:
    """In either header; the answer is that of its workspace's workflow."""
    flow = await synced.flow(text())
    scope = token(scope="vault:write")
    made = await synced.api.call("POST", "/workflows/vault", {"name": "api-key:ci"}, token=scope)
    key = made.json["secret"]
    assert (await synced.call(flow, {"name": "Ada"}, token=key)).body == b"hello Ada"
    assert (await synced.call(flow, {"name": "Bo"}, token="", headers={"X-Api-Key": key})).body == b"hello Bo"


async def test_a_run_that_a_limit_skips_is_409(synced: Synced) -> None:
    """Its workflow says that it does not take place: whoever waits hears that, and why."""
    settings = {"max_concurrent_runs": 1, "on_limit": "skip"}
    flow = await synced.flow(text(), _DELAY, settings=settings)
    assert (await synced.call(flow, {})).status == 200
    answer = await synced.call(flow, {})
    assert (answer.status, answer.json["code"]) == (409, "run_cancelled")
    assert "max_concurrent_runs" in answer.json["message"]
