"""The HTTP request node: what it sends, and what it makes of answers."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pytest

from shared.egress.interface import EgressResponse
from shared.errors import StepFailedError
from shared.nodes.base import Outcome, StepContext
from shared.nodes.registry import default_registry
from tests.compiling import compile_node

NOW = datetime(2025, 10, 31, 12, tzinfo=UTC)
JSON = (("Content-Type", "application/json"),)


class FakeEgress:
    """Gives one answer, or fails in one way, and keeps what it was sent."""

    def __init__(self, answer: EgressResponse | StepFailedError) -> None:
        self.answer = answer
        self.sent: dict[str, Any] = {}

    async def request(
        self, method: str, url: str, *, headers: Sequence[tuple[str, str]] = (), body: bytes | None = None, **rest: Any
    ) -> EgressResponse:
        self.sent = {"method": method, "url": url, "headers": list(headers), "body": body, **rest}
        if isinstance(self.answer, StepFailedError):
            raise self.answer
        return self.answer


def answer(
    status: int = 200, body: bytes = b"", headers: tuple[tuple[str, str], ...] = (), reason: str = "OK"
) -> EgressResponse:
    return EgressResponse(status, reason, headers, body, "https://example.com/", 12)


async def run(data: dict[str, Any], egress: FakeEgress, scope: dict[str, Any] | None = None) -> Outcome:
    """Send the request that a node with this data sends."""
    node = compile_node("n2", "webhook", {"method": "POST", "url": "https://example.com/a", **data})
    return await node.call(scope or {}, StepContext("r", "n2", "-", 1, "r:n2:-", NOW, 7.5, egress))


async def sent(data: dict[str, Any], scope: dict[str, Any] | None = None) -> dict[str, Any]:
    """What a node with this data sends."""
    egress = FakeEgress(answer())
    await run(data, egress, scope)
    return egress.sent


async def failed(egress: FakeEgress, **data: Any) -> StepFailedError:
    """How the step fails."""
    with pytest.raises(StepFailedError) as caught:
        await run(data, egress)
    return caught.value


async def test_sends_a_json_body() -> None:
    """Values are put into the body safely; content type and key are added; the step's timeout is the request's."""
    request = await sent({"body": '{"a": "{{ n1.x }}", "b": {{ n1.x }}}'}, {"n1": {"x": '"\ud800'}})
    assert request["body"] == b'{"a": "\\"\\ud800", "b": "\\"\\ud800"}'
    assert request["headers"] == [("Content-Type", "application/json"), ("Idempotency-Key", "r:n2:-")]
    assert (request["timeout"], request["follow_redirects"], request["verify_tls"]) == (7.5, True, True)


@pytest.mark.parametrize(
    ("data", "body", "content_type"),
    [
        ({"body": {"a": "{{ n1.x }}"}}, b'{"a":[1,"\xc3\xab&"]}', "application/json"),
        ({"body": "{{ n1.x }}"}, b'[1,"\xc3\xab&"]', "application/json"),
        ({"body": [1, None]}, b"[1,null]", "application/json"),
        (
            {"body": {"a": "{{ n1.x[1] }}", "b": ["1", True]}, "body_type": "form"},
            b"a=%C3%AB%26&b=1&b=true",
            "application/x-www-form-urlencoded",
        ),
        (
            {"body": "a={{ n1.x[1] | url_encode }}", "body_type": "form"},
            b"a=%C3%AB%26",
            "application/x-www-form-urlencoded",
        ),
        ({"body": 'say "{{ n1.x[1] }}"', "body_type": "text"}, b'say "\xc3\xab&"', "text/plain; charset=utf-8"),
        ({"body": ""}, None, None),
        ({}, None, None),
    ],
)
async def test_body_types(data: dict[str, Any], body: bytes | None, content_type: str | None) -> None:
    """Objects and text become the bytes and the content type of their kind; nothing stays nothing."""
    request = await sent(data, {"n1": {"x": [1, "ë&"]}})
    assert request["body"] == body
    assert dict(request["headers"]).get("Content-Type") == content_type


@pytest.mark.parametrize(
    "headers", [[{"key": "idempotency-key", "value": "{{ n1.k }}"}], {"idempotency-key": "{{ n1.k }}"}]
)
async def test_own_headers_win(headers: Any) -> None:
    """Headers come as a list or an object, and the author's own key and content type stand."""
    request = await sent({"headers": headers, "body": "{}"}, {"n1": {"k": 5}})
    assert request["headers"] == [("idempotency-key", "5"), ("Content-Type", "application/json")]


