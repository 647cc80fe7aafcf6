"""The GraphQL node against an HTTP server: what it sends, and what it makes of every kind of answer."""

from typing import Any

import pytest
from aiohttp import web

from tests.outward import KEY, called, failure_of, faults_of, serving, silent

QUERY = "query Site($id: ID!) { site(id: $id) { name } }"


class Endpoint:
    """Gives one answer and keeps the last request."""

    def __init__(self, body: Any = None, status: int = 200) -> None:
        self.body = {"data": {"site": {"name": "Cape"}}} if body is None else body
        self.status = status
        self.got: dict[str, Any] = {}
        self.headers: dict[str, str] = {}

    async def __call__(self, request: web.Request) -> web.Response:
        self.got, self.headers = await request.json(), dict(request.headers)
        if isinstance(self.body, str):
            return web.Response(text=self.body, status=self.status)
        return web.json_response(self.body, status=self.status)


async def test_sends_query_and_variables() -> None:
    """The document goes out as written, the variables beside it with their types, and the data come back."""
    endpoint = Endpoint()
    async with serving(endpoint) as url:
        data = {"url": f"{url}/graphql", "query": QUERY, "variables": {"id": "{{ n1.id }}"}, "operation_name": "Site"}
        outcome = await called("graphql_request", data, {"n1": {"id": 7}})
    assert endpoint.got == {"query": QUERY, "variables": {"id": 7}, "operationName": "Site"}
    assert endpoint.headers["Content-Type"] == "application/json"
    assert endpoint.headers["Accept"].startswith("application/graphql-response+json")
    assert endpoint.headers["Idempotency-Key"] == KEY
    assert outcome.output["data"] == {"site": {"name": "Cape"}}
    assert (outcome.output["status"], outcome.output["errors"]) == (200, [])


async def test_no_value_reaches_the_document() -> None:
    """A value that looks like GraphQL stays a variable, and a template in the document is refused when saved."""
    endpoint = Endpoint()
    async with serving(endpoint) as url:
        data = {"url": url, "query": QUERY, "variables": {"id": "{{ n1.id }}"}}
        await called("graphql_request", data, {"n1": {"id": '7") { name } } mutation { drop(id: "1'}})
    assert endpoint.got["query"] == QUERY
    ((path, message),) = faults_of("graphql_request", {"url": "https://a.test/", "query": '{ a(id: "{{ n1.id }}") }'})
    assert path == "d.query"
    assert "takes no template" in message


async def test_authorization_is_sent_and_not_logged() -> None:
    """A token goes out in its header; the log entry shows neither it nor leaves the body out."""
    endpoint = Endpoint()
    async with serving(endpoint) as url:
        data = {"url": url, "query": QUERY, "headers": {"Authorization": "Bearer t0ken"}}
        outcome = await called("graphql_request", data)
    assert endpoint.headers["Authorization"] == "Bearer t0ken"
    assert "t0ken" not in str(outcome.step_input)
    assert "query Site" in outcome.step_input["body"]


async def test_errors_fail_the_step() -> None:
    """A 200 with errors is a failure that carries the first message, unless the author allows errors."""
    endpoint = Endpoint({"data": None, "errors": [{"message": "no such site"}, {"message": "other"}]})
    async with serving(endpoint) as url:
        error = await failure_of("graphql_request", {"url": url, "query": QUERY})
        outcome = await called("graphql_request", {"url": url, "query": QUERY, "allow_errors": True})
    assert (error.code, error.category) == ("graphql_failed", "error")
    assert error.message == "GraphQL request failed: no such site"
    assert (error.http_status, "other" in error.body) == (200, True)
    assert [each["message"] for each in outcome.output["errors"]] == ["no such site", "other"]


@pytest.mark.parametrize(("status", "category"), [(503, "5xx"), (401, "4xx"), (429, "429")])
async def test_a_status_fails_the_step(status: int, category: str) -> None:
    """The category of a status is that of the HTTP node, so the same retry rules hold."""
    async with serving(Endpoint({"errors": []}, status)) as url:
        error = await failure_of("graphql_request", {"url": url, "query": QUERY})
    assert (error.code, error.category, error.http_status) == ("graphql_failed", category, status)
    assert error.message.startswith(f"GraphQL request failed: {status} ")


@pytest.mark.parametrize("body", ["<html>", "[1]", {"message": "hello"}, {"errors": "bad"}])
async def test_what_is_no_answer_is_told(body: Any) -> None:
    """A page, or JSON of another kind, is no GraphQL answer."""
    async with serving(Endpoint(body)) as url:
        error = await failure_of("graphql_request", {"url": url, "query": QUERY})
    assert (error.code, error.category) == ("invalid_response", "error")


async def test_time_is_limited() -> None:
    """An endpoint that never answers fails with a timeout."""
    async with silent() as port:
        error = await failure_of("graphql_request", {"url": f"http://127.0.0.1:{port}/", "query": QUERY}, seconds=0.3)
    assert (error.code, error.category) == ("timeout", "timeout")


async def test_breaks_in_headers_are_refused() -> None:
    """A constant is a fault when saved, a rendered one fails before anything is sent."""
    bad = {"url": "http://127.0.0.1:9/", "query": QUERY, "headers": {"X-A": "a\r\nb"}}
    assert [path for path, _ in faults_of("graphql_request", bad)] == ["d.headers.X-A"]
    error = await failure_of("graphql_request", {**bad, "headers": {"X-A": "{{ n1.x }}"}}, {"n1": {"x": "a\nb"}})
    assert error.code == "invalid_header"
