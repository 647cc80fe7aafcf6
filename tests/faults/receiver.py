"""The receiver that every effect of a drill goes to: it answers as the node's behaviour says, and keeps a ledger."""

import asyncio
import json
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from random import Random
from typing import Any

from aiohttp import web

from tests.faults.records import CUT, Call
from tests.faults.shapes import BEHAVIOURS, Behaviour


class Ledger:
    """Answers ``POST /<behaviour>``; ``calls`` holds every request, in the order they came.

    Args:
        chance: decides what is random in an answer.
    """

    def __init__(self, chance: Random) -> None:
        self.calls: list[Call] = []
        self.address = ""
        self._chance = chance
        self._under: Counter[str] = Counter()
        self._tokens = count(1)

    @classmethod
    @asynccontextmanager
    async def serving(cls, chance: Random) -> AsyncIterator["Ledger"]:
        """A ledger that serves on this loop; ``address`` is its host and port."""
        ledger = cls(chance)
        app = web.Application()
        app.router.add_post("/{behaviour}", ledger._answer)
        runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=0.1)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0, backlog=1024).start()
            ledger.address = f"127.0.0.1:{runner.addresses[0][1]}"
            yield ledger
        finally:
            await runner.cleanup()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        call = self._enter(request.headers.get("Idempotency-Key", ""), await request.json())
        behaviour = BEHAVIOURS[request.match_info["behaviour"]]
        await asyncio.sleep(self._chance.uniform(*behaviour.seconds))
        status = behaviour.answers[min(call.nth, len(behaviour.answers)) - 1]
        call.ended = time.time()
        if status == CUT:
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        call.status = status
        return self._respond(call, behaviour)

    def _enter(self, key: str, body: dict[str, Any]) -> Call:
        self._under[key] += 1
        item = key.rpartition(":")[2]
        call = Call(key, body["run"], body["node"], item, self._under[key], body["built_on"], time.time())
        self.calls.append(call)
        return call

    def _respond(self, call: Call, behaviour: Behaviour) -> web.Response:
        if call.status != 200:
            headers = {"Retry-After": str(behaviour.retry_after)} if call.status == 429 else {}
            return web.Response(status=call.status, headers=headers)
        call.token = f"{call.node}.{next(self._tokens)}"
        answer = {"token": call.token, "number": self._chance.randrange(100)}
        return web.Response(body=json.dumps(answer).encode(), content_type="application/json")