@pytest.mark.parametrize(
    ("url", "query", "expected"),
    [
        ("https://example.com/a", {"q": "{{ n1.x }}", "n": 5}, "https://example.com/a?q=a%26b+c&n=5"),
        ("https://example.com/a?x=1#f", [{"key": "q", "value": "v"}], "https://example.com/a?x=1&q=v#f"),
        ("https://example.com/{{ n1.x | url_encode }}", {"l": [1, 2]}, "https://example.com/a%26b+c?l=1&l=2"),
        ("https://example.com/a", {}, "https://example.com/a"),
    ],
)
async def test_query(url: str, query: Any, expected: str) -> None:
    """Parameters are encoded and added to what the URL has."""
    assert (await sent({"url": url, "query": query}, {"n1": {"x": "a&b c"}}))["url"] == expected


@pytest.mark.parametrize("value", ["a\r\nX-Evil: 1", "a\nb", "a\x00", "\ud800"])
async def test_headers_cannot_be_split(value: str) -> None:
    """A header value that a template gives may hold no line break, NUL or lone surrogate: nothing is sent."""
    egress = FakeEgress(answer())
    with pytest.raises(StepFailedError) as caught:
        await run({"headers": {"X-A": "{{ n1.v }}"}}, egress, {"n1": {"v": value}})
    assert caught.value.code == "invalid_header"
    assert not egress.sent


@pytest.mark.parametrize(
    ("response", "headers", "body", "expected"),
    [
        ("auto", JSON, b'{"a":1}', {"a": 1}),
        ("auto", (("content-type", "application/problem+json; charset=utf-8"),), b"[]", []),
        ("auto", JSON, b"oops", "oops"),
        ("auto", JSON, b'"\\ud800"', "\ud800"),
        ("auto", (("Content-Type", "text/html; charset=latin-1"),), b"\xeb", "ë"),
        ("auto", (("Content-Type", "text/plain; charset=nonsense"),), b"\xff", "\ufffd"),
        ("auto", (("Content-Type", "image/png"),), b"\x89PNG\xff", "iVBOR/8="),
        ("auto", (), b"", None),
        ("text", JSON, b'{"a":1}', '{"a":1}'),
        ("json", (), b'{"a":1}', {"a": 1}),
        ("binary", JSON, b"ab", "YWI="),
    ],
)
async def test_reads_answers(response: str, headers: Any, body: bytes, expected: Any) -> None:
    """The answer's body is read as the node says, or as its content type does."""
    outcome = await run({"response": response}, FakeEgress(answer(201, body, headers)))
    assert outcome.output["body"] == expected
    assert outcome.output["status"] == 201
    assert outcome.output["duration_ms"] == 12


async def test_answer_headers_have_lower_case_names() -> None:
    """Headers are found whatever the other side's case; those that repeat are joined."""
    headers = (("X-A", "1"), ("x-a", "2"), ("ETag", "e"))
    assert (await run({}, FakeEgress(answer(200, b"", headers)))).output["headers"] == {"x-a": "1, 2", "etag": "e"}


async def test_an_answer_that_is_no_json_fails() -> None:
    """A body that should be JSON and is not fails the step, with the beginning of the body."""
    error = await failed(FakeEgress(answer(200, b"<html>")), response="json")
    assert (error.code, error.http_status, error.body) == ("invalid_response", 200, "<html>")


