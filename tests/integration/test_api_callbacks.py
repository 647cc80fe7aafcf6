"""The links of waiting steps over HTTP: pages, answers, and who may not answer (any more)."""

import asyncio
import base64
import hashlib
import json
from collections.abc import AsyncIterator
from html.parser import HTMLParser
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

import pytest

from shared.ids import Prefix, decode, encode
from shared.lanes import Reference
from shared.links import PATH, Links, Place
from shared.store import duties
from shared.vault import KeyRing
from tests.api_client import Answer, ApiClient, node
from tests.duties import queued_references
from tests.engine import LINKS, Engine, eventually, mint
from tests.rows import assert_sound, output_of

PAGE = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
FIELDS: list[dict[str, Any]] = [
    {"name": "email", "type": "email", "label": "Your e-mail", "required": True},
    {"name": "count", "type": "integer", "minimum": 1, "maximum": 5, "default": 2},
    {"name": "size", "type": "select", "choices": ["S", "M"], "help": "Which size?"},
    {"name": "agree", "type": "boolean", "required": True},
    {"name": "note", "type": "textarea", "max_length": 10},
]
GOOD = {"email": "a@example.com", "agree": True}


@pytest.fixture
async def engine(database_url: str) -> AsyncIterator[Engine]:
    """A worker without its queue."""
    async with Engine.running(database_url) as engine:
        yield engine
        await assert_sound(engine.outside)


class Asked:
    """A run of a workflow with one node that asks, ``w``, carried on until it waits."""

    def __init__(self, api: ApiClient, engine: Engine, run_id: UUID) -> None:
        self.api, self.engine, self.run_id = api, engine, run_id
        self.path = PATH + LINKS.token(Place(run_id, "w", "-"))

    @classmethod
    async def start(
        cls, api: ApiClient, engine: Engine, component: str, *, go: bool = True, context: Any = None, **data: Any
    ) -> "Asked":
        """Make the workflow, start it, and let it come to the question unless told otherwise."""
        made = await api.create(
            nodes=[node("t", "manual_trigger"), node("w", component, **data)],
            edges=[{"id": "e", "source": "t", "target": "w"}],
        )
        started = await api.call("POST", f"/workflows/{made['id']}/execute", {"context": context or {}})
        assert started.status == 202, started.body
        asked = cls(api, engine, decode(Prefix.RUN, started.json["id"]))
        if go:
            await asked.go()
        return asked

    async def go(self) -> None:
        """Let the run come to the question, if nobody has answered it."""
        await self.engine.take(Reference(self.run_id, "t", "-", claim=False))
        await self.engine.idle()

    async def get(self, **headers: str) -> Answer:
        """What the link shows."""
        return await self.api.call("GET", self.path, token="", headers=headers)

    async def post(self, body: Any = None, **options: Any) -> Answer:
        """Answer with JSON, or with ``data``."""
        return await self.api.call("POST", self.path, body, token="", **options)

    async def status(self) -> str:
        """Of the run, as the api shows it."""
        database = self.engine.outside
        return str(await database.fetchval("SELECT status FROM runs WHERE id = $1", self.run_id))

    async def finish(self) -> Any:
        """Carry the run on to its end; gives the output of the step."""
        await self.engine.take(Reference(self.run_id, "w", "-", claim=False))
        await self.engine.finish(self.run_id)
        return await output_of(self.engine.outside, self.run_id, "w")


