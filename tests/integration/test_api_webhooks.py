"""The webhook route, against a real database."""

import asyncio
import base64
import logging
from typing import Any

import aiohttp
import msgspec
import pytest
from prometheus_client import REGISTRY

from tests.api_client import PUBLIC_URL, Answer, ApiClient


async def _hook(api: ApiClient, **changes: Any) -> tuple[dict[str, Any], str]:
    made = await api.create(trigger="webhook_trigger", **changes)
    return made, made["webhook_url"].removeprefix(PUBLIC_URL)


async def _sent(api: ApiClient, path: str, data: bytes, content_type: str | None = None, **headers: str) -> Answer:
    if content_type is not None:
        headers["Content-Type"] = content_type
    return await api.call("POST", path, token="", data=data, headers=headers, skip_auto_headers=["Content-Type"])


async def _payload(api: ApiClient, answer: Answer) -> dict[str, Any]:
    assert answer.status == 202, answer.body
    run = (await api.call("GET", f"/workflows/runs/{answer.json['run_id']}")).json
    assert (run["trigger_type"], run["status"]) == ("webhook", "pending")
    payload: dict[str, Any] = run["trigger_payload"]
    return payload


async def test_webhook_starts_a_durable_run_without_a_token(api: ApiClient) -> None:
    """202 with the run's id alone; the payload holds body, headers, query, method and time."""
    _, path = await _hook(api)
    answer = await _sent(api, f"{path}?a=1&b=2&a=3", b'{"x": 1}', "application/json", **{"X-Kind": "push"})
    assert set(answer.json) == {"run_id"}
    payload = await _payload(api, answer)
    assert set(payload) == {"webhook_payload", "headers", "query", "method", "received_at"}
    assert payload["webhook_payload"] == {"x": 1}
    assert payload["query"] == {"a": ["1", "3"], "b": "2"}
    assert payload["headers"]["x-kind"] == "push"
    assert payload["method"] == "POST"
    assert payload["received_at"].endswith("Z")


async def test_credentials_in_headers_are_redacted(api: ApiClient) -> None:
    """Authorization, cookies, signatures and tokens of a request are never stored."""
    _, path = await _hook(api)
    names = ("Authorization", "Cookie", "X-Hub-Signature-256", "Stripe-Signature", "X-Gitlab-Token", "X-Api-Key")
    answer = await _sent(api, path, b"{}", **dict.fromkeys(names, "s3cr3t"))
    headers = (await _payload(api, answer))["headers"]
    assert {headers[name.lower()] for name in names} == {"[redacted]"}
    async with api.api.services.pool.acquire() as connection:
        assert "s3cr3t" not in await connection.fetchval("SELECT trigger_payload FROM runs")


@pytest.mark.parametrize(
    ("body", "content_type", "expected"),
    [
        (b"[1, null]", "application/vnd.github+json; charset=utf-8", [1, None]),
        (b'{"a":1}', None, {"a": 1}),
        (b"", "application/json", None),
        (b"a=1&b=&a=%C3%A4", "application/x-www-form-urlencoded", {"a": ["1", "ä"], "b": ""}),
        ("grüß".encode("latin-1"), "text/plain; charset=latin-1", "grüß"),
        (b"a\x00b", "text/plain", "a\x00b"),
        (b"<a/>", "application/xml", "<a/>"),
        (b"\x00\xff\x10", "application/octet-stream", base64.b64encode(b"\x00\xff\x10").decode()),
        (b"\x89PNG", "image/png", base64.b64encode(b"\x89PNG").decode()),
    ],
)
async def test_bodies_become_payloads(api: ApiClient, body: bytes, content_type: str | None, expected: Any) -> None:
    """JSON, forms and text are kept as values, binary as base64, nothing as null."""
    _, path = await _hook(api)
    answer = await _sent(api, path, body, content_type)
    assert (await _payload(api, answer))["webhook_payload"] == expected


async def test_multipart_forms_keep_files_as_base64(api: ApiClient) -> None:
    """Fields of a multipart form are values; a file is an object with name, type and content."""
    _, path = await _hook(api)
    form = aiohttp.FormData()
    form.add_field("name", "Ada")
    form.add_field("file", b"\x00\x01", filename="a.bin", content_type="application/octet-stream")
    answer = await api.call("POST", path, token="", data=form)
    assert (await _payload(api, answer))["webhook_payload"] == {
        "name": "Ada",
        "file": {"filename": "a.bin", "content_type": "application/octet-stream", "base64": "AAE="},
    }


async def test_odd_characters_come_back(api: ApiClient) -> None:
    """NUL and lone surrogates in JSON are accepted and come back byte for byte."""
    _, path = await _hook(api)
    body = b'{"nul":"\\u0000","half":"\\udc00","\\ud800":[1.50, 1e5]}'
    answer = await _sent(api, path, body, "application/json")
    assert answer.status == 202
    read = await api.call("GET", f"/workflows/runs/{answer.json['run_id']}")
    assert body in read.body


