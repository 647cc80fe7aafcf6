"""More webhook requests than an installation can take, and Postgres that dies under them: no 202 is ever lost.

Every request has a key of its own and is repeated, as senders do, until it is accepted: whatever became of the answers
there is one run for each key at the end.
"""

import asyncio
import json
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import aiohttp
import asyncpg
import pytest
import pytest_asyncio

from shared.ids import Prefix, decode
from tests.faults.length import SEED
from tests.faults.scene import Scene, scene

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(300)]

#: Runs that may be open, few enough that a small load is too large.
_OPEN: Final = 300
_CONNECTIONS: Final = 96
#: How often a sender repeats what was refused, in a drill of Postgres.
_REPEATS: Final = 200


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def small(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Scene]:
    """A fleet that takes few runs at once."""
    async with scene(tmp_path_factory.mktemp("small"), SEED, EDGEWISE_MAX_OPEN_RUNS=str(_OPEN)) as one:
        yield one


class Sender:
    """Sends webhook requests and writes down what it is told.

    Attributes:
        accepted: the run's id by key.
        refusals: how often a request was answered with each status and code besides.
        faults: answers and errors that a sender can do nothing with.
        tries: how many requests were sent.
    """

    def __init__(self, session: aiohttp.ClientSession, path: str) -> None:
        self._session = session
        self._path = path
        self.accepted: dict[str, str] = {}
        self.refusals: Counter[tuple[int, str]] = Counter()
        self.faults: list[str] = []
        self.tries = 0

    @classmethod
    @asynccontextmanager
    async def to(cls, one: Scene, data: dict[str, Any]) -> AsyncIterator["Sender"]:
        """A sender to a new workflow: a webhook, and a node with this data."""
        nodes = [
            {"id": "t", "type": "x", "position": {"x": 0, "y": 0}, "data": {"componentId": "webhook_trigger"}},
            {"id": "n", "type": "x", "position": {"x": 0, "y": 0}, "data": data},
        ]
        body = {"name": "flood", "nodes": nodes, "edges": [{"id": "e", "source": "t", "target": "n"}]}
        status, _, answer = await one.client.ask("POST", "/workflows", body)
        assert status == 201, answer
        path = json.loads(answer)["webhook_url"].partition("/workflows/")[2]
        connector = aiohttp.TCPConnector(limit=_CONNECTIONS)
        timeout = aiohttp.ClientTimeout(total=60)
        async with aiohttp.ClientSession(one.fleet.url, connector=connector, timeout=timeout) as session:
            yield cls(session, f"/workflows/{path}")

    async def send(self, key: str) -> bool:
        """Send one request; whether it was accepted."""
        self.tries += 1
        try:
            async with self._session.post(self._path, json={"key": key}, headers={"Idempotency-Key": key}) as answer:
                told = await answer.json()
                if answer.status == 202:
                    if self.accepted.setdefault(key, told["run_id"]) != told["run_id"]:
                        self.faults.append(f"{key} has two runs")
                    return True
                self.refusals[answer.status, told["code"]] += 1
                if answer.status not in (429, 503) or int(answer.headers.get("Retry-After", 0)) < 1:
                    self.faults.append(f"{answer.status} {told} {dict(answer.headers)}")
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            self.faults.append(repr(error))
        return False

    async def insist(self, key: str, pause: float = 0.05) -> None:
        """Send one request until it is accepted."""
        for _ in range(_REPEATS):
            if await self.send(key):
                return
            await asyncio.sleep(pause)
        self.faults.append(f"{key} was never accepted")

    async def saturate(self, seconds: float) -> float:
        """What is accepted in a second if every connection sends as soon as it was answered."""
        ends = time.monotonic() + seconds
        before = len(self.accepted)

        async def on(connection: int) -> None:
            number = 0
            while time.monotonic() < ends:
                number += 1
                await self.send(f"closed {connection} {number}")

        await asyncio.gather(*(on(connection) for connection in range(_CONNECTIONS)))
        return (len(self.accepted) - before) / seconds

    async def flood(self, rate: float, seconds: float) -> None:
        """So many requests a second, whatever becomes of those before."""
        began = time.monotonic()
        async with asyncio.TaskGroup() as requests:
            for number in range(int(rate * seconds)):
                if (left := began + number / rate - time.monotonic()) > 0.002:
                    await asyncio.sleep(left)
                requests.create_task(self.send(f"open {number}"))

    async def prove(self, one: Scene, *, all_answered: bool) -> None:
        """Every accepted request has its one run, which has ended, and there is no other run.

        Args:
            one: the scene.
            all_answered: whether no request was left in the dark; else there may be runs nobody was told of.
        """
        assert not self.faults, self.faults[:5]
        await one.settle(120)
        told = {decode(Prefix.RUN, run_id) for run_id in self.accepted.values()}
        assert len(told) == len(self.accepted)
        rows: list[asyncpg.Record] = await one.query(
            "SELECT r.id, r.status, r.trigger_payload::json -> 'webhook_payload' ->> 'key' AS key FROM runs r"
            " JOIN workflows w ON w.id = r.workflow_id WHERE w.webhook_token_hash = sha256($1)",
            self._path.rpartition("/")[2].encode(),
        )
        there = {row["id"]: row["key"] for row in rows if row["status"] == "completed"}
        assert told <= set(there)
        assert len(set(there.values())) == len(rows)
        if all_answered:
            assert len(rows) == len(told)


