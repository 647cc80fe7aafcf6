"""``send_notification`` against a receiver on this machine: what each service is sent, and what its answers mean."""

import asyncio
import json
import logging
import sys
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from aiohttp import web

from shared.egress.client import EgressClient
from shared.egress.interface import EgressResponse
from shared.nodes import send_notification
from shared.nodes.notifiers import _SERVICES
from tests.outward import KEY, called, failure_of, faults_of, outward, serving, silent
from tests.trap import INTERNAL, trapping

TELEGRAM = "123456789:abcdefghijklmnopqrstuvwxyzABCDEFGHI"
SLACK = "xoxb-1234-1234-abcdef"
PAGERDUTY = "0123456789abcdef0123456789abcdef"
BY_URL = ("slack", "teams", "discord", "generic")


class Receiver:
    """Takes what is sent, and answers.

    Attributes:
        got: path with query, headers and body of each request.
        answers: status and text of the next ones; then ``ok``.
    """

    def __init__(self) -> None:
        self.base = ""
        self.got: list[tuple[str, dict[str, str], dict[str, Any]]] = []
        self.answers: list[web.Response] = []

    async def __call__(self, request: web.Request) -> web.Response:
        self.got.append((request.path_qs, dict(request.headers), json.loads(await request.read())))
        return self.answers.pop(0) if self.answers else web.Response(text="ok")

    @property
    def last(self) -> dict[str, Any]:
        return self.got[-1][2]


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    receiver = Receiver()
    async with serving(receiver) as base:
        receiver.base = base
        yield receiver


class Rerouted:
    """The outbound client, for services whose address is no setting: their calls go to the receiver instead, with the
    host that they were meant for in the path."""

    def __init__(self, egress: EgressClient, base: str) -> None:
        self._egress = egress
        self._base = base

    async def request(self, method: str, url: str, **how: Any) -> EgressResponse:
        parts = urlsplit(url)
        assert parts.scheme == "https"
        return await self._egress.request(method, f"{self._base}/{parts.netloc}{parts.path}", **how)


def data(service: str, **more: Any) -> dict[str, Any]:
    return {
        "service": service,
        "title": "Site {{ n1.site }}",
        "message": "{{ n1.text }}",
        "severity": "warning",
        **more,
    }


SCOPE = {"n1": {"site": "Cape", "text": 'down & "out" <b>now</b>'}}


async def test_generic(receiver: Receiver) -> None:
    """Any address gets title, message and type as JSON; its query and header fields are the author's."""
    how = data("generic", url=f"{receiver.base}/in?key=1", headers={"Authorization": "Bearer t-1", "X-A": "ü"})
    outcome = await called("send_notification", how, SCOPE)
    assert outcome.output == {"service": "generic", "requests": 1}
    path, headers, body = receiver.got[0]
    assert (path, headers["Authorization"], headers["X-A"]) == ("/in?key=1", "Bearer t-1", "ü")
    assert headers["Idempotency-Key"] == KEY
    assert (body["title"], body["message"], body["type"]) == ("Site Cape", 'down & "out" <b>now</b>', "warning")
    assert "t-1" not in str(outcome)
    assert outcome.step_input["message"] == 'down & "out" <b>now</b>'


async def test_slack_webhook(receiver: Receiver) -> None:
    """Text is shown as it is: no value becomes a link, a mention or a style. Anything but ``ok`` is a refusal."""
    how = data("slack", url=f"{receiver.base}/services/T/B/C")
    await called("send_notification", how, {"n1": {"site": "Cape", "text": "<!channel> & *x*"}})
    (attachment,) = receiver.last["attachments"]
    assert receiver.got[0][0] == "/services/T/B/C"
    assert (attachment["title"], attachment["text"]) == ("Site Cape", "&lt;!channel&gt; &amp; *x*")
    assert receiver.last["mrkdwn"] is False
    receiver.answers = [web.Response(text="invalid_blocks")]
    error = await failure_of("send_notification", how, SCOPE)
    assert (error.code, error.category, error.body) == ("notification_failed", "4xx", "invalid_blocks")


async def test_teams_and_discord(receiver: Receiver) -> None:
    """A workflow of Teams gets a card, a webhook of Discord its content."""
    await called("send_notification", data("teams", url=f"{receiver.base}/workflows/1?sig=s"), SCOPE)
    (card,) = receiver.last["attachments"]
    assert receiver.got[0][0] == "/workflows/1?sig=s"
    assert card["content"]["type"] == "AdaptiveCard"
    assert card["content"]["body"][0]["text"] == "Site Cape"
    receiver.answers = [web.Response(status=204)]
    await called("send_notification", data("discord", url=f"{receiver.base}/hooks/1/t"), SCOPE)
    assert receiver.last["content"].split() == ["Site", "Cape", "down", "&", '"out"', "<b>now</b>"]


