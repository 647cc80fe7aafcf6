"""An api with a worker beside it that takes up by itself what is announced, for requests that wait for their runs."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any

from shared.announcer import Announcer
from tests.api_client import Answer, ApiClient, node
from tests.engine import Engine, eventually, wake_due

#: What stands for a response.
HELLO = {"template": "hello {{ n1.payload.name | default: 'you' }}", "is_response": True}
_HANDLES = {"wait_for_callback": "received"}


class Synced:
    """An api and a worker.

    Args:
        api: serves.
        engine: works.
    """

    def __init__(self, api: ApiClient, engine: Engine) -> None:
        self.api, self.engine = api, engine

    @classmethod
    @asynccontextmanager
    async def open(cls, api: ApiClient, database_url: str, *, broker_url: str = "") -> AsyncIterator["Synced"]:
        """Both, working until the end; with a broker its doorbells ring, without one answers are found by looking."""
        async with Engine.running(database_url) as engine:
            api.api._announcer.announce = engine.mailbox.announce  # type: ignore[method-assign]
            announcer = Announcer(broker_url) if broker_url else None
            if announcer is not None:
                engine.executor.commits._on_answered = announcer.answered
            carrying = asyncio.create_task(cls(api, engine)._carry())
            try:
                yield cls(api, engine)
            finally:
                carrying.cancel()
                if announcer is not None:
                    announcer.close()

    async def _carry(self) -> None:
        while True:
            await self.engine.follow()
            await wake_due(self.engine.outside, self.engine.mailbox)
            await asyncio.sleep(0.002)

    async def flow(self, *steps: dict[str, Any], trigger: str = "sync_request_trigger", **changes: Any) -> str:
        """A workflow of these nodes one after the other behind its trigger `n1`; its id."""
        nodes = [node("n1", trigger), *steps]
        edges = [
            {"id": f"e{place}", "source": one["id"], "target": two["id"], "sourceHandle": _HANDLES.get(one["type"])}
            for place, (one, two) in enumerate(pairwise(nodes))
        ]
        created: str = (await self.api.create(nodes=nodes, edges=edges, **changes))["id"]
        return created

    async def call(self, flow: str, body: Any = None, **options: Any) -> Answer:
        """Run a workflow and wait for its answer."""
        return await self.api.call("POST", f"/workflows/sync/{flow}", body, **options)

    async def waiting(self, number: int = 1) -> None:
        """Wait until so many runs are waited for."""
        await eventually(lambda: len(self.api.api.services.sync._waiters) == number)


def text(name: str = "n2", **data: Any) -> dict[str, Any]:
    """A text, by default one that answers."""
    return node(name, "text_transform", **{**HELLO, **data})
