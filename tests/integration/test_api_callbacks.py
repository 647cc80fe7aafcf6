"""The links of waiting steps over HTTP: pages, answers, and who may not answer (any more)."""

import asyncio
import json

import pytest

from shared.ids import Prefix, decode, encode
from shared.lanes import Reference
from shared.links import PATH, Links, Place
from shared.store import duties
from shared.vault import KeyRing
from tests.api_client import ApiClient, node
from tests.asked import FIELDS, FORM, PAGE, Asked, Seen
from tests.duties import queued_references
from tests.engine import LINKS, Engine, eventually, mint
from tests.rows import output_of

GOOD = {"email": "a@example.com", "agree": True}


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