async def test_services_with_addresses_of_their_own(receiver: Receiver) -> None:
    """Telegram, PagerDuty and a bot of Slack are reached where they are, with the token where it belongs."""
    async with outward() as client:
        egress: Any = Rerouted(client, receiver.base)
        outcome = await called(
            "send_notification", data("telegram", token=TELEGRAM, to="12345, -100678"), SCOPE, egress=egress
        )
        assert outcome.output["requests"] == 2
        assert [path for path, _, _ in receiver.got] == [f"/api.telegram.org/bot{TELEGRAM}/sendMessage"] * 2
        assert sorted(body["chat_id"] for _, _, body in receiver.got) == [-100678, 12345]
        assert receiver.last["text"].endswith('down &amp; "out" &lt;b&gt;now&lt;/b&gt;')

        await called("send_notification", data("pagerduty", token=PAGERDUTY, source="cpt-1"), SCOPE, egress=egress)
        path, headers, body = receiver.got[-1]
        assert path == "/events.pagerduty.com/v2/enqueue"
        assert "Authorization" not in headers
        assert (body["routing_key"], body["event_action"], body["dedup_key"]) == (PAGERDUTY, "trigger", KEY)
        assert (body["payload"]["source"], body["payload"]["severity"]) == ("cpt-1", "warning")

        receiver.answers = [web.json_response({"ok": True}) for _ in range(2)]
        await called("send_notification", data("slack", token=SLACK, to=["#ops", "#dev"]), SCOPE, egress=egress)
        path, headers, body = receiver.got[-1]
        assert path == "/slack.com/api/chat.postMessage"
        assert headers["Authorization"] == f"Bearer {SLACK}"
        assert sorted(each["channel"] for _, _, each in receiver.got[-2:]) == ["#dev", "#ops"]
        receiver.answers = [web.json_response({"ok": False, "error": "not_in_channel"})]
        error = await failure_of("send_notification", data("slack", token=SLACK, to="#x"), SCOPE, egress=egress)
        assert "not_in_channel" in error.body


async def test_long_messages_go_in_parts(receiver: Receiver) -> None:
    """In order and whole, as many requests as it takes, up to a limit."""
    text = " ".join(map(str, range(1500)))
    how = data("discord", url=f"{receiver.base}/1", title="")
    outcome = await called("send_notification", how, {"n1": {"text": text}})
    assert outcome.output["requests"] == len(receiver.got) > 1
    assert " ".join(body["content"] for _, _, body in receiver.got).split() == text.split()


@pytest.mark.parametrize(("status", "category"), [(500, "5xx"), (503, "5xx"), (429, "429"), (404, "4xx")])
@pytest.mark.parametrize("service", BY_URL)
async def test_statuses_fail_the_step(receiver: Receiver, service: str, status: int, category: str) -> None:
    """With the first failed request, which no plugin repeats by itself; ``Retry-After`` is handed on."""
    receiver.answers = [web.Response(status=status, text="no", headers={"Retry-After": "7"})]
    error = await failure_of("send_notification", data(service, url=f"{receiver.base}/1"), SCOPE)
    assert (error.code, error.category, error.http_status) == ("notification_failed", category, status)
    assert (error.body, error.retry_in) == ("no", 7.0)
    assert len(receiver.got) == 1


@pytest.mark.parametrize(
    ("change", "paths"),
    [
        ({"service": "email"}, ["d.service"]),
        ({"service": "file", "url": "file:///tmp/x"}, ["d.service"]),
        ({"service": "{{ n1.x }}"}, ["d.service"]),
        ({"service": "generic"}, ["d.url"]),
        ({"service": "generic", "url": "json://a.test"}, ["d.url"]),
        ({"service": "teams", "url": "https://a.test/", "token": "t-1"}, ["d.token"]),
        ({"service": "slack", "token": SLACK}, ["d.to"]),
        ({"service": "telegram", "url": "https://a.test/", "token": TELEGRAM, "to": "1"}, ["d.url"]),
        ({"service": "pagerduty", "to": "joe"}, ["d.token", "d.to"]),
        ({"service": "discord", "url": "https://a.test/", "headers": {"X": "1"}}, ["d.headers"]),
        ({"service": "generic", "url": "https://a.test/", "headers": {"X": "1\n2"}}, ["d.headers.X"]),
        ({"service": "telegram", "token": "{{ n1.t }}", "to": "{{ n1.chats }}"}, []),
    ],
)
def test_faults_when_saved(change: dict[str, Any], paths: list[str]) -> None:
    """Services are a closed list, and each wants its own."""
    assert [path for path, _ in faults_of("send_notification", {"message": "m", **change})] == paths


