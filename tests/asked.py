"""Runs that ask: a workflow with one node that waits for an answer to its link, and the page the link shows."""

from html.parser import HTMLParser
from typing import Any
from uuid import UUID

from shared.ids import Prefix, decode
from shared.lanes import Reference
from shared.links import PATH, Place
from tests.api_client import Answer, ApiClient, node
from tests.engine import LINKS, Engine
from tests.rows import output_of

PAGE = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
FIELDS: list[dict[str, Any]] = [
    {"name": "email", "type": "email", "label": "Your e-mail", "required": True},
    {"name": "count", "type": "integer", "minimum": 1, "maximum": 5, "default": 2},
    {"name": "size", "type": "select", "choices": ["S", "M"], "help": "Which size?"},
    {"name": "agree", "type": "boolean", "required": True},
    {"name": "note", "type": "textarea", "max_length": 10},
]


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