async def test_an_approval_is_given_over_http(api: ApiClient, engine: Engine) -> None:
    """The run awaits interaction, the link says what is asked, an answer lets it go on, a second one is a conflict."""
    asked = await Asked.start(api, engine, "approval", text="Pay {{ t.sum }}?", who="Ann", context={"sum": 7})
    assert await asked.status() == "awaiting_ui_interaction"
    shown = (await asked.get()).json
    assert (shown["status"], shown["question"]["text"], shown["question"]["who"]) == ("open", "Pay 7?", "Ann")
    taken = await asked.post({"outcome": "rejected", "comment": "no"})
    assert (taken.status, taken.json) == (202, {"status": "accepted", "outcome": "rejected"})
    assert await asked.status() == "running"
    again = await asked.post({"outcome": "approved"})
    assert (again.status, again.json["code"]) == (409, "already_answered")
    assert await asked.finish() == {"outcome": "rejected", "data": {"comment": "no"}}
    assert (await asked.get()).json["status"] == "already_answered"


class Seen(HTMLParser):
    """What a page holds: its tags in order, and its text."""

    def __init__(self, answer: Answer) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(answer.body.decode())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, *names: str) -> list[dict[str, str | None]]:
        """The attributes of tags."""
        return [attributes for tag, attributes in self.tags if tag in names]

    def named(self, name: str) -> dict[str, str | None]:
        """The input of a field."""
        return next(a for a in self.all("input", "select", "textarea") if a.get("name") == name)


async def test_an_answer_before_the_run_comes_to_the_question(api: ApiClient, engine: Engine) -> None:
    """It is taken, the texts that depend on the run are missing from the page until then, and the run does not stop."""
    fields = [{"name": "a", "label": "{{ t.label }}"}, {"name": "b", "label": "Second"}]
    context = {"label": "First", "title": "Two"}
    asked = await Asked.start(api, engine, "form", go=False, context=context, title="{{ t.title }}", fields=fields)
    page = Seen(await asked.get(**PAGE))
    assert "More is shown once" in page.text
    assert "{{" not in page.text
    assert [a["name"] for a in page.all("input")] == ["a", "b"]
    shown = (await asked.get()).json
    assert (shown["status"], shown["until"]) == ("open", None)
    assert (await asked.post({"a": "1"})).status == 202
    assert (await asked.post({"a": "2"})).json["code"] == "already_answered"
    await asked.go()
    await engine.finish(asked.run_id)
    output = await output_of(engine.outside, asked.run_id, "w")
    assert output == {"outcome": "submitted", "data": {"a": "1", "b": None}}


async def test_a_worker_is_told_of_an_answer(api: ApiClient, engine: Engine, broker_url: str) -> None:
    """A message for the step is sent once the answer is durable, and none for an answer that was refused."""
    asked = await Asked.start(api, engine, "wait_for_callback")
    for _ in range(2):
        await asked.post({})
    step = Reference(asked.run_id, "w", "-", claim=False)
    await eventually(lambda: step in [reference for _, reference in queued_references(broker_url)])
    assert [reference for _, reference in queued_references(broker_url)].count(step) == 1


async def test_of_many_answers_at_once_one_counts(api: ApiClient, engine: Engine) -> None:
    """Exactly one is taken, whichever it is, and the step goes on with that one."""
    asked = await Asked.start(api, engine, "wait_for_callback")
    answers = await asyncio.gather(*(asked.post({"n": number}) for number in range(20)))
    assert sorted(answer.status for answer in answers) == [202] + [409] * 19
    (winner,) = [number for number, answer in enumerate(answers) if answer.status == 202]
    assert await asked.finish() == {"outcome": "received", "data": {"n": winner}}


