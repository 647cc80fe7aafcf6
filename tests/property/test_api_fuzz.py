"""Whatever is sent, the answer is one of the contract, never a 500. On a real database."""

import asyncio
from collections.abc import Coroutine, Iterator
from contextlib import AsyncExitStack
from typing import Any
from urllib.parse import quote

import pytest
from aiohttp import ClientSession
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from yarl import URL

from api.codes import ERRORS
from api.main import Api
from shared.db import open_pool
from tests.api_client import PUBLIC_URL, Answer, ApiClient, config, token, workflow

_SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
_JSON = st.recursive(
    _SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4), max_leaves=12
)
_FIELDS = [*workflow(), "description", "authorization_id", "is_active", "schedule_type", "schedule_value", "timezone"]
_FIELDS += ["settings", "id", "nam", ""]
_WORDS = st.sampled_from(
    [
        "interval",
        "5 minutes",
        "auth_",
        "fl_01h3j4k5l6m7n8p9q0r1s2t3u4",
        "\x00",
        "'; DROP TABLE runs; --",
        "UTC",
        "manual",
    ]
)
_HEADER = st.text(st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="\x7f"), max_size=40).map(
    str.strip
)
_FUZZ = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])


class _Sync:
    """An api on a loop of its own, called from plain functions, as hypothesis wants them."""

    def __init__(self, database_url: str, broker_url: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._stack = AsyncExitStack()
        self.client: ApiClient = self.run(self._start(database_url, broker_url))
        self.workflow = self.run(self.client.create(trigger="webhook_trigger"))

    async def _start(self, database_url: str, broker_url: str) -> ApiClient:
        settings_ = config(database_url, broker_url)
        pool = await open_pool(settings_.database_url, size=4, name="api")
        self._stack.push_async_callback(pool.close)
        served = await Api.start(settings_, pool)
        self._stack.push_async_callback(served.stop)
        # Its thread draws random numbers, which hypothesis takes for its own.
        served._announcer.announce = lambda _: None  # type: ignore[method-assign]
        port = await served.listen("127.0.0.1", 0)
        http = await self._stack.enter_async_context(ClientSession(f"http://127.0.0.1:{port}"))
        return ApiClient(served, http, token())

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self._loop.run_until_complete(work)

    def close(self) -> None:
        self.run(self._stack.aclose())
        self._loop.close()


@pytest.fixture
def fuzzed(database_url: str, broker_url: str) -> Iterator[_Sync]:
    """An api and a workflow to send things to."""
    sync = _Sync(database_url, broker_url)
    yield sync
    sync.close()


def _is_of_the_contract(answer: Answer) -> None:
    assert answer.status < 500, answer.body
    assert "X-Request-Id" in answer.headers
    if answer.status >= 400:
        body = answer.json
        assert body["code"] in ERRORS
        assert body["doc_url"] == f"{PUBLIC_URL}/errors/{body['code']}"
        assert body["message"]


def test_any_object_for_a_workflow(fuzzed: _Sync) -> None:
    """Creating, validating and changing with any JSON gives 200, 201 or 422, with every fault's path and code."""

    @_FUZZ
    @given(st.dictionaries(st.sampled_from(_FIELDS), _JSON | _WORDS, max_size=6), st.booleans())
    def check(changes: dict[str, Any], whole: bool) -> None:
        body = {**workflow(), **changes} if whole else changes
        for method, path in (
            ("POST", "/workflows"),
            ("POST", "/workflows/validate"),
            ("PUT", f"/workflows/{fuzzed.workflow['id']}"),
        ):
            answer: Answer = fuzzed.run(fuzzed.client.call(method, path, body))
            _is_of_the_contract(answer)
            assert answer.status in (200, 201, 422), answer.body
            for fault in answer.json.get("errors", []) if answer.status == 422 else []:
                assert fault.keys() >= {"path", "code", "message"}
                assert fault["code"]
                assert fault["message"]

    check()


def test_any_nodes_and_edges(fuzzed: _Sync) -> None:
    """Nodes and edges of any shape are refused with faults, or saved and given back as they were."""
    base = workflow()

    @_FUZZ
    @given(st.data())
    def check(data: Any) -> None:
        nodes = [
            {
                **node,
                **data.draw(
                    st.dictionaries(st.sampled_from(["id", "type", "position", "data", "x"]), _JSON, max_size=2)
                ),
            }
            for node in base["nodes"]
        ]
        edges = [
            {**base["edges"][0], **data.draw(st.dictionaries(st.sampled_from(["source", "z"]), _JSON, max_size=1))}
        ]
        answer: Answer = fuzzed.run(fuzzed.client.call("POST", "/workflows", {**base, "nodes": nodes, "edges": edges}))
        _is_of_the_contract(answer)
        assert answer.status in (201, 422)
        if answer.status == 201:
            assert (answer.json["nodes"], answer.json["edges"]) == (nodes, edges)

    check()


def test_any_bytes_for_any_route(fuzzed: _Sync) -> None:
    """Any bytes under any content type, on every route that takes a body, give an answer of the contract."""
    hook = fuzzed.workflow["webhook_url"].removeprefix(PUBLIC_URL)
    types = st.sampled_from(
        [
            "application/json",
            "application/json; charset=utf-16",
            "application/x-www-form-urlencoded",
            "multipart/form-data; boundary=x",
            "multipart/form-data",
            "text/plain; charset=rot13",
            "text/plain; charset=base64",
            "text/plain; charset=idna",
            "text/plain; charset=utf-7",
            "image/png",
            "/",
        ]
    )
    paths = [hook, "/workflows", f"/workflows/{fuzzed.workflow['id']}/execute", "/workflows/events/e"]
    routes = st.sampled_from([*paths, f"/workflows/sync/{fuzzed.workflow['id']}"])
    bodies = st.binary(max_size=60) | st.sampled_from(
        [
            b'{"context":{"\\ud800":"\\u0000"}}',
            b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n--x--',
            b"%",
        ]
    )

    @_FUZZ
    @given(bodies, types | _HEADER, routes)
    def check(body: bytes, content_type: str, path: str) -> None:
        headers = {"Content-Type": content_type.encode("latin-1", "ignore").decode("latin-1")}
        _is_of_the_contract(fuzzed.run(fuzzed.client.call("POST", path, data=body, headers=headers)))

    check()


def test_any_event(fuzzed: _Sync) -> None:
    """An event of any name and payload starts what listens, or is refused; no filter makes a 500."""
    rules = [
        {"field": "a", "operator": "regex", "value": "^x+$"},
        {"field": "a.b[0]", "operator": "before", "value": "2026-01-01"},
        {"field": "a", "operator": ">", "value": 5},
        {"field": "a", "operator": "length_equals", "value": 1},
        {"field": "a", "operator": "in", "value": ["x", None, {}]},
    ]
    for rule in rules:
        trigger = {"componentId": "event_trigger", "event": "e", "filter": [rule]}
        node = {"id": "n1", "type": "event_trigger", "position": {"x": 0, "y": 0}, "data": trigger}
        fuzzed.run(fuzzed.client.create(nodes=[node], edges=[]))

    @_FUZZ
    @given(st.just("e") | st.text(min_size=1, max_size=8), _JSON | st.fixed_dictionaries({"a": _JSON}))
    def check(name: str, body: Any) -> None:
        path = URL(f"/workflows/events/{quote(name, safe='')}", encoded=True)
        answer = fuzzed.run(fuzzed.client.call("POST", path, body))
        _is_of_the_contract(answer)
        assert answer.status == 202 or name != "e"

    check()


def test_any_headers(fuzzed: _Sync) -> None:
    """Any values of the headers that are read give an answer of the contract."""
    names = [
        "Idempotency-Key",
        "If-Match",
        "X-Request-Id",
        "traceparent",
        "Authorization",
        "Content-Encoding",
        "Expect",
    ]

    @_FUZZ
    @given(st.dictionaries(st.sampled_from(names), _HEADER, min_size=1, max_size=3), st.sampled_from(["POST", "PUT"]))
    def check(headers: dict[str, str], method: str) -> None:
        path = "/workflows" if method == "POST" else f"/workflows/{fuzzed.workflow['id']}"
        _is_of_the_contract(fuzzed.run(fuzzed.client.call(method, path, {}, headers=headers)))

    check()


def test_any_query_and_path(fuzzed: _Sync) -> None:
    """Any query parameters and any ids give an answer of the contract."""
    names = ["is_active", "schedule_type", "q", "limit", "cursor", "page", "per_page", "status", "from", "to", "x"]
    values = st.text(max_size=20) | _WORDS | st.integers().map(str)

    @_FUZZ
    @given(st.dictionaries(st.sampled_from(names), values, max_size=3), st.text(min_size=1, max_size=30))
    def check(query: dict[str, str], name: str) -> None:
        known = fuzzed.workflow["id"]
        clean = {key: value.encode("utf-8", "ignore").decode() for key, value in query.items()}
        for path in ("/workflows", f"/workflows/{known}/executions"):
            _is_of_the_contract(fuzzed.run(fuzzed.client.call("GET", path, params=clean)))
        text = name.encode("utf-8", "ignore").decode().replace("/", "_") or "_"
        if text in (".", ".."):
            return
        url = str(URL("/workflows/runs") / text)
        _is_of_the_contract(fuzzed.run(fuzzed.client.call("GET", url)))

    check()
