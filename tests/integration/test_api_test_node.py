"""Single nodes tested over HTTP: every kind, every way to fail, and nothing left behind."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import asyncpg
import msgspec
import psutil
import pytest
from aiohttp import web

from api import node_tests, node_trial
from api.node_tests import ROOM_EACH
from shared.apart.isolated import LARGEST, Request
from shared.apart.processes import Processes
from shared.errors import StepFailedError
from shared.nodes.base import Outcome, StepContext
from shared.redaction import Redactor
from tests.api_client import Answer, ApiClient, node, token, workflow
from tests.engine import eventually


async def tried(api: ApiClient, component: str, seen: dict[str, Any] | None = None, /, **data: Any) -> dict[str, Any]:
    """What a test of a node answers."""
    body = {"node": node("n", component, **data), "context": seen or {}}
    answer = await api.call("POST", "/workflows/test-node", body)
    assert answer.status == 200, answer.body
    told: dict[str, Any] = answer.json
    return told


async def refused(api: ApiClient, body: Any) -> list[tuple[str, str]]:
    """Paths and codes of a request that is refused."""
    answer = await api.call("POST", "/workflows/test-node", body)
    assert (answer.status, answer.json["code"]) == (422, "validation_failed"), answer.body
    return [(fault["path"], fault["code"]) for fault in answer.json["errors"]]


@pytest.fixture
async def receiver() -> AsyncIterator[tuple[str, list[web.Request]]]:
    """An HTTP server of this machine, and what came to it."""
    requests: list[web.Request] = []

    async def answer(request: web.Request) -> web.Response:
        await request.read()
        requests.append(request)
        return web.json_response({"got": await request.text()}, status=int(request.query.get("status", 200)))

    app = web.Application()
    app.router.add_route("*", "/", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}/", requests
    await runner.cleanup()


async def rows(database_url: str) -> dict[str, int]:
    """How many rows each table has."""
    connection = await asyncpg.connect(database_url)
    tables = await connection.fetch(
        "SELECT relname FROM pg_class WHERE relkind IN ('r', 'p') AND relnamespace = 'public'::regnamespace"
    )
    counted = {name: await connection.fetchval(f"SELECT count(*) FROM {name}") for (name,) in tables}
    await connection.close()
    return counted


async def test_every_kind_of_node(make_api: Any, database_url: str, receiver: Any) -> None:
    """Pure, condition, effect, wait, iterator and trigger each give their output; the database stays as it was."""
    url, requests = receiver
    api = await make_api(egress_allow="127.0.0.1")
    callee = await api.create(trigger="workflow_trigger")
    before = await rows(database_url)

    mapped = await tried(api, "data_mapper", {"a": {"id": 7}}, mapping={"id": "{{ a.id }}", "all": "{{ nodes['a'] }}"})
    assert mapped == {"status": "success", "output": {"id": 7, "all": {"id": 7}}, "handle": None}

    judged = await tried(api, "number_condition", {"a": {"n": 5}}, input="{{ a.n }}", operator=">", value=3)
    assert judged == {"status": "success", "output": {"result": True}, "handle": "true"}

    sent = await tried(
        api,
        "webhook",
        {"trigger": {"name": 'A "quoted" name'}},
        method="POST",
        url=url,
        body='{"name": "{{ trigger.name }}", "run": "{{ run.id }}"}',
    )
    assert (sent["status"], sent["output"]["status"], sent["handle"]) == ("success", 200, None)
    assert sent["input"]["method"] == "POST"
    (request,) = requests
    run_id = request.headers["Idempotency-Key"].removesuffix(":n:-")
    assert sent["output"]["body"]["got"] == f'{{"name": "A \\"quoted\\" name", "run": "{run_id}"}}'

    waited = await tried(api, "delay", duration=2, unit="hours")
    assert waited["output"]["waiting_for"]["reason"] == "timer"
    asked = await tried(api, "approval", {"a": {"x": "ada"}}, text="Go?", who="{{ a.x }}")
    assert (asked["output"]["waiting_for"]["reason"], asked["output"]["question"]["who"]) == ("callback", "ada")
    called = await tried(
        api, "trigger_workflow", {"a": {"x": 1}}, workflow_id=callee["id"], wait=False, context={"v": "{{ a.x }}"}
    )
    assert called["output"]["starts"] == {"workflow_id": callee["id"], "context": {"v": 1}, "wait": False}

    published = await tried(api, "publish_event", {"a": {"x": 1}}, event="order.paid", payload={"v": "{{ a.x }}"})
    assert published["output"]["publishes"] == {"name": "order.paid", "payload": {"v": 1}}

    divided = await tried(api, "iterator", {"a": {"l": [1, {"b": 2}]}}, items="{{ a.l }}", concurrency=3)
    assert divided["output"] == {"items": [1, {"b": 2}], "count": 2, "concurrency": 3, "on_item_error": "stop"}

    started = await tried(api, "manual_trigger", {"user_id": 7})
    assert (started["output"]["user_id"], started["output"]["trigger_type"]) == (7, "manual")

    assert await rows(database_url) == before
    assert len(requests) == 1


async def test_examples_of_the_catalogue_can_be_tried(api: ApiClient) -> None:
    """An example with its context, as the catalogue gives both."""
    entries = {entry["component_id"]: entry for entry in (await api.call("GET", "/workflows/node-types")).json}
    for name in ("merge", "json_parser", "validate"):
        body = {"node": {"id": "n", "data": entries[name]["example"]}, "context": entries[name]["example_context"]}
        assert (await api.call("POST", "/workflows/test-node", body)).json["status"] == "success", name


async def test_a_node_that_fails_says_why(make_api: Any, receiver: Any) -> None:
    """An answer that is no success, a refused address, data that turn out wrong, an output that is too large."""
    url, _ = receiver
    api = await make_api(egress_allow="127.0.0.1")
    failed = await tried(api, "webhook", method="GET", url=f"{url}?status=503")
    assert (failed["status"], failed["error"]["code"], failed["error"]["status"]) == ("error", "webhook_failed", 503)
    assert failed["error"]["message"] == "Webhook request failed: 503 Service Unavailable"
    refused_ = await tried(api, "webhook", method="GET", url="http://10.0.0.1/")
    assert refused_["error"]["code"] == "egress_refused"
    wrong = await tried(api, "iterator", {"a": {"l": 5}}, items="{{ a.l }}")
    assert wrong["error"]["code"] == "invalid_data"
    missing = await tried(api, "text_transform", {"a": {"x": 1}}, template="{{ a.y }}")
    assert missing["error"]["code"] == "template_error"
    large = await tried(api, "set_variables", {"a": {"x": "x" * 700_000}}, variables={"l": ["{{ a.x }}", "{{ a.x }}"]})
    assert large["error"]["code"] == "output_too_large"


async def test_texts_that_are_no_unicode_come_back(api: ApiClient) -> None:
    """Half a surrogate pair and NUL, which JSON allows: as an output, as what a failed call was made with, in names."""
    body = b'{"node": {"id": "n", "data": %s}, "context": {"a": {"x": "\\ud800\\u0000"}, "\\udfff": null}}'
    headers = {"Content-Type": "application/json"}
    for data, ending in (
        (b'{"componentId": "text_transform", "template": "{{ a.x }}"}', "success"),
        (b'{"componentId": "webhook", "method": "GET", "url": "http://a.test/{{ a.x }}"}', "error"),
        (b'{"componentId": "text_transform", "template": "{{ zz }}"}', "error"),
    ):
        answer = await api.call("POST", "/workflows/test-node", data=body % data, headers=headers)
        assert (answer.status, json.loads(answer.body)["status"]) == (200, ending)
        assert b"\\ud800" in answer.body or data.endswith(b'{{ zz }}"}')


async def test_a_failure_is_no_larger_than_an_output(make_api: Any, receiver: Any) -> None:
    """What a failed step was given is cut as a run's would be, however much a template made of it."""
    url, _ = receiver
    api = await make_api(egress_allow="127.0.0.1")
    arguments = {f"a{place}": "{{ a.x }}" for place in range(35)}
    context = {"a": {"x": "x" * 200_000}}
    failed = await tried(api, "soap_request", context, wsdl=f"{url}?status=503", operation="Get", arguments=arguments)
    assert failed["error"]["code"] == "wsdl_unavailable"
    assert len(json.dumps(failed)) < 100_000
    address = await tried(api, "webhook", context, method="GET", url=f"{url}?status=503&x={{{{ a.x }}}}")
    assert address["error"]["code"] == "invalid_url"
    assert len(json.dumps(address)) < 10_000