async def test_answers_that_race_the_timeout_count_or_are_refused(api: ApiClient, engine: Engine) -> None:
    """Of each wait either the answer was taken and is the outcome, or it was refused and the wait timed out."""
    count = 30
    made = await api.create(
        nodes=[
            node("t", "manual_trigger"),
            node("i", "iterator", items=list(range(count)), concurrency=count),
            node("w", "approval", text="?", timeout=0.001),
        ],
        edges=[
            {"id": "e1", "source": "t", "target": "i"},
            {"id": "e2", "source": "i", "target": "w", "sourceHandle": "item"},
        ],
    )
    run_id = decode(Prefix.RUN, (await api.call("POST", f"/workflows/{made['id']}/execute")).json["id"])
    await engine.take(Reference(run_id, "t", "-", claim=False))
    await engine.follow()
    await eventually(lambda: all_wait(engine, count))
    paths = [PATH + LINKS.token(Place(run_id, "w", str(place))) for place in range(count)]

    async def time_out() -> None:
        for _ in range(count):
            engine.mailbox.announce(await duties.wake_due(engine.outside, 1))  # type: ignore[arg-type]

    answers, _ = await asyncio.gather(
        asyncio.gather(*(api.call("POST", path, {"outcome": "approved"}, token="") for path in paths)), time_out()
    )
    await engine.take(*(Reference(run_id, "w", str(place), claim=False) for place in range(count)))
    await engine.finish(run_id)
    records = await engine.outside.fetch("SELECT item, handle FROM steps WHERE node_id = 'w'")
    handles = {int(record["item"]): record["handle"] for record in records}
    expected = {202: "approved", 409: "timeout"}
    assert handles == {place: expected[answer.status] for place, answer in enumerate(answers)}
    assert {answer.json.get("code") for answer in answers if answer.status == 409} <= {"wait_over"}


async def all_wait(engine: Engine, count: int) -> bool:
    """Whether so many steps wait for a person."""
    return bool(await engine.outside.fetchval("SELECT count(*) = $1 FROM open_steps WHERE waits = 'person'", count))


async def test_a_wait_that_is_over_takes_no_answer(api: ApiClient, engine: Engine) -> None:
    """Neither after its time, nor once its run was cancelled or ended; the page says so."""
    late = await Asked.start(api, engine, "approval", text="?", timeout=0.001)
    await eventually(lambda: woken(engine))
    cancelled = await Asked.start(api, engine, "approval", text="?")
    run = encode(Prefix.RUN, cancelled.run_id)
    assert (await api.call("POST", f"/workflows/runs/{run}/cancel")).status == 202
    for asked in (late, cancelled):
        refused = await asked.post({"outcome": "approved"})
        assert (refused.status, refused.json["code"]) == (409, "wait_over")
        assert (await asked.get()).json["status"] == "wait_over"
        page = await asked.get(**PAGE)
        assert page.status == 200
        assert "Too late" in Seen(page).text
        assert not Seen(page).all("form")
    assert (await late.finish())["outcome"] == "timeout"
    assert (await late.post({"outcome": "approved"})).json["code"] == "wait_over"


async def woken(engine: Engine) -> bool:
    """Whether the scheduler has ended a wait whose time was over."""
    return bool(await duties.wake_due(engine.outside, 10))  # type: ignore[arg-type]


async def test_looking_changes_nothing(api: ApiClient, engine: Engine) -> None:
    """However often programs that scan links follow it, run and answer stay as they are."""
    asked = await Asked.start(api, engine, "approval", text="?")
    before = [await asked.status(), await engine.outside.fetch("SELECT * FROM answers")]
    for method in ("GET", "HEAD", "GET"):
        assert (await api.call(method, asked.path, token="", headers=PAGE)).status == 200
    assert [await asked.status(), await engine.outside.fetch("SELECT * FROM answers")] == before
    refused = await api.call("PUT", asked.path, {}, token="")
    assert (refused.status, refused.headers["Allow"]) == (405, "GET, HEAD, POST")


