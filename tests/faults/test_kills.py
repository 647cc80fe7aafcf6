"""Workers that are killed or told to stop in the middle of steps, and a fan-out wide enough to need all of them."""

import os
import signal
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from shared.ids import Prefix, encode
from tests.acceptance.outside import Client, Receiver, edges, node
from tests.faults.length import GRACE, LONG, SEED
from tests.faults.records import Call
from tests.faults.scene import Scene, scene
from tests.faults.scene import until as soon
from tests.faults.shapes import Drawing, Shape
from tests.running import Starter, Up, until

pytestmark = pytest.mark.timeout(900)

#: How often a worker is killed.
_KILLS = 25 if LONG else 3
_WIDTH = 1000


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A receiver that holds calls back."""
    receiver = Receiver()
    yield receiver
    receiver.close()


def test_killed_steps_run_elsewhere_within_ten_seconds(start: Starter, receiver: Receiver) -> None:
    """Default settings: the 99th percentile from `kill -9` to the same call from another process is under 10 s."""
    up = start("--workers", "2", env={"EDGEWISE_EGRESS_ALLOW": receiver.address}).ready()
    client = Client(up.told()["url"], up.told()["token"])
    call = node("call", "webhook", method="POST", url=receiver.url("/hold/it"), body={})
    workflow = client.create([node("start", "manual_trigger"), call], edges(("start", "call")))
    seconds = sorted(_kill_once(up, client, receiver, workflow) for _ in range(_KILLS))
    print("from kill -9 to the step running elsewhere: " + ", ".join(f"{one:.1f}" for one in seconds))
    assert seconds[-1] < 10


def _kill_once(up: Up, client: Client, receiver: Receiver, workflow: dict[str, object]) -> float:
    """Kill the worker that makes a call; the seconds until another makes it."""
    before = len(receiver.to("/hold/it"))
    run_id = client.execute(workflow)
    until(lambda: len(receiver.to("/hold/it")) == before + 1)
    first = receiver.to("/hold/it")[-1]
    victim = first.pid(up.told()["pids"]["workers"])
    killed_at = time.monotonic()
    os.kill(victim, signal.SIGKILL)
    until(lambda: len(receiver.to("/hold/it")) == before + 2, 20)
    second = receiver.to("/hold/it")[-1]
    assert second.key == first.key == f"{run_id}:call:-"
    receiver.release(second, {})
    until(client.has_ended(run_id))
    assert client.run(run_id)["status"] == "completed"
    until(lambda: victim not in up.told()["pids"]["workers"] and up.is_serving(), 60)
    return second.at - killed_at


async def test_a_worker_that_is_told_to_stop_loses_and_repeats_nothing(tmp_path: Path) -> None:
    """SIGTERM under load: steps shorter than the grace period are made once, longer ones go on elsewhere."""
    async with scene(tmp_path, SEED, EDGEWISE_GRACE_SECONDS=str(GRACE)) as one:
        for behaviour, runs in (("slow", 60), ("outlasting", 6)):
            shape = await _save_call(one, behaviour)
            for _ in range(runs):
                await one.client.trigger(shape, keyed=False)
        await soon(lambda: any(call.ended for call in one.ledger.calls) and _in_flight(one, "outlasting") == 6)
        victim = psutil.Process(one.fleet.pid("worker-1"))
        held = await one.query(
            "SELECT o.run_id, o.node_id, o.item FROM open_steps o JOIN incarnations i ON i.id = o.incarnation_id"
            " WHERE o.status = 'running' AND i.pid = $1",
            victim.pid,
        )
        told_at = time.monotonic()
        victim.send_signal(signal.SIGTERM)
        await soon(lambda: _has_ended(victim))
        seconds = time.monotonic() - told_at
        await one.settle(120)
        violations = await one.check()
    made = {name: Counter(call.key for call in _calls(one, name)) for name in ("slow", "outlasting")}
    print(
        f"gone {seconds:.1f} s after SIGTERM with {GRACE:g} s of grace; {made['outlasting'].total() - 6} steps went on"
    )
    assert seconds < GRACE + 2.5
    assert violations == []
    assert sorted(made["slow"].values()) == [1] * 60
    handed_over = {f"{encode(Prefix.RUN, row['run_id'])}:{row['node_id']}:{row['item']}" for row in held}
    assert made["outlasting"] == {key: 2 if key in handed_over else 1 for key in made["outlasting"]}


async def _save_call(one: Scene, behaviour: str) -> Shape:
    """A workflow of one call."""
    drawing = Drawing(behaviour, f"http://{one.ledger.address}")
    drawing.call([("start", None)], behaviour)
    return await one.client.save(drawing.shape)


def _calls(one: Scene, shape: str) -> list[Call]:
    runs = {trigger.answers[0] for trigger in one.client.triggers if trigger.shape == shape}
    return [call for call in one.ledger.calls if call.run in runs]


def _in_flight(one: Scene, shape: str) -> int:
    return sum(call.ended is None for call in _calls(one, shape))


async def test_a_thousand_branches_join_once_within_ten_seconds(tmp_path: Path) -> None:
    """1 -> 1,000 HTTP branches -> join: under 10 s, every branch called, the join and what follows it once."""
    async with scene(tmp_path, SEED) as one:
        drawing = Drawing("wide", f"http://{one.ledger.address}")
        branches = [drawing.call([("start", None)], "ok") for _ in range(_WIDTH)]
        join = drawing.text([(name, None) for name in branches])
        body = {"run": "{{ run.id }}", "node": f"n{_WIDTH + 2}", "built_on": {}}
        url = f"http://{one.ledger.address}/ok"
        after = drawing.add("call", [(join, None)], "webhook", method="POST", url=url, body=body)
        await one.client.save(drawing.shape)
        await one.client.trigger(drawing.shape, keyed=False)
        await one.settle()
        rows = await one.query("SELECT status, extract(epoch FROM completed_at - created_at) AS seconds FROM runs")
        joined = await one.query("SELECT status FROM steps WHERE node_id = $1", join)
    print(f"1 -> {_WIDTH:,} -> join: {rows[0]['seconds']:.2f} s")
    assert [row["status"] for row in rows] == ["completed"]
    assert rows[0]["seconds"] < 10
    assert [row["status"] for row in joined] == ["success"]
    assert Counter(call.node for call in one.ledger.calls) == Counter([*branches, after])


def _has_ended(process: psutil.Process) -> bool:
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