async def _prove_at_saturation(one: Scene, data: dict[str, Any], seconds: float) -> None:
    async with Sender.to(one, data) as sender:
        rate = await sender.saturate(min(seconds, 5.0) / 2)
        assert rate > 0
        await sender.flood(1.5 * max(rate, _OPEN), seconds)
        codes = dict(sender.refusals)
        print(f"saturated at {rate:.0f}/s; {sender.tries} requests, {len(sender.accepted)} accepted; refused: {codes}")
        assert sum(sender.refusals.values()) > 0
        await sender.prove(one, all_answered=True)


async def test_past_saturation_every_202_has_its_run(small: Scene) -> None:
    """At 1.5 times of what is worked off, each request is accepted for good or told when to come back."""
    await _prove_at_saturation(small, {"componentId": "delay", "duration": 1}, 3.0)


@pytest.mark.drill
async def test_past_saturation_for_a_minute(small: Scene) -> None:
    """The same for 60 seconds."""
    await _prove_at_saturation(small, {"componentId": "delay", "duration": 1}, 60.0)


async def _restarted(one: Scene, keys: int, times: int) -> Sender:
    """Postgres is killed again and again under senders that repeat what was refused."""
    async with Sender.to(one, {"componentId": "text_transform", "template": "x"}) as sender:
        waiting = iter(range(keys))

        async def on() -> None:
            for number in waiting:
                await sender.insist(f"k{number}")

        async with asyncio.TaskGroup() as tasks:
            for _ in range(32):
                tasks.create_task(on())
            for turn in range(1, times + 1):
                async with asyncio.timeout(60):
                    while len(sender.accepted) < turn * keys // (times + 1):  # noqa: ASYNC110 — nothing tells us
                        await asyncio.sleep(0.01)
                one.fleet.send("postgres", signal.SIGQUIT if turn % 2 else signal.SIGINT)
        await one.fleet.ready()
        await sender.prove(one, all_answered=False)
        assert len(sender.accepted) == keys
    return sender


async def test_postgres_restarts_under_ingest(small: Scene) -> None:
    """Killed while requests come in: no 202 is lost, and a repeat with its key makes no second run."""
    sender = await _restarted(small, keys=600, times=1)
    print(dict(sender.refusals))


@pytest.mark.drill
async def test_postgres_restarts_again_and_again(small: Scene) -> None:
    """Twenty times."""
    await _restarted(small, keys=40_000, times=20)