@pytest.mark.parametrize(
    ("body", "content_type", "status", "code"),
    [
        (b'{"a": }', "application/json", 400, "malformed_json"),
        (b"\xff\xfe{}", "application/json", 400, "malformed_json"),
        (b'{"a": NaN}', "application/json", 400, "malformed_json"),
        (b'{"a": 1e999}', "application/json", 400, "malformed_json"),
        (b"[" * 500 + b"]" * 500, "application/json", 400, "json_too_deep"),
        (b"\xff", "text/plain", 400, "malformed_body"),
        (b"x", "text/plain; charset=klingon", 415, "unsupported_media_type"),
        (b"x", "text/plain; charset=punycode", 415, "unsupported_media_type"),
        (b"a=1", "application/x-www-form-urlencoded; charset=idna", 415, "unsupported_media_type"),
        (b"x", "nonsense", 415, "unsupported_media_type"),
        (b"--x", "multipart/form-data", 400, "malformed_body"),
        (b'"' + b"x" * 2_000 + b'"', "application/json", 413, "body_too_large"),
    ],
)
async def test_bodies_that_are_not_taken(make_api: Any, body: bytes, content_type: str, status: int, code: str) -> None:
    """A body that is not what it says is 400, one that says nothing known 415, a large one 413; nothing is stored."""
    api: ApiClient = await make_api(webhook_max_bytes=1024)
    _, path = await _hook(api)
    answer = await _sent(api, path, body, content_type)
    assert (answer.status, answer.json["code"]) == (status, code)
    async with api.api.services.pool.acquire() as connection:
        assert await connection.fetchval("SELECT count(*) FROM runs") == 0


async def test_a_streamed_body_has_the_same_limit(make_api: Any) -> None:
    """A chunked body that grows past the limit is 413, without a Content-Length to tell."""
    api: ApiClient = await make_api(webhook_max_bytes=1024)
    _, path = await _hook(api)

    async def chunks() -> Any:
        for _ in range(20):
            yield b"x" * 100

    answer = await api.call("POST", path, token="", data=chunks(), headers={"Content-Type": "text/plain"})
    assert answer.status == 413


async def test_malformed_json_names_the_place(api: ApiClient) -> None:
    """The message says in which line and column reading stopped."""
    _, path = await _hook(api)
    answer = await _sent(api, path, b'{\n  "a": 1,\n}', "application/json")
    assert "line 3, column 1" in answer.json["message"]


async def test_who_is_not_there_is_told_apart(api: ApiClient) -> None:
    """An unknown token and a workflow with another trigger are 404, an inactive workflow is 409."""
    unknown = await _sent(api, "/workflows/webhooks/whsec_" + "x" * 43, b"{}")
    assert (unknown.status, unknown.json["code"]) == (404, "webhook_not_found")
    made, path = await _hook(api, is_active=False)
    assert (await _sent(api, path, b"{}")).json["code"] == "workflow_inactive"
    nodes = [{**made["nodes"][0], "data": {"componentId": "manual_trigger"}}, made["nodes"][1]]
    await api.call("PUT", f"/workflows/{made['id']}", {"nodes": nodes, "is_active": True})
    assert (await _sent(api, path, b"{}")).status == 404


async def test_a_remembered_target_is_checked_again(api: ApiClient) -> None:
    """Deactivating bites at once although the token was looked up just now; so does activating again."""
    made, path = await _hook(api)
    assert (await _sent(api, path, b"{}")).status == 202
    await api.call("PUT", f"/workflows/{made['id']}", {"is_active": False})
    assert (await _sent(api, path, b"{}")).status == 409
    await api.call("PUT", f"/workflows/{made['id']}", {"is_active": True})
    assert (await _sent(api, path, b"{}")).status == 202
    await api.call("DELETE", f"/workflows/{made['id']}")
    assert (await _sent(api, path, b"{}")).status == 404


async def test_a_trigger_that_became_another_is_no_webhook(api: ApiClient) -> None:
    """A token that was looked up just now starts nothing once its workflow has a trigger of another kind."""
    made, path = await _hook(api)
    assert (await _sent(api, path, b"{}")).status == 202
    nodes = [{**made["nodes"][0], "data": {"componentId": "manual_trigger"}}, made["nodes"][1]]
    await api.call("PUT", f"/workflows/{made['id']}", {"nodes": nodes})
    assert (await _sent(api, path, b"{}")).status == 404
    await api.call("PUT", f"/workflows/{made['id']}", {"nodes": made["nodes"]})
    assert (await _sent(api, path, b"{}")).status == 202


async def test_concurrent_requests_each_make_a_run(api: ApiClient) -> None:
    """Many requests at once each get a run of their own."""
    _, path = await _hook(api)
    answers = await asyncio.gather(*(_sent(api, path, b"{}") for _ in range(50)))
    assert len({msgspec.json.decode(answer.body)["run_id"] for answer in answers}) == 50


async def test_outcomes_are_counted(api: ApiClient) -> None:
    """Every request counts under its outcome."""

    def counted(outcome: str) -> float:
        return REGISTRY.get_sample_value("edgewise_webhook_requests_total", {"outcome": outcome}) or 0.0

    _, path = await _hook(api)
    before = {name: counted(name) for name in ("accepted", "not_found", "invalid")}
    await _sent(api, path, b"{}")
    await _sent(api, "/workflows/webhooks/nobody", b"{}")
    await _sent(api, path, b"{", "application/json")
    assert {name: counted(name) - value for name, value in before.items()} == dict.fromkeys(before, 1.0)


async def test_the_token_is_never_logged(api: ApiClient, caplog: pytest.LogCaptureFixture) -> None:
    """Neither a request that works nor one that breaks the service leaves the token in the log."""
    caplog.set_level(logging.DEBUG)
    _, path = await _hook(api)
    secret = path.rpartition("/")[2]
    await _sent(api, path, b"{}")
    await api.api.services.pool.close()
    assert (await _sent(api, path, b"{}")).status == 503
    assert secret not in caplog.text
