"""The AI node against a server on this machine that speaks the chat completions protocol, errors and all."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web

from shared.egress.client import EgressClient
from tests.outward import RUN_ID, call, failed, fault_codes, step

SCHEMA = {
    "type": "object",
    "properties": {"mood": {"enum": ["good", "bad"]}, "stars": {"type": "integer", "minimum": 1}},
    "required": ["mood"],
    "additionalProperties": False,
}


class Llm:
    """A server of the protocol; it answers with what was put into it, and keeps what it was asked."""

    def __init__(self) -> None:
        self.url = ""
        self.asked: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.paths: list[str] = []
        self.reply: tuple[int, Any, dict[str, str]] = (200, None, {})

    def says(self, content: Any, finish_reason: str = "stop", **message: Any) -> None:
        """Answer with one message."""
        self.answers(
            200,
            {
                "id": "chatcmpl-1",
                "object": "chat.completion",
                "created": 1,
                "model": "small-2025",
                "choices": [
                    {
                        "index": 0,
                        "message": {"role": "assistant", "content": content, **message},
                        "finish_reason": finish_reason,
                    }
                ],
                "usage": {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12},
            },
        )

    def answers(self, status: int, body: Any, **headers: str) -> None:
        """Answer with anything."""
        self.reply = (status, body, headers)

    async def handle(self, request: web.Request) -> web.Response:
        self.asked.append(json.loads(await request.read()))
        self.headers.append(dict(request.headers))
        self.paths.append(request.path_qs)
        status, body, headers = self.reply
        sent = body.encode() if isinstance(body, str) else json.dumps(body).encode()
        kind = "text/html" if isinstance(body, str) else "application/json"
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return web.Response(status=status, body=sent, content_type=kind, headers=named)


@pytest.fixture
async def llm() -> AsyncIterator[Llm]:
    """A running server."""
    one = Llm()
    app = web.Application()
    app.router.add_post("/{path:.*}", one.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    one.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    yield one
    await runner.cleanup()


def data(llm: Llm, **more: Any) -> dict[str, Any]:
    return {"base_url": llm.url, "model": "small", "prompt": "Hi {{ n1.name }}", "api_key": "sk-very-secret", **more}


async def ask(llm: Llm, egress: EgressClient, **more: Any) -> dict[str, Any]:
    return (await call("ai_text_transform", data(llm, **more), step(egress), n1={"name": "Ada"})).output


async def fails(llm: Llm, egress: EgressClient, **more: Any) -> Any:
    return await failed("ai_text_transform", data(llm, **more), step(egress), n1={"name": "Ada"})


async def test_text(llm: Llm, egress: EgressClient) -> None:
    """The answer's text comes with what it cost; the request does not stream, and carries key and idempotency key."""
    llm.says("Hello Ada")
    assert await ask(llm, egress, system="Be kind.", temperature=0, max_tokens=50, options={"top_p": 0.5}) == {
        "result": "Hello Ada",
        "model": "small-2025",
        "finish_reason": "stop",
        "usage": {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12},
    }
    assert llm.asked == [
        {
            "model": "small",
            "messages": [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hi Ada"}],
            "stream": False,
            "temperature": 0,
            "max_tokens": 50,
            "top_p": 0.5,
        }
    ]
    assert llm.paths == ["/v1/chat/completions"]
    assert llm.headers[0]["Authorization"] == "Bearer sk-very-secret"
    assert llm.headers[0]["Idempotency-Key"] == f"{RUN_ID}:n2:-"


async def test_the_key_stays_out_of_the_log(llm: Llm, egress: EgressClient) -> None:
    """The log entry shows what was asked, and no key, whether the step ended well or not."""
    llm.says("Hello")
    outcome = await call("ai_text_transform", data(llm), step(egress), n1={"name": "Ada"})
    llm.answers(401, {"error": {"message": "Incorrect API key provided."}})
    error = await fails(llm, egress)
    for shown in (outcome.step_input, error.step_input):
        assert "Hi Ada" in shown["body"]
        assert "very-secret" not in str(shown)


@pytest.mark.parametrize(
    ("base", "headers", "path"),
    [("/", {}, "/v1/chat/completions"), ("/x?api-version=1", {"api-key": "k"}, "/v1/x/chat/completions?api-version=1")],
)
async def test_other_places(llm: Llm, egress: EgressClient, base: str, headers: dict[str, str], path: str) -> None:
    """A base URL may end in a slash or a query, and a server may want its key elsewhere."""
    llm.says("ok")
    await ask(llm, egress, base_url=llm.url + base, headers=headers, api_key="")
    assert llm.paths == [path]
    assert "Authorization" not in llm.headers[0]
    assert llm.headers[0].items() >= headers.items()


@pytest.mark.parametrize("mode", ["json_schema", "json_object", "prompt"])
async def test_a_value_that_fits(llm: Llm, egress: EgressClient, mode: str) -> None:
    """With a schema the result is the value; the server is told in the way that it knows."""
    llm.says('{"mood": "good", "stars": 5}')
    assert (await ask(llm, egress, output_schema=SCHEMA, schema_mode=mode))["result"] == {"mood": "good", "stars": 5}
    (asked,) = llm.asked
    told = asked["messages"][0]["content"]
    if mode == "json_schema":
        assert asked["response_format"] == {
            "type": "json_schema",
            "json_schema": {"name": "output", "schema": SCHEMA},
        }
        assert told == "Hi Ada"
    else:
        assert json.dumps(SCHEMA, separators=(",", ":")) in told
        assert asked.get("response_format") == ({"type": "json_object"} if mode == "json_object" else None)


async def test_a_fenced_value(llm: Llm, egress: EgressClient) -> None:
    """Models like to put JSON into a Markdown fence."""
    llm.says('\n```json\n{"mood": "bad"}\n```\n')
    assert (await ask(llm, egress, output_schema=SCHEMA))["result"] == {"mood": "bad"}


@pytest.mark.parametrize(
    ("content", "finish_reason", "told"),
    [
        ('{"mood": "fine"}', "stop", "at .mood: "),
        ("{}", "stop", "'mood' is a required property"),
        ('{"mood": "good", "x": 1}', "stop", "does not fit output_schema"),
        ("Sure! Here it is", "stop", "is no JSON document"),
        ('{"mood": "go', "length", "cut off"),
        ("", "stop", "is no JSON document"),
        ("[" * 100_000, "stop", "is no JSON document"),
    ],
)
async def test_a_value_that_does_not_fit(
    llm: Llm, egress: EgressClient, content: str, finish_reason: str, told: str
) -> None:
    """An answer that is no JSON, or not what the schema says, fails the step and is shown."""
    llm.says(content, finish_reason)
    error = await fails(llm, egress, output_schema=SCHEMA)
    assert (error.code, error.category, error.body) == ("ai_output_invalid", "error", content[:2048])
    assert told in error.message


@pytest.mark.parametrize(
    ("status", "body", "category", "told"),
    [
        (
            401,
            {"error": {"message": "Incorrect API key", "code": "invalid_api_key"}},
            "4xx",
            "401 Unauthorized: Incorrect API key",
        ),
        (404, {"error": "model 'x' not found"}, "4xx", "404 Not Found: model 'x' not found"),
        (400, {"object": "error", "message": "too long", "code": 40303}, "4xx", "400 Bad Request: too long"),
        (
            422,
            {"detail": [{"loc": ["body"], "msg": "field required"}]},
            "4xx",
            '[{"loc":["body"],"msg":"field required"}]',
        ),
        (400, [{"error": {"code": 400, "message": "bad key", "status": "INVALID_ARGUMENT"}}], "4xx", "bad key"),
        (500, {"message": {"detail": "oops"}}, "5xx", '{"detail":"oops"}'),
        (502, "<html>Bad gateway</html>", "5xx", "AI request failed: 502 Bad Gateway"),
        (503, {}, "5xx", "AI request failed: 503 Service Unavailable"),
    ],
)
async def test_errors(llm: Llm, egress: EgressClient, status: int, body: Any, category: str, told: str) -> None:
    """Whatever shape an error has, the step's error has its status, its category and its words."""
    llm.answers(status, body)
    error = await fails(llm, egress)
    assert (error.code, error.http_status, error.category) == ("ai_failed", status, category)
    assert told in error.message
    assert error.body == (body if isinstance(body, str) else json.dumps(body))


async def test_a_rate_limit(llm: Llm, egress: EgressClient) -> None:
    """Too many requests have a category of their own, and say when to come back."""
    llm.answers(429, {"error": {"message": "Slow down", "type": "requests"}}, Retry_After="7")
    error = await fails(llm, egress)
    assert (error.category, error.retry_in) == ("429", 7.0)


async def test_an_empty_account(llm: Llm, egress: EgressClient) -> None:
    """An account without money says 429 too, but trying again does not help it."""
    llm.answers(429, {"error": {"message": "You exceeded your quota", "code": "insufficient_quota"}}, Retry_After="7")
    error = await fails(llm, egress)
    assert (error.category, error.retry_in) == ("4xx", None)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"error": {"message": "provider is down", "code": 502}}, "ai_failed"),
        ({"choices": []}, "invalid_response"),
        ({"choices": [{}]}, "invalid_response"),
        ({"choices": "x"}, "invalid_response"),
        ({"choices": [{"message": {"content": None, "tool_calls": []}}]}, "invalid_response"),
        ([1], "invalid_response"),
        ("data: {}\n\n", "invalid_response"),
        ({"choices": [{"message": {"content": None, "refusal": "I will not"}}]}, "ai_refused"),
        ({"choices": [{"message": {"content": "So"}, "finish_reason": "content_filter"}]}, "ai_refused"),
    ],
)
async def test_good_answers_that_are_none(llm: Llm, egress: EgressClient, body: Any, code: str) -> None:
    """A 200 with an error, without a text, or with a refusal fails the step."""
    llm.answers(200, body)
    assert (await fails(llm, egress)).code == code


