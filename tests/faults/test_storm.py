"""A storm: runs of several shapes under load, while every process of an installation is killed, stopped and emptied.

What is checked at the end is what was promised: every accepted run completed, every effect was made at least once and
under one key, no join ran twice, and the tables agree with each other.
"""

import asyncio
import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import asyncpg
import psutil
import pytest
import redis

from shared.ids import Prefix, encode
from tests.acceptance.outside import Client, Receiver, edges, node
from tests.running import Starter, Up, until

_SECONDS = float(os.environ.get("STORM_SECONDS", "15"))
_SEED = int(os.environ.get("STORM_SEED", str(random.SystemRandom().randrange(1_000_000))))

pytestmark = pytest.mark.timeout(_SECONDS + 300)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A receiver that answers at once and keeps a ledger."""
    receiver = Receiver()
    yield receiver
    receiver.close()


def _shapes(client: Client, receiver: Receiver) -> list[dict[str, object]]:
    def call(name: str) -> dict[str, object]:
        return node(name, "webhook", method="POST", url=receiver.url(f"/now/{name}"), body={"run": "{{ run.id }}"})

    start, leaf = node("start", "manual_trigger"), node("leaf", "text_transform", template="{{ start.run_id }}")
    wide = [f"branch{number}" for number in range(6)]
    return [
        client.create([start, leaf], edges(("start", "leaf"))),
        client.create(
            [start, call("one"), call("two"), leaf], edges(("start", "one"), ("one", "two"), ("two", "leaf"))
        ),
        client.create(
            [start, *map(call, wide), node("join", "text_transform", template="x"), call("after")],
            edges(*(("start", name) for name in wide), *((name, "join") for name in wide), ("join", "after")),
        ),
        client.create(
            [start, node("wait", "delay", duration=1, unit="second"), call("late")],
            edges(("start", "wait"), ("wait", "late")),
        ),
    ]


class Storm:
    """Does one thing after the other to an installation until told to stop; ``log`` says what."""

    def __init__(self, up: Up, chance: random.Random) -> None:
        self._up = up
        self._chance = chance
        self.log: list[str] = []

    def blow(self, until_moment: float) -> None:
        """Go on until a moment of the monotonic clock, then wait until everything serves again."""
        while time.monotonic() < until_moment:
            act = self._chance.choice([self._kill, self._kill, self._freeze, self._flush, self._terminate])
            with suppress(psutil.NoSuchProcess, redis.RedisError, ProcessLookupError):
                act()
            pause = time.monotonic() + self._chance.uniform(0.5, 4.0)
            until(lambda pause=pause: time.monotonic() > pause)  # type: ignore[misc]
        until(self._up.is_serving, 60)

    def _victim(self, *names: str) -> tuple[str, int]:
        pids = self._up.told()["pids"]
        name = self._chance.choice(names)
        return name, self._chance.choice(pids[name]) if name == "workers" else pids[name]

    def _kill(self) -> None:
        name, pid = self._victim("workers", "workers", "scheduler", "api", "redis", "postgres")
        self.log.append(f"SIGKILL {name}")
        os.kill(pid, signal.SIGKILL)

    def _terminate(self) -> None:
        name, pid = self._victim("workers", "scheduler")
        self.log.append(f"SIGTERM {name}")
        os.kill(pid, signal.SIGTERM)

    def _freeze(self) -> None:
        name, pid = self._victim("workers", "scheduler")
        self.log.append(f"SIGSTOP {name}")
        process = psutil.Process(pid)
        process.suspend()
        over = time.monotonic() + self._chance.uniform(1, 9)
        until(lambda: time.monotonic() > over)
        process.resume()

    def _flush(self) -> None:
        self.log.append("FLUSHALL")
        with redis.Redis.from_url(self._up.told()["broker_url"], socket_timeout=2) as broker:
            broker.flushall()


def _drive(client: Client, shapes: list[dict[str, object]], stop: threading.Event, seed: int) -> list[str]:
    """Start runs until told to stop; the ids of those that were accepted."""
    chance, accepted = random.Random(seed), []
    while not stop.is_set():
        try:
            accepted.append(client.execute(chance.choice(shapes)))
        except (AssertionError, OSError):
            continue  # refused, or nobody there: not accepted
    return accepted


def test_no_promise_is_broken_in_a_storm(start: Starter, receiver: Receiver) -> None:
    """Whatever is killed, stopped or emptied: accepted means completed, and nothing is done twice that must not be."""
    print(f"STORM_SEED={_SEED} STORM_SECONDS={_SECONDS:g}")
    up = start("--workers", "2", env={"EDGEWISE_EGRESS_ALLOW": receiver.address}).ready()
    told = up.told()
    client = Client(told["url"], told["token"])
    shapes = _shapes(client, receiver)
    storm, stop = Storm(up, random.Random(_SEED)), threading.Event()
    with ThreadPoolExecutor(4) as pool:
        drivers = [pool.submit(_drive, client, shapes, stop, _SEED + number) for number in range(4)]
        try:
            storm.blow(time.monotonic() + _SECONDS)
        finally:
            stop.set()
    accepted = [run_id for driver in drivers for run_id in driver.result()]
    calm = time.monotonic()
    print(f"{len(accepted)} runs accepted; {Counter(storm.log)}")
    assert len(accepted) > _SECONDS
    database_url = up.told()["database_url"]
    asyncio.run(_settled(database_url))
    print(f"all steps settled {time.monotonic() - calm:.1f} s after the storm")
    asyncio.run(_check(database_url))
    asyncio.run(_check_effects(database_url, accepted, receiver))


async def _settled(database_url: str) -> None:
    """Wait until no step is open."""
    async with asyncio.timeout(120):
        while await _scalar(database_url, "SELECT count(*) FROM open_steps"):  # noqa: ASYNC110 — nothing tells us
            await asyncio.sleep(0.2)


async def _check(database_url: str) -> None:
    """The tables agree: all runs completed, with as many results as steps, each step with one result."""
    for what, query in {
        "runs that did not complete": "SELECT count(*) FROM runs WHERE status <> 'completed'",
        "runs with open steps left": "SELECT count(*) FROM runs WHERE open_steps <> 0",
        "steps with more than one result": """
            SELECT count(*) FROM (SELECT FROM steps WHERE status <> 'retried' GROUP BY run_id, node_id, item
                                  HAVING count(*) > 1) AS doubled""",
        "log numbers that stand twice": """
            SELECT count(*) FROM (SELECT FROM steps GROUP BY run_id, seq HAVING count(*) > 1) AS doubled""",
        "runs that lack a step": """
            SELECT count(*) FROM (
                SELECT r.id FROM runs r JOIN workflow_versions v USING (workflow_id, version)
                JOIN steps s ON s.run_id = r.id GROUP BY r.id, v.nodes
                HAVING count(*) <> json_array_length(v.nodes::json)) AS short""",
    }.items():
        assert await _scalar(database_url, query) == 0, what


async def _scalar(database_url: str, query: str) -> int:
    connection = await asyncpg.connect(database_url)
    try:
        number: int = await connection.fetchval(query)
    finally:
        await connection.close()
    return number


async def _check_effects(database_url: str, accepted: list[str], receiver: Receiver) -> None:
    """Every accepted run is there, and every call its steps were to make was made, under the key of the step."""
    connection = await asyncpg.connect(database_url)
    try:
        runs = {encode(Prefix.RUN, row["id"]) for row in await connection.fetch("SELECT id FROM runs")}
        rows = await connection.fetch("SELECT run_id, node_id, item FROM steps WHERE input IS NOT NULL")
    finally:
        await connection.close()
    assert set(accepted) <= runs
    made = {call.key for call in receiver.calls}
    wanted = {f"{encode(Prefix.RUN, row['run_id'])}:{row['node_id']}:{row['item']}" for row in rows}
    assert made == wanted
