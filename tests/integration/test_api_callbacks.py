"""The links of waiting steps over HTTP: pages, answers, and who may not answer (any more)."""

import asyncio
import json
from collections.abc import AsyncIterator
from html.parser import HTMLParser
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

import asyncpg
import pytest

from shared.ids import Prefix, decode
from shared.lanes import Reference
from shared.links import PATH, Place
from tests.api_client import Answer, ApiClient, node
from tests.engine import LINKS, Engine
from tests.rows import assert_sound, output_of, steps_of

PAGE = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
FIELDS = [
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
    """The run awaits interaction, the link says what is asked, an answer lets it go on, and a second one is a conflict."""
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