async def test_links_that_nobody_signed_lead_nowhere(api: ApiClient, engine: Engine) -> None:
    """Changed, cut, foreign and forged tokens are all the same 404, as JSON and as a page."""
    asked = await Asked.start(api, engine, "approval", text="?")
    token = asked.path.removeprefix(PATH)
    foreign = Links(KeyRing({"k1": bytes(32)}), "").token(Place(asked.run_id, "w", "-"))
    other = LINKS.token(Place(asked.run_id, "w", "-"))[:-8] + token[:8]
    gone = LINKS.token(Place(mint.uuid(), "w", "-"))
    no_question = LINKS.token(Place(asked.run_id, "t", "-"))
    for wrong in (token[:-4], token[4:], token.swapcase(), foreign, other, gone, no_question, "x", "%00", "a" * 300):
        answer = await api.call("POST", PATH + wrong, {"outcome": "approved"}, token="")
        assert (answer.status, answer.json["code"]) == (404, "link_not_found"), wrong
        page = await api.call("GET", PATH + wrong, token="", headers=PAGE)
        assert (page.status, Seen(page).all("form")) == (404, [])
    assert (await asked.post({"outcome": "approved"})).status == 202


async def test_every_fault_of_an_answer_is_told(api: ApiClient, engine: Engine) -> None:
    """422 with all of them; nothing was taken, so a better answer still is."""
    asked = await Asked.start(api, engine, "form", fields=FIELDS)
    wrong = {"email": "x", "count": 9, "size": "L", "agree": False, "note": "x" * 11, "more": 1}
    refused = await asked.post(wrong)
    assert refused.status == 422
    assert {(fault["path"], fault["code"]) for fault in refused.json["errors"]} == {
        ("email", "invalid_value"),
        ("count", "invalid_value"),
        ("size", "invalid_value"),
        ("agree", "required"),
        ("note", "invalid_value"),
        ("more", "unknown_field"),
    }
    assert (await asked.post([1])).json["code"] == "object_expected"
    assert (await asked.post(GOOD)).status == 202
    data = {"email": "a@example.com", "count": None, "size": None, "agree": True, "note": None}
    assert await asked.finish() == {"outcome": "submitted", "data": data}


async def test_an_approval_needs_one_of_its_buttons(api: ApiClient, engine: Engine) -> None:
    """No outcome, an unknown one, the time-out and other types are faults that name the legal ones."""
    asked = await Asked.start(api, engine, "approval", text="?")
    for wrong in ({}, {"outcome": "maybe"}, {"outcome": "timeout"}, {"outcome": 1}, {"outcome": ["approved"]}):
        refused = await asked.post(wrong)
        assert (refused.status, refused.json["errors"][0]["path"]) == (422, "outcome")
        assert '"approved", "rejected"' in refused.json["message"]
    page = await asked.post(data="comment=hm", headers={**PAGE, **FORM})
    assert page.status == 422
    assert {a.get("href") for a in Seen(page).all("a")} == {"#outcome"}


async def test_a_browser_fills_in_a_form(api: ApiClient, engine: Engine) -> None:
    """The page shows the fields; faults stand beside them with what was typed; in the end it says thanks, once."""
    asked = await Asked.start(api, engine, "form", title="Order", fields=FIELDS)
    page = Seen(await asked.get(**PAGE))
    assert [a.get("name") for a in page.all("input", "select", "textarea")] == [field["name"] for field in FIELDS]
    assert page.named("count")["value"] == "2"
    typed = {"email": "nobody", "count": "many", "size": "", "note": "a\r\nb"}
    answer = await asked.post(data=urlencode(typed), headers={**PAGE, **FORM})
    refused = Seen(answer)
    assert answer.status == 422
    assert refused.text.startswith("Error: Order")
    assert {a["href"] for a in refused.all("a")} == {"#f0", "#f1", "#f3"}
    assert [refused.named(name).get("aria-invalid") for name in ("email", "count", "size", "agree")] == [
        "true",
        "true",
        None,
        "true",
    ]
    assert (refused.named("email")["value"], refused.named("count")["value"]) == ("nobody", "many")
    typed |= {"email": "a@example.com", "count": "3", "agree": "true"}
    answer = await asked.post(data=urlencode(typed), headers={**PAGE, **FORM})
    assert (answer.status, "Thank you" in Seen(answer).text) == (200, True)
    answer = await asked.post(data=urlencode(typed), headers={**PAGE, **FORM})
    assert (answer.status, "Answered" in Seen(answer).text) == (409, True)
    data = {"email": "a@example.com", "count": 3, "size": None, "agree": True, "note": "a\nb"}
    assert await asked.finish() == {"outcome": "submitted", "data": data}


