"""``pagination`` of ``webhook`` against a server whose lists come in pages."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import pytest
from aiohttp import web

from tests.outward import KEY, called, failure_of, faults_of, outward, serving
from tests.trap import INTERNAL

Answer = Callable[[web.Request], Awaitable[web.Response]]


class Listed:
    """A list of seven numbers, three a page; keeps the path, query and headers of what it is asked."""

    def __init__(self, following: Callable[[int], Mapping[str, Any]]) -> None:
        self.following = following
        self.asked: list[str] = []
        self.headers: list[Mapping[str, str]] = []
        self.base = ""

    async def __call__(self, request: web.Request) -> web.Response:
        self.asked.append(request.path_qs)
        self.headers.append(request.headers.copy())
        at = int(request.query.get("at", 0)) or 3 * (int(request.query.get("page", 1)) - 1)
        told = dict(self.following(at + 3)) if at + 3 < 7 else {}
        links = told.pop("link", None)
        body = {"data": {"rows": [*range(at, min(at + 3, 7))]}, **told}
        return web.json_response(body, headers={"Link": links} if links else {})


async def read(listed: Answer, pagination: dict[str, Any], **more: Any) -> dict[str, Any]:
    """The output of a node that reads the list of a server."""
    async with serving(listed) as base:
        if isinstance(listed, Listed):
            listed.base = base
        data = {"method": "GET", "url": f"{base}/rows?k=1", "pagination": {"items": "data.rows", **pagination}, **more}
        output: dict[str, Any] = (await called("webhook", data)).output
        return output


@pytest.mark.parametrize(
    ("pagination", "following", "asked"),
    [
        (
            {"next": "link"},
            lambda at: {"link": f'</other>; rel="prev", </rows?at={at}>; title="a, <b>"; rel="last next"'},
            ["/rows?k=1", "/rows?at=3", "/rows?at=6"],
        ),
        (
            {"next": "cursor", "path": "meta.after", "parameter": "at"},
            lambda at: {"meta": {"after": at}},
            ["/rows?k=1", "/rows?k=1&at=3", "/rows?k=1&at=6"],
        ),
        (
            {"next": "url", "path": "meta.next"},
            lambda at: {"meta": {"next": f"/rows?at={at}"}},
            ["/rows?k=1", "/rows?at=3", "/rows?at=6"],
        ),
        (
            {"next": "page", "parameter": "page"},
            lambda _: {},
            ["/rows?k=1&page=1", "/rows?k=1&page=2", "/rows?k=1&page=3", "/rows?k=1&page=4"],
        ),
    ],
)
async def test_a_list_is_read_to_its_end(
    pagination: dict[str, Any], following: Callable[[int], Mapping[str, Any]], asked: list[str]
) -> None:
    """Whichever way a page names the next one, the body is the items of all, in their order."""
    listed = Listed(following)
    output = await read(listed, pagination)
    assert listed.asked == asked
    assert (output["body"], output["pages"], output["more"]) == ([0, 1, 2, 3, 4, 5, 6], len(asked), False)
    assert (output["status"], output["headers"]["content-type"]) == (200, "application/json; charset=utf-8")


async def test_keys_and_headers_of_pages() -> None:
    """Each page is asked for with the author's headers and a key of its own, unless the author gives one."""
    listed = Listed(lambda at: {"next": f"/rows?at={at}"})
    pagination = {"next": "url", "path": "next"}
    await read(listed, pagination, headers={"X-Team": "a"})
    assert [each["Idempotency-Key"] for each in listed.headers] == [KEY, f"{KEY}:2", f"{KEY}:3"]
    assert {each["X-Team"] for each in listed.headers} == {"a"}
    listed.headers.clear()
    await read(listed, pagination, headers={"idempotency-key": "mine"})
    assert {each["Idempotency-Key"] for each in listed.headers} == {"mine"}


async def test_most_pages() -> None:
    """After the last page that may be read the output says that there is more."""
    listed = Listed(lambda at: {"after": at})
    output = await read(listed, {"next": "cursor", "path": "after", "parameter": "at", "max_pages": 2})
    assert (output["body"], output["pages"], output["more"]) == ([0, 1, 2, 3, 4, 5], 2, True)
    assert len(listed.asked) == 2