async def test_a_child_that_says_too_much_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a child does about its own limit, no more is read of it than that and a little."""
    monkeypatch.setattr("shared.apart.processes._ROOM", 1_000 - LARGEST)
    children = Processes()
    try:
        request = Request("n", "text_transform", {"template": "x" * 5_000}, "run", scope={})
        with pytest.raises(StepFailedError) as caught:
            await children.perform(request, 0.0)
        assert caught.value.code == "output_too_large"
        request = msgspec.structs.replace(request, data={"template": "x" * 50})
        assert (await children.perform(request, 0.0)).output["text"] == "x" * 50
    finally:
        children.close()


async def test_a_reference_to_nothing_names_the_nearest(api: ApiClient) -> None:
    """What the context does not have is an error with the name that may have been meant."""
    told = await tried(api, "text_transform", {"order": {"id": 1}}, template="{{ ordr.id }} {{ trigger.x }}")
    assert (told["status"], told["error"]["code"]) == ("error", "unknown_reference")
    assert 'There is nothing called "ordr" in the context; did you mean "order"?' in told["error"]["message"]
    assert [fault["path"] for fault in told["error"]["errors"]] == ["node.data.template"] * 2
    skipped = await tried(api, "text_transform", {"order": None}, template="[{{ order.id }}]")
    assert skipped["output"] == {"text": "[]"}


async def test_the_run_around_a_node_can_be_given(api: ApiClient) -> None:
    """A context may say what the run and its workflow are; they are there if it does not."""
    template = "{{ run.trigger_type }} {{ workflow.name }} {{ workflow.version }}"
    assert (await tried(api, "text_transform", template=template))["output"] == {"text": "manual  0"}
    context = {"run": {"trigger_type": "webhook"}, "workflow": {"name": "Orders"}}
    assert (await tried(api, "text_transform", context, template=template))["output"] == {"text": "webhook Orders 0"}


async def test_a_node_that_could_not_be_saved_is_422_with_every_fault(api: ApiClient) -> None:
    """As when a workflow is saved, and besides what is wrong with the request itself."""
    wrong = node("vault", "webhok")
    assert await refused(api, {"node": wrong}) == [
        ("node.id", "reserved_id"),
        ("node.data.componentId", "unknown_component"),
    ]
    data = {"methd": "GET", "url": "{{ 1.x }}", "retry": {"max_attempts": 0}}
    assert {*await refused(api, {"node": node("n", "webhook", **data)})} == {
        ("node.data.methd", "unknown_field"),
        ("node.data.method", "required"),
        ("node.data.url", "template_syntax"),
        ("node.data.retry.max_attempts", "invalid_value"),
    }
    misplaced = node("n", "string_condition", input="a", operator="equals", value="a", timeout=5)
    assert await refused(api, {"node": misplaced}) == [("node.data.timeout", "setting_not_allowed")]
    body = {"context": {"a": 5, "vault": {}}, "node": node("n", "text_transform", template="x"), "nod": 1}
    assert {*await refused(api, {**body, "authorization_id": "auth_01h455vb4pex5vsknk084sn02q"})} == {
        ("nod", "unknown_field"),
        ("context.a", "invalid_type"),
        ("context.vault", "reserved_id"),
        ("authorization_id", "unknown_authorization"),
    }
    assert await refused(api, {}) == [("node", "parameter_missing")]
    assert await refused(api, {"node": 5}) == [("node", "invalid_value")]
    calls = node("n", "trigger_workflow", workflow_id="fl_01h455vb4pex5vsknk084sn02q")
    assert await refused(api, {"node": calls}) == [("node.data.workflow_id", "unknown_workflow")]


async def test_a_workflow_of_another_workspace_is_none(api: ApiClient) -> None:
    """Neither can a test name it, nor learn that it exists."""
    answer = await api.call("POST", "/workflows", workflow(trigger="workflow_trigger"), token=token("other"))
    calls = node("n", "trigger_workflow", workflow_id=answer.json["id"])
    assert await refused(api, {"node": calls}) == [("node.data.workflow_id", "unknown_workflow")]


async def test_it_needs_the_scopes_to_write_and_to_execute(api: ApiClient) -> None:
    """A test is a save and an execution in one. Who may only start what others drew may draw nothing."""
    body = {"node": node("n", "text_transform", template="x")}
    for scope in ("workflows:read", "workflows:write", "workflows:execute", "vault:read vault:write"):
        answer = await api.call("POST", "/workflows/test-node", body, token=token(scope=scope))
        assert (answer.status, answer.json["code"]) == (403, "scope_missing")
    both = token(scope="workflows:execute workflows:write")
    assert (await api.call("POST", "/workflows/test-node", body, token=both)).status == 200
    made = await api.call("POST", "/workflows/vault", {"name": "api-key:desk"}, token=token(scope="vault:write"))
    answer = await api.call("POST", "/workflows/test-node", body, token=made.json["secret"])
    assert (answer.status, answer.json["code"]) == (403, "api_key_not_allowed")


async def test_vault_values_go_out_and_come_back_blank(make_api: Any, receiver: Any) -> None:
    """The other side gets the value; nothing that it answers with shows it, in whatever form, nor does a failure."""
    url, requests = receiver
    api = await make_api(egress_allow="127.0.0.1")
    secret = 'a "secret" of the desk'
    item = {"name": "desk", "secret": secret}
    assert (await api.call("POST", "/workflows/vault", item, token=token(scope="vault:write"))).status == 201
    body = '{"plain": "{{ vault.desk }}", "coded": "{{ vault.desk | b64 }}", "made": "{{ vault.desk | upcase }}"}'
    sent = await tried(api, "webhook", method="POST", url=url, body=body)
    assert (sent["status"], len(requests)) == ("success", 1)
    got = await requests[0].text()
    assert 'a \\"secret\\" of the desk' in got
    assert "desk" not in str(sent["output"])
    assert "DESK" not in str(sent)
    assert str(sent["output"]["body"]).count("[redacted]") >= 1
    failed = await tried(api, "webhook", method="POST", url=f"{url}?status=500", body=body)
    assert failed["error"]["status"] == 500
    assert "desk" not in str(failed["error"]["body"])


async def test_what_a_node_says_that_it_uses_comes_back_blank(api: ApiClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """A type may use secrets that its templates do not read; the process that calls it tells them first."""
    told = "a secret of the type itself"

    async def perform(_: Processes, request: Request, __: float, context: StepContext) -> Outcome:
        await context.uses_secret(told)
        if request.data["url"].endswith("fail"):
            raise StepFailedError("said_no", f"no, {told}", body={told: 1}, step_input=told)
        return Outcome({"said": told}, step_input=told)

    monkeypatch.setattr(Processes, "perform", perform)
    sent = await tried(api, "webhook", method="GET", url="https://a.test/")
    assert (sent["output"], sent["input"]) == ({"said": "[redacted]"}, "[redacted]")
    failed = await tried(api, "webhook", method="GET", url="https://a.test/fail")
    assert failed["error"]["message"] == "no, [redacted]"
    assert told not in str(failed)


async def test_blanking_holds_nobody_up(api: ApiClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """The forms of a long secret take their time, in a thread that is not the one which answers requests."""
    threads = []

    class Noting(Redactor):
        def value(self, value: Any) -> Any:
            threads.append(threading.current_thread())
            return super().value(value)

    async def perform(_: Processes, request: Request, __: float, context: StepContext) -> Outcome:
        await context.uses_secret("secret " * 2_000)
        if request.data["url"].endswith("fail"):
            raise StepFailedError("said_no", "no")
        return Outcome({})

    monkeypatch.setattr(node_trial, "Redactor", Noting)
    monkeypatch.setattr(Processes, "perform", perform)
    for url in ("https://a.test/", "https://a.test/fail"):
        await tried(api, "webhook", method="GET", url=url)
    assert len(threads) == 2
    assert threading.current_thread() not in threads


async def test_vault_items_and_authorizations_that_are_not_there(api: ApiClient) -> None:
    """Unknown items, fields that may hold no secret and a missing authorization are faults, as when it is saved."""
    unknown = node("n", "webhook", method="GET", url="http://a.test/{{ vault.dsk }}")
    assert await refused(api, {"node": unknown}) == [("node.data.url", "unknown_vault_item")]
    stored = node("n", "text_transform", template="{{ vault.desk }}")
    assert await refused(api, {"node": stored}) == [("node.data.template", "secret_not_allowed")]
    call = node("n", "api_call", method="GET", endpoint="/sites")
    assert await refused(api, {"node": call}) == [("authorization_id", "authorization_required")]


async def test_what_is_too_many_is_told_to_come_back(api: ApiClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """A workspace has its part of the places, so that it leaves the others some; a place is free again afterwards."""
    gate = asyncio.Event()
    usual = Processes.perform

    async def held(self: Processes, *arguments: Any) -> Any:
        await gate.wait()
        return await usual(self, *arguments)

    monkeypatch.setattr(Processes, "perform", held)
    body = {"node": node("n", "text_transform", template="x")}

    def send(workspace: str) -> "asyncio.Task[Answer]":
        return asyncio.create_task(api.call("POST", "/workflows/test-node", body, token=token(workspace)))

    mine = [send("acme") for _ in range(ROOM_EACH + 2)]
    await eventually(lambda: sum(task.done() for task in mine) == 2)
    refused_ = [task.result() for task in mine if task.done()]
    assert [(a.status, a.json["code"], a.headers["Retry-After"]) for a in refused_] == [
        (429, "too_many_tests", "1")
    ] * 2
    other = send("other")
    gate.set()
    assert {answer.status for answer in await asyncio.gather(other, *(t for t in mine if not t.done()))} == {200}
    assert (await send("acme")).status == 200


def tries() -> list[psutil.Process]:
    """The processes that carry out tests, or start such."""
    found = []
    for child in psutil.Process().children():
        with suppress(psutil.NoSuchProcess):  # it is ending, and has no command line any more
            if "shared.apart.isolated" in child.cmdline():
                found.append(child)
    return found


async def test_what_starts_tests_rests_and_ends(make_api: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process behind tests is there while they come, gone after a while without, and back with the next."""
    monkeypatch.setattr(node_tests, "_IDLE", 0.05)
    api = await make_api()
    for _ in range(2):
        assert (await tried(api, "text_transform", template="x"))["output"] == {"text": "x"}
        await eventually(lambda: not tries())
