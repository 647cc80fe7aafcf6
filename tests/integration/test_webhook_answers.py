"""What webhooks answer: responses that authors write, and the handshakes of senders."""

import hmac
import json
import time
from typing import Any

from prometheus_client import REGISTRY

from tests.api_client import Answer, ApiClient
from tests.hooks import SECRET, hook, keep_secret, runs, send, told


async def test_the_response_is_the_author_s(api: ApiClient) -> None:
    """Status, body and type, with what the request and the run are; no browser takes it for a page."""
    body = {"ok": True, "run": "{{ run_id }}", "echo": "{{ body.n }}", "how": "{{ method }}"}
    _, path = await hook(api, response={"status": 200, "body": body})
    answer = await send(api, path, {"n": [1, 2]})
    assert answer.status == 200
    assert answer.json == {"ok": True, "run": answer.json["run"], "echo": [1, 2], "how": "POST"}
    assert answer.json["run"].startswith("fl_run_")
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    _, text = await hook(api, response={"status": 201, "body": "<b>{{ query.q }}</b>", "content_type": "text/html"})
    answer = await send(api, f"{text}?q=%00%F0%9F%98%80")
    assert (answer.status, answer.body) == (201, b"<b>\x00\xf0\x9f\x98\x80</b>")
    assert answer.headers["Content-Type"] == "text/html"
    assert "sandbox" in answer.headers["Content-Security-Policy"]
    _, empty = await hook(api, response={"status": 204})
    answer = await send(api, empty)
    assert (answer.status, answer.body) == (204, b"")


async def test_a_response_that_fails_leaves_the_run_as_it_is(api: ApiClient) -> None:
    """The caller gets the usual answer, for the run is there."""
    _, path = await hook(api, response={"body": "{{ body.n.m }}"})
    answer = await send(api, path, {"n": 1})
    assert (answer.status, await runs(api)) == (202, 1)
    assert set(answer.json) == {"run_id"}


async def test_slow_templates_hold_up_nobody(api: ApiClient) -> None:
    """All of a request's together have 50 ms; then it counts as new, and is told of its run in the usual way."""
    slow = "{% for a in (1..300) %}{% for b in (1..300) %}{% if body.n == 2 %}{% endif %}{% endfor %}{% endfor %}"
    _, path = await hook(api, dedupe=f"{slow}{{{{ body.n }}}}", response={"body": [f"{slow}{{{{ run_id }}}}"] * 100})
    failed = [_failed("dedupe"), _failed("response")]
    began = time.thread_time()
    answers = [await send(api, path, {"n": 1}) for _ in range(2)]
    assert time.thread_time() - began < 0.7
    assert [answer.status for answer in answers] == [202, 202]
    assert answers[0].json["run_id"] != answers[1].json["run_id"]
    assert [_failed("dedupe") - failed[0], _failed("response") - failed[1]] == [2, 2]


async def test_a_response_has_a_largest_size(api: ApiClient) -> None:
    """However often it names the request's body."""
    _, path = await hook(api, response={"body": ["{{ body }}"] * 100})
    assert (await send(api, path, {"text": "x" * 1_000})).status == 200
    answer = await send(api, path, {"text": "x" * 20_000})
    assert (answer.status, set(answer.json)) == (202, {"run_id"})


def _failed(operation: str) -> float:
    return REGISTRY.get_sample_value("edgewise_webhook_templates_failed_total", {"operation": operation}) or 0.0


async def test_slack_s_challenge_is_answered_when_it_is_signed(api: ApiClient) -> None:
    """It starts no run; an unsigned one is 401, and an event of Slack's starts one."""
    await keep_secret(api, "the-item", SECRET)
    _, path = await hook(api, signature={"scheme": "slack", "secret": "the-item"})
    now = str(int(api.api.services.clock.time()))

    async def ask(value: Any, secret: str = SECRET) -> Answer:
        body = json.dumps(value).encode()
        signature = hmac.new(secret.encode(), b"v0:" + now.encode() + b":" + body, "sha256").hexdigest()
        headers = {"X-Slack-Request-Timestamp": now, "X-Slack-Signature": f"v0={signature}"}
        return await send(api, path, body, **headers)

    asked = {"type": "url_verification", "token": "x", "challenge": "<3eZbrw1a>"}
    answer = await ask(asked)
    assert (answer.status, answer.json) == (200, {"challenge": "<3eZbrw1a>"})
    assert answer.headers["Content-Type"] == "application/json"
    assert told(await ask(asked, "wrong")) == (401, "signature_wrong")
    assert told(await ask({**asked, "challenge": "x" * 5000})) == (400, "handshake_invalid")
    assert await runs(api) == 0
    assert (await ask({"type": "event_callback"})).status == 202
    assert (await ask(["url_verification"])).status == 202


async def test_microsoft_graph_gets_its_token_back(api: ApiClient) -> None:
    """As plain text that no browser makes a page of, within limits; a notification starts a run."""
    _, path = await hook(api, handshake="microsoft_graph")
    asked = "Validation: Testing client application reachability for subscription Request-Id: 1-2"
    answer = await api.call("POST", path, token="", params={"validationToken": asked})
    assert (answer.status, answer.body.decode()) == (200, asked)
    assert answer.headers["Content-Type"].startswith("text/plain")
    answer = await api.call("POST", path, token="", params={"validationToken": "<script>alert(1)</script>"})
    assert b"<" not in answer.body
    for token in ("", "x" * 1025, "a\r\nb"):
        answer = await api.call("POST", path, token="", params={"validationToken": token})
        assert told(answer) == (400, "handshake_invalid")
    assert await runs(api) == 0
    assert (await send(api, path, {"value": []})).status == 202
    _, plain = await hook(api)
    assert (await api.call("POST", plain, token="", params={"validationToken": "x"})).status == 202