async def test_credentials_stay_at_their_origin() -> None:
    """A page at another origin gets neither headers nor body, and can send nobody back with them."""
    seen: list[Mapping[str, str]] = []

    async def other(request: web.Request) -> web.Response:
        seen.append(request.headers.copy())
        return web.json_response({"data": {"rows": ["other"]}, "next": f"{listed.base}/rows?at=6"})

    async with serving(other) as elsewhere:
        listed = Listed(lambda _: {"next": f"{elsewhere}/rows?at=3"})
        headers = {"Authorization": "Bearer s3cret", "X-Mine": "s3cret", "Accept": "application/json"}
        output = await read(listed, {"next": "url", "path": "next"}, headers=headers, body={"key": "s3cret"})
    assert output["body"] == [0, 1, 2, "other", 6]
    assert listed.headers[0]["X-Mine"] == "s3cret"
    for each in (seen[0], listed.headers[1]):
        assert "s3cret" not in str(each)
        assert "Idempotency-Key" not in each
        assert "Content-Length" not in each
        assert each["Accept"] == "application/json"


async def test_a_redirect_takes_no_credentials_back() -> None:
    """Who answers a redirected first page cannot have the second asked for with credentials where the first was."""

    async def other(_: web.Request) -> web.Response:
        return web.json_response({"data": {"rows": ["other"]}, "next": f"{origin}/rows?at=6"})

    async def redirecting(request: web.Request) -> web.Response:
        if "at" in request.query:
            seen.append(request.headers.get("Authorization"))
            return web.json_response({"data": {"rows": []}})
        raise web.HTTPFound(f"{elsewhere}/")

    seen: list[str | None] = []
    async with serving(other) as elsewhere, serving(redirecting) as origin:
        pagination = {"next": "url", "path": "next", "items": "data.rows"}
        data = {"method": "GET", "url": origin, "headers": {"Authorization": "x"}, "pagination": pagination}
        await called("webhook", data)
    assert seen == [None]


@pytest.mark.parametrize(
    "place",
    [
        f"http://{INTERNAL}/",
        "//169.254.169.254/x",
        "file:///etc/passwd",
        "http://user@localhost/",
        "http://[",
        "gopher://x",
    ],
)
async def test_next_pages_pass_the_guard(place: str) -> None:
    """A next page inside the network, or at what is no URL to call, fails the step before anything is sent."""

    async def answer(_: web.Request) -> web.Response:
        return web.json_response({"data": [1], "next": place})

    async with serving(answer) as base, outward(allow=base.removeprefix("http://")) as egress:
        pagination = {"next": "url", "path": "next", "items": "data"}
        error = await failure_of("webhook", {"method": "GET", "url": base, "pagination": pagination}, egress=egress)
    assert error.code in ("egress_refused", "invalid_url", "invalid_response")
    assert "passwd" not in error.message


async def test_a_circle_ends() -> None:
    """A page that names one that was read already fails the step, after as many requests as there are pages."""
    asked: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(request.path_qs)
        return web.json_response({"rows": [1], "next": "/b" if request.path == "/a" else "/a#again"})

    async with serving(answer) as base:
        pagination = {"next": "url", "path": "next", "items": "rows"}
        error = await failure_of("webhook", {"method": "GET", "url": f"{base}/a", "pagination": pagination})
    assert (error.code, asked) == ("pagination_loop", ["/a", "/b"])
    assert error.message == "Page 2 names a page as the next one that was read already."


async def test_a_later_page_fails_as_the_first_would() -> None:
    """With its status, its body and what it asks to wait; the log shows which page it was."""

    async def answer(request: web.Request) -> web.Response:
        if request.query["page"] == "3":
            return web.Response(status=503, text="later", headers={"Retry-After": "7"})
        return web.json_response([1])

    async with serving(answer) as base:
        pagination = {"next": "page", "parameter": "page"}
        error = await failure_of("webhook", {"method": "GET", "url": base, "pagination": pagination})
    assert error.message == "Webhook request failed: 503 Service Unavailable"
    assert (error.code, error.category, error.body, error.retry_in) == ("webhook_failed", "5xx", "later", 7.0)
    assert error.step_input["url"].endswith("page=3")


