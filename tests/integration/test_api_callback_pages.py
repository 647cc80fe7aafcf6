"""The pages of waiting steps: forms that everybody can use and nothing breaks out of."""

import base64
import hashlib
from urllib.parse import urlencode

import pytest

from shared.links import PATH
from tests.api_client import ApiClient
from tests.asked import FIELDS, FORM, PAGE, Asked, Seen
from tests.engine import Engine


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