@pytest.mark.parametrize(
    ("status", "reason", "category"),
    [
        (503, "Service Unavailable", "5xx"),
        (503, "", "5xx"),
        (429, "Too Many Requests", "429"),
        (404, "Not Found", "4xx"),
        (302, "Found", "error"),
    ],
)
async def test_statuses_that_fail(status: int, reason: str, category: str) -> None:
    """A status that is no success fails the step with the status line, the category and the first 2 KB of the body."""
    error = await failed(FakeEgress(answer(status, b"x" * 5000, reason=reason)))
    phrase = reason or "Service Unavailable"
    assert error.message == f"Webhook request failed: {status} {phrase}"
    assert (error.code, error.category, error.http_status) == ("webhook_failed", category, status)
    assert error.body == "x" * 2048


async def test_success_is_configurable() -> None:
    """The statuses given count as success, and no others."""
    assert (await run({"success": [404]}, FakeEgress(answer(404)))).output["status"] == 404
    assert (await failed(FakeEgress(answer(200)), success=[404])).http_status == 200


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("120", 120.0),
        ("Fri, 31 Oct 2025 12:01:30 GMT", 90.0),
        ("Fri, 31 Oct 2025 11:00:00 GMT", 0.0),
        ("99999999999", 365 * 86_400.0),
        ("soon", None),
        ("-5", None),
        ("", None),
    ],
)
async def test_retry_after(text: str, seconds: float | None) -> None:
    """What the other side asks to wait is read as seconds or as a date."""
    error = await failed(FakeEgress(answer(429, b"", (("Retry-After", text),))))
    assert error.retry_in == seconds


async def test_input_for_the_log() -> None:
    """The log entry shows the request without credentials, of failures too."""
    data = {
        "url": "https://user:pass@example.com/a?b=1@2",
        "headers": {"Authorization": "Bearer secret", "X-A": "b"},
        "body": '"' + "x" * 5000 + '"',
    }
    outcome = await run(data, FakeEgress(answer()))
    assert outcome.step_input["url"] == "https://example.com/a?b=1@2"
    assert outcome.step_input["headers"]["Authorization"] == "[redacted]"
    assert outcome.step_input["headers"]["X-A"] == "b"
    assert len(outcome.step_input["body"]) == 2048
    error = await failed(FakeEgress(StepFailedError("timeout", "late", category="timeout")), **data)
    assert error.category == "timeout"
    assert error.step_input == outcome.step_input


@pytest.mark.parametrize(
    ("data", "paths"),
    [
        ({"url": "ftp://example.com"}, ["d.url"]),
        ({"url": "https://{{ n1.host }}/"}, []),
        ({"method": "FETCH", "url": 5, "succes": [200]}, ["d.succes", "d.method", "d.url"]),
        ({"headers": {"X-A": "a\nb", "B@d": "1", "Ok": "{{ n1.x }}"}}, ["d.headers.X-A", "d.headers.B@d"]),
        (
            {"headers": [{"key": "A", "value": 1}, {"key": "B", "value": []}, {"value": "x"}]},
            ["d.headers[1].value", "d.headers[2].key"],
        ),
        ({"body": '{"a": }'}, ["d.body"]),
        ({"body": "plain", "body_type": "text"}, []),
        ({"body": {"a": 1}, "body_type": "text"}, ["d.body"]),
        ({"body": [1], "body_type": "form"}, ["d.body"]),
        ({"success": [200, 999]}, ["d.success[1]"]),
        ({"verify_tls": "yes"}, ["d.verify_tls"]),
        ({"headers": {"A": "{{ vault.key }}"}, "verify_tls": "{{ vault.key }}"}, ["d.verify_tls"]),
    ],
)
def test_faults(data: dict[str, Any], paths: list[str]) -> None:
    """Everything that is wrong with a request is found when it is saved, each fault at its path."""
    whole = {"method": "GET", "url": "https://example.com/", **data}
    found, _ = default_registry().check("webhook", whole, "d")
    assert [fault.path for fault in found] == paths