@pytest.mark.parametrize(
    "change",
    [
        {"service": "telegram", "token": "no token", "to": "1"},
        {"service": "telegram", "token": TELEGRAM, "to": " , "},
        {"service": "telegram", "token": TELEGRAM, "to": "?!"},
        {"service": "slack", "token": "no token", "to": "#a"},
        {"service": "pagerduty", "token": " "},
        {"service": "generic", "url": "{{ n1.none }}"},
    ],
)
async def test_what_is_no_place(receiver: Receiver, change: dict[str, Any]) -> None:
    """Nothing is sent to a token or chat that cannot be one."""
    async with outward() as client:
        egress: Any = Rerouted(client, receiver.base)
        error = await failure_of("send_notification", {"message": "m", **change}, {"n1": {"none": ""}}, egress=egress)
    assert error.code == "invalid_data"
    assert receiver.got == []


@pytest.mark.parametrize("service", BY_URL)
@pytest.mark.parametrize("way", ["address", "name", "redirect", "scheme"])
async def test_the_guard_stands_before_it(service: str, way: str) -> None:
    """No service gets out to what is inside, whichever way its address leads there."""

    async def redirecting(request: web.Request) -> web.Response:
        return web.Response(status=307, headers={"Location": f"http://{INTERNAL}:{request.query['port']}/"})

    async with trapping() as trap, serving(redirecting) as base:
        places = {
            "address": f"http://{INTERNAL}:{trap.port}/",
            "name": f"http://inside.test:{trap.port}/",
            "redirect": f"{base}/?port={trap.port}",
            "scheme": "file:///etc/passwd",
        }
        how = data(service, url="{{ n1.url }}")
        async with outward({"inside.test": [INTERNAL]}, allow="127.0.0.1") as egress:
            error = await failure_of(
                "send_notification", how, {"n1": {"url": places[way]} | SCOPE["n1"]}, egress=egress
            )
        await asyncio.sleep(0)
        assert trap.caught == []
    assert error.code == "egress_refused"


async def test_only_named_plugins_are_loaded(receiver: Receiver) -> None:
    """Of Apprise's hundred and more, some of which run programs, write files or open sockets of their own."""
    await called("send_notification", data("generic", url=receiver.base), SCOPE)
    known = {f"apprise.plugins.{module}" for module, _, _ in _SERVICES.values()} | {"apprise.plugins.base"}
    assert {name for name in sys.modules if name.startswith("apprise.plugins.")} <= known


async def test_tokens_stay_out_of_logs(receiver: Receiver, caplog: pytest.LogCaptureFixture) -> None:
    """Apprise logs addresses and payloads; none of that is kept, whatever the level."""
    caplog.set_level(logging.DEBUG)
    logging.getLogger("apprise").setLevel(logging.DEBUG)
    async with outward() as client:
        egress: Any = Rerouted(client, receiver.base)
        outcome = await called("send_notification", data("telegram", token=TELEGRAM, to="1"), SCOPE, egress=egress)
    logging.getLogger("apprise").setLevel(logging.NOTSET)
    logged = "".join(record.getMessage() for record in caplog.records if record.name != "aiohttp.access")
    assert TELEGRAM not in logged + str(outcome)


async def test_at_the_same_time(receiver: Receiver) -> None:
    """Many notifications under way at once keep to their own answers."""
    receiver.answers = [web.Response(text="ok" if number % 2 else "no") for number in range(20)]
    calls = [called("send_notification", data("slack", url=f"{receiver.base}/{each}"), SCOPE) for each in range(20)]
    ends = await asyncio.gather(*calls, return_exceptions=True)
    assert sum(isinstance(end, Exception) for end in ends) == 10


async def test_time_is_limited() -> None:
    """A service that says nothing ends the step, and holds no thread meanwhile."""
    async with silent() as port:
        error = await failure_of(
            "send_notification", data("generic", url=f"http://127.0.0.1:{port}/"), SCOPE, seconds=0.3
        )
    assert (error.code, error.category) == ("timeout", "timeout")


async def test_a_message_that_takes_long_ends(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tags that never end are looked for again and again; nothing was sent by then."""
    monkeypatch.setattr(send_notification, "_SECONDS", 0.3)
    told = {"service": "slack", "url": f"{receiver.base}/x", "format": "html", "message": "<a " * 33_000}
    assert (await failure_of("send_notification", told)).code == "too_slow"
    assert receiver.got == []
