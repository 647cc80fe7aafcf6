"""The clients of a drill: they start runs over HTTP, repeat what is safe to repeat, and watch what becomes of them."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from itertools import count
from random import Random
from typing import Any, Final

import aiohttp

from shared.db import Clock
from shared.states import RUN_TERMINAL
from tests.faults.receiver import Ledger
from tests.faults.records import Sighting, Trigger, Violation
from tests.faults.shapes import Drawing, Shape, draw

#: How often a client repeats a request whose fate it does not know.
_REPEATS: Final = 8
#: The share of runs that are cancelled soon after they began.
_CANCELLED: Final = 0.05
#: What a trigger may be refused with; each says when to come back.
_REFUSALS: Final = {409, 429, 503}
_AWAY: Final = (aiohttp.ClientError, OSError, TimeoutError)


class Client:
    """The API over one HTTP session, for any number of tasks.

    Args:
        url: of the API.
        token: for it.
        chance: decides what is sent.

    Attributes:
        triggers: everything that was sent to start a run.
        sightings: what was seen of runs.
        shapes: the saved workflows, by name.
        refusals: how often a trigger was answered with each status other than 202.
        faults: answers that were none of those a caller can do something with.
    """

    def __init__(self, session: aiohttp.ClientSession, chance: Random) -> None:
        self._session = session
        self._chance = chance
        self._markers = count(1)
        self._clock = Clock()
        self.triggers: list[Trigger] = []
        self.sightings: list[Sighting] = []
        self.shapes: dict[str, Shape] = {}
        self.refusals: Counter[int] = Counter()
        self.faults: list[Violation] = []

    @classmethod
    @asynccontextmanager
    async def of(cls, url: str, token: str, chance: Random) -> AsyncIterator["Client"]:
        """A client that is closed at the end."""
        headers = {"Authorization": f"Bearer {token}"}
        timeout = aiohttp.ClientTimeout(total=10)
        async with aiohttp.ClientSession(url, headers=headers, timeout=timeout) as session:
            yield cls(session, chance)

    async def save(self, shape: Shape, **more: Any) -> Shape:
        """Save a shape as a workflow."""
        body = {"name": shape.name, "nodes": shape.nodes, "edges": shape.edges, **more}
        async with self._session.post("/workflows", json=body) as answer:
            assert answer.status == 201, await answer.text()
            saved = await answer.json()
        shape.id, shape.token = saved["id"], (saved["webhook_url"] or "").rpartition("/")[2]
        self.shapes[shape.name] = shape
        return shape

    async def save_random(self, how_many: int, ledger: Ledger) -> None:
        """Save random shapes, and one that a schedule starts every second."""
        for number in range(how_many):
            await self.save(draw(number, f"http://{ledger.address}", self._chance))
        scheduled = Drawing("scheduled", f"http://{ledger.address}")
        scheduled.call([("start", None)], "ok")
        await self.save(scheduled.shape, schedule_type="interval", schedule_value="1 second")

    async def ask(self, method: str, path: str, body: Any = None) -> tuple[int, Mapping[str, str], bytes]:
        """Send any request; status, headers and body of its answer."""
        async with self._session.request(method, path, json=body) as answer:
            return answer.status, answer.headers, await answer.read()

    async def schedule(self, workflow: str, interval: str) -> None:
        """Let a schedule start a saved workflow."""
        body = {"schedule_type": "interval", "schedule_value": interval}
        async with self._session.put(f"/workflows/{workflow}", json=body) as answer:
            assert answer.status == 200, await answer.text()

    async def drive(self, pause: float, stop: asyncio.Event) -> None:
        """Start runs of random shapes, ``pause`` seconds apart on average, until told to stop."""
        shapes = [shape for shape in self.shapes.values() if shape.name != "scheduled"]
        while not stop.is_set():
            trigger = await self.trigger(self._chance.choice(shapes))
            await asyncio.sleep(self._chance.uniform(0, 2 * pause))
            if trigger.answers and self._chance.random() < _CANCELLED:
                await self.cancel(trigger)

    async def trigger(self, shape: Shape, *, keyed: bool | None = None) -> Trigger:
        """Start one run; a request with a key is repeated until its fate is known, any other is sent once."""
        keyed = not shape.token and (self._chance.random() < 0.5 if keyed is None else keyed)
        trigger = self.invent(shape, keyed=keyed)
        for _ in range(_REPEATS if keyed else 1):
            if await self._send(shape, trigger):
                break
            await asyncio.sleep(0.5)
        return trigger

    async def cancel(self, trigger: Trigger) -> None:
        """Ask once to cancel the run of a trigger."""
        trigger.cancelled = True
        with suppress(*_AWAY):
            await self.ask("POST", f"/workflows/runs/{trigger.answers[0]}/cancel")

    def invent(self, shape: Shape, *, keyed: bool) -> Trigger:
        """A trigger that is about to be sent."""
        marker = next(self._markers)
        payload = {"marker": marker, "pick": self._chance.randrange(100), "word": self._chance.choice("abc")}
        trigger = Trigger(marker, shape.name, payload, keyed)
        self.triggers.append(trigger)
        return trigger

    async def _send(self, shape: Shape, trigger: Trigger) -> bool:
        """Send it once; whether it was accepted, which a keyed one sometimes asks for a second time."""
        path = f"/workflows/webhooks/{shape.token}" if shape.token else f"/workflows/{shape.id}/execute"
        body = trigger.payload if shape.token else {"context": trigger.payload}
        headers = {"Idempotency-Key": f"marker {trigger.marker}"} if trigger.keyed else {}
        try:
            async with self._session.post(path, json=body, headers=headers) as answer:
                if answer.status != 202:
                    self.refusals[answer.status] += 1
                    if answer.status not in _REFUSALS or "Retry-After" not in answer.headers:
                        what = f"{answer.status}: {await answer.text()}"
                        self.faults.append(Violation("answer", f"trigger {trigger.marker}", what))
                    return False
                told = await answer.json()
        except _AWAY:
            return False
        trigger.answers.append(told["run_id" if shape.token else "id"])
        return not trigger.keyed or self._chance.random() < 0.8

    async def watch(self, stop: asyncio.Event) -> None:
        """Follow one run after the other until it has ended, and look at it once more right then."""
        while not stop.is_set():
            accepted = [trigger for trigger in self.triggers[-50:] if trigger.answers]
            if accepted:
                await self._follow(self._chance.choice(accepted).answers[0], stop)
            await asyncio.sleep(0.05)

    async def _follow(self, run: str, stop: asyncio.Event) -> None:
        while not stop.is_set():
            status = await self.look(run)
            if status in RUN_TERMINAL:
                await self.look(run)
                return
            await asyncio.sleep(0.1)

    async def look(self, run: str) -> str | None:
        """GET a run and note what was seen; its status, None if nobody answered."""
        try:
            async with self._session.get(f"/workflows/runs/{run}") as answer:
                if answer.status != 200:
                    return None
                shown = await answer.json()
        except _AWAY:
            return None
        self.sightings.append(Sighting(run, self._clock.time(), shown["status"], shown))
        return str(shown["status"])

    async def look_at_all(self, runs: Sequence[str]) -> None:
        """Look at each of these runs, several at a time."""
        waiting = iter(runs)

        async def look_on() -> None:
            for run in waiting:
                await self.look(run)

        await asyncio.gather(*(look_on() for _ in range(8)))