async def test_pages_can_be_used_by_everybody(api: ApiClient, engine: Engine) -> None:
    """A language, a title and one heading; every field has its label and its help; no script is needed or there."""
    asked = await Asked.start(api, engine, "form", title="Order", text="One\nTwo", fields=FIELDS)
    for answer in (await asked.get(**PAGE), await asked.post(data="", headers={**PAGE, **FORM})):
        page = Seen(answer)
        ids = [a["id"] for _, a in page.tags if "id" in a]
        assert len(ids) == len(set(ids))
        assert page.all("html")[0]["lang"] == "en"
        assert (len(page.all("title")), len(page.all("h1")), len(page.all("main"))) == (1, 1, 1)
        assert {a["id"] for a in page.all("input", "select", "textarea")} == {a["for"] for a in page.all("label")}
        about = " ".join(a.get("aria-describedby") or "" for _, a in page.tags).split()
        assert about
        assert set(about) <= set(ids)
        assert {str(a["href"]).removeprefix("#") for a in page.all("a")} <= set(ids)
        assert {tag for tag, _ in page.tags} & {"script", "iframe", "object", "img", "link", "base"} == set()
    decision = Seen(await (await Asked.start(api, engine, "approval", text="?")).get(**PAGE))
    assert (len(decision.all("fieldset")), len(decision.all("legend"))) == (1, 1)
    assert [a["value"] for a in decision.all("button")] == ["approved", "rejected"]


EVIL = "</textarea></title></style><script>alert(1)</script>\"'><img src=x onerror=alert(1)>{{ 7 }}\0"


async def test_nothing_anybody_wrote_becomes_markup(api: ApiClient, engine: Engine) -> None:
    """Texts of authors, values from outside and what visitors typed stand in the page as text."""
    evil = EVIL.replace("{{ 7 }}", "")
    fields = [
        {"name": "a", "label": "{{ t.evil }}", "help": "{{ t.evil }}", "default": "{{ t.evil }}", "max_length": 5},
        {"name": "b", "type": "textarea", "default": "{{ t.evil }}", "max_length": 5},
        {"name": "c", "type": "select", "choices": [evil]},
    ]
    asked = await Asked.start(
        api, engine, "form", fields=fields, context={"evil": EVIL}, title="{{ t.evil }}", text="{{ t.evil }}",
        who="{{ t.evil }}", submit="{{ t.evil }}",
    )  # fmt: skip
    typed = urlencode({"a": EVIL, "b": EVIL, "c": EVIL, EVIL: EVIL})
    for answer in (await asked.get(**PAGE), await asked.post(data=typed, headers={**PAGE, **FORM})):
        page = Seen(answer)
        assert {tag for tag, _ in page.tags} & {"script", "img"} == set()
        assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]
        assert len(page.all("style")) == len(page.all("title")) == 1
        assert page.named("a")["value"] == EVIL.replace("\0", "\ufffd")
        assert b"\0" not in answer.body