@pytest.mark.parametrize(
    ("body", "pagination", "message"),
    [
        ("{}", {"items": "rows"}, "pagination.items gives null on page 1; it must be a list (data || `[]`"),
        ('{"a": 5}', {"items": "sum(a)"}, "pagination.items cannot be evaluated on page 1: sum() takes array-number"),
        ("[1", {}, "The answer's body is no JSON document"),
        ('{"r": [], "n": {}}', {"items": "r", "path": "n"}, "pagination.path gives an object on page 1"),
        ('{"r": [], "n": true}', {"items": "r", "path": "n"}, "pagination.path gives true or false on page 1"),
    ],
)
async def test_pages_that_are_not_as_said(body: str, pagination: dict[str, Any], message: str) -> None:
    """What a page lacks is told by the field that looks for it and by the number of the page."""

    async def answer(_: web.Request) -> web.Response:
        return web.Response(text=body, content_type="application/json")

    async with serving(answer) as base:
        whole = {"next": "cursor", "path": "x", "parameter": "p", **pagination}
        error = await failure_of("webhook", {"method": "GET", "url": base, "pagination": whole})
    assert error.code == "invalid_response"
    assert error.message.startswith(message)


async def test_items_of_all_pages_have_one_limit() -> None:
    """A list without an end fails the step when its items are over 1 MiB, however small each page is."""
    asked = 0

    async def answer(_: web.Request) -> web.Response:
        nonlocal asked
        asked += 1
        return web.json_response(["x" * 200_000])

    async with serving(answer) as base:
        pagination = {"next": "page", "parameter": "p", "max_pages": 1000}
        error = await failure_of("webhook", {"method": "GET", "url": base, "pagination": pagination})
    assert (error.code, asked) == ("output_too_large", 6)


async def test_all_pages_have_one_time() -> None:
    """The step's timeout is for all pages together: one that never comes has what the others have left."""
    over = asyncio.Event()

    async def answer(request: web.Request) -> web.Response:
        if request.query["p"] == "2":
            await over.wait()
        return web.json_response([1])

    async with serving(answer) as base:
        data = {"method": "GET", "url": base, "pagination": {"next": "page", "parameter": "p"}}
        error = await failure_of("webhook", data, seconds=0.3)
        over.set()
    assert (error.code, error.category) == ("timeout", "timeout")


@pytest.mark.parametrize(
    ("given", "paths"),
    [
        ({"next": "link"}, []),
        ({"next": "forward"}, ["d.pagination.next"]),
        ({}, ["d.pagination.next"]),
        ({"next": "cursor"}, ["d.pagination.path", "d.pagination.parameter"]),
        ({"next": "page", "parameter": "p", "path": "x"}, ["d.pagination.path"]),
        ({"next": "link", "first": 0}, ["d.pagination.first"]),
        ({"next": "link", "max_pages": 1001}, ["d.pagination.max_pages"]),
        ({"next": "link", "items": "[?"}, ["d.pagination.items"]),
        ({"next": "url", "path": "{{ n1.x }}"}, ["d.pagination.path"]),
        ({"next": "link", "pages": 5}, ["d.pagination.pages"]),
        ("{{ n1.x }}", ["d.pagination"]),
    ],
)
def test_faults(given: Any, paths: list[str]) -> None:
    """What is wrong with it is found when it is saved, at its field."""
    data = {"method": "GET", "url": "https://example.com/", "pagination": given}
    assert [path for path, _ in faults_of("webhook", data)] == paths


def test_what_does_not_go_with_pages() -> None:
    """Pages are read with GET, as JSON."""
    data = {"method": "POST", "url": "https://example.com/", "response": "binary", "pagination": {"next": "link"}}
    assert [path for path, _ in faults_of("webhook", data)] == ["d.pagination", "d.response"]