async def test_text_in_parts(llm: Llm, egress: EgressClient) -> None:
    """A message may come in parts, of which those of text count."""
    llm.says([{"type": "thinking", "text": "hm"}, {"type": "text", "text": "Hello "}, {"type": "text", "text": "Ada"}])
    assert (await ask(llm, egress))["result"] == "Hello Ada"


async def test_a_large_answer(llm: Llm, egress: EgressClient) -> None:
    """An answer over 2 MiB is not read to its end."""
    llm.says("x" * 3_000_000)
    assert (await fails(llm, egress)).code == "response_too_large"


async def test_options_from_a_template(llm: Llm, egress: EgressClient) -> None:
    """Options that a template gives cannot turn streaming on, or change what is asked."""
    llm.says("ok")
    given = data(llm, options="{{ n1.o }}")
    for name in ("stream", "messages", "n"):
        error = await failed("ai_text_transform", given, step(egress), n1={"name": "", "o": {name: True}})
        assert error.code == "invalid_data"
    assert llm.asked == []


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"base_url": "ftp://x"}, [("data.base_url", "invalid_value")]),
        ({"headers": {"a b": "c"}}, [("data.headers.a b", "invalid_value")]),
        ({"options": {"stream": True, "top_p": 1}}, [("data.options.stream", "invalid_value")]),
        ({"output_schema": {"type": "objekt"}}, [("data.output_schema", "invalid_value")]),
        ({"output_schema": {"$ref": "https://example.com/s.json"}}, [("data.output_schema", "invalid_value")]),
        ({"output_schema": "{{ n1.s }}"}, [("data.output_schema", "no_template")]),
        ({"temperature": 3}, [("data.temperature", "invalid_value")]),
        ({"base_url": "{{ n1.url }}", "temperature": "{{ n1.t }}"}, []),
    ],
)
def test_faults_when_saved(change: dict[str, Any], expected: list[tuple[str, str]]) -> None:
    """What cannot work is refused when the workflow is saved."""
    assert fault_codes("ai_text_transform", {"model": "m", "prompt": "p", **change}) == expected