async def test_pages_are_kept_and_framed_by_nobody(api: ApiClient, engine: Engine) -> None:
    """Every page forbids scripts, frames, caches and referrers, and its style is the one that is allowed."""
    asked = await Asked.start(api, engine, "approval", text="?")
    for answer in (await asked.get(**PAGE), await api.call("GET", f"{PATH}x", token="", headers=PAGE)):
        policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        style = answer.body.decode().partition("<style>")[2].partition("</style>")[0]
        assert base64.b64encode(hashlib.sha256(style.encode()).digest()).decode() in policy
        assert answer.headers["X-Frame-Options"] == "DENY"
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["Referrer-Policy"] == "no-referrer"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert (await asked.get()).headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize(
    ("accept", "page"),
    [
        ("", False),
        ("*/*", False),
        ("application/json", False),
        ("text/html", True),
        ("application/json, text/html;q=0.5", False),
        ("text/html;q=0.2, application/json;q=0.1", True),
        ("text/html;q=0", False),
        ("text/html;q=x", False),
    ],
)
async def test_browsers_get_pages_and_programs_json(api: ApiClient, engine: Engine, accept: str, page: bool) -> None:
    """`Accept` decides; without a wish for a page it is JSON."""
    asked = await Asked.start(api, engine, "approval", text="?")
    answer = await asked.get(Accept=accept)
    assert answer.headers["Content-Type"].startswith("text/html" if page else "application/json")


@pytest.mark.parametrize(
    ("sent", "content_type", "status"),
    [
        (b"{" + b" " * 300_000, "application/json", 413),
        (b"a=" + b"b" * 300_000, FORM["Content-Type"], 413),
        (b"{", "application/json", 400),
        (b'{"a":"\xff"}', "application/json", 400),
        (b"a=%ff", FORM["Content-Type"], 400),
        (b"a=\xff", FORM["Content-Type"], 400),
        (b"&".join(b"a=1" for _ in range(1001)), FORM["Content-Type"], 400),
        (b"<a/>", "text/xml", 415),
        (b"x", "nonsense", 415),
        (b"[" * 300, "application/json", 400),
    ],
)
async def test_what_cannot_be_read_is_refused(
    api: ApiClient, engine: Engine, sent: bytes, content_type: str, status: int
) -> None:
    """Giant, broken and foreign bodies change nothing, to programs and to browsers."""
    asked = await Asked.start(api, engine, "wait_for_callback")
    for headers in ({}, PAGE):
        answer = await asked.post(data=sent, headers={**headers, "Content-Type": content_type})
        assert answer.status == status
    assert await asked.status() == "awaiting_ui_interaction"
    assert (await asked.post()).status == 202
    assert await asked.finish() == {"outcome": "received", "data": {}}


@pytest.mark.parametrize("text", ['[1,{"a":null}]', "null", '"\\u0000\\ud800"', "1e3", '{"b":1,"a":2}'])
async def test_a_callback_takes_any_json(api: ApiClient, engine: Engine, text: str) -> None:
    """The value comes out of the step as it went in."""
    asked = await Asked.start(api, engine, "wait_for_callback")
    answer = await asked.post(data=text.encode(), headers={"Content-Type": "application/json"})
    assert answer.status == 202
    assert await asked.finish() == {"outcome": "received", "data": json.loads(text)}


async def test_a_callback_takes_forms(api: ApiClient, engine: Engine) -> None:
    """Fields are texts, and lists where a name comes several times."""
    asked = await Asked.start(api, engine, "wait_for_callback")
    assert (await asked.post(data="a=1&b=2&b=3&b=4&c=", headers=FORM)).status == 202
    assert (await asked.finish())["data"] == {"a": "1", "b": ["2", "3", "4"], "c": ""}


async def test_tokens_stand_in_no_log(api: ApiClient, engine: Engine, capfd: pytest.CaptureFixture[str]) -> None:
    """Neither of good requests nor of refused or broken ones."""
    asked = await Asked.start(api, engine, "approval", text="?")
    for options in ({"headers": PAGE}, {"data": b"{", "headers": {"Content-Type": "application/json"}}):
        await asked.post(**options)
    async with engine.outside.acquire() as connection:
        await connection.execute("ALTER TABLE answers RENAME TO gone")
        assert (await asked.get()).status in (500, 503)
        await connection.execute("ALTER TABLE gone RENAME TO answers")
    out, err = capfd.readouterr()
    assert "/workflows/callbacks/{token}" in out + err
    assert asked.path.removeprefix(PATH) not in out + err
