"""What must hold when processes die: real processes, real servers, a receiver that keeps a ledger."""

import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
import redis

from tests.acceptance.outside import Client, Receiver, edges, node
from tests.running import Up, get, until

pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    """A receiver that is told to be outside; each test has paths of its own."""
    receiver = Receiver()
    yield receiver
    receiver.close()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, receiver: Receiver) -> Iterator[Up]:
    """Two workers of four slots each: each test leaves them as it found them, whole."""
    with _two_workers(tmp_path_factory.mktemp("up"), receiver, slots=4) as up:
        yield up


@contextmanager
def _two_workers(folder: Path, receiver: Receiver, *, slots: int) -> Iterator[Up]:
    env = {"EDGEWISE_EGRESS_ALLOW": receiver.address, "EDGEWISE_WORKER_SLOTS": str(slots)}
    up = Up(folder / "data", "--workers", "2", env=env)
    try:
        yield up.ready()
    finally:
        up.kill()
        until(lambda: not up.members())


def _client(up: Up) -> Client:
    told = up.told()
    return Client(told["url"], told["token"])


def _held(client: Client, receiver: Receiver, path: str) -> str:
    """Start a run whose only effect is held by the receiver; its id."""
    workflow = client.create(
        [
            node("start", "manual_trigger"),
            node("call", "webhook", method="POST", url=receiver.url(path), body={"run": "{{ run.id }}"}),
            node("after", "text_transform", template="answered by {{ call.body.by }}"),
        ],
        edges(("start", "call"), ("call", "after")),
    )
    run_id = client.execute(workflow)
    until(lambda: len(receiver.to(path)) == 1)
    return run_id


def test_branches_run_on_two_workers_at_the_same_time_and_their_join_runs_once(
    tmp_path: Path, receiver: Receiver
) -> None:
    """Two HTTP branches are in flight in two processes at once; the node that joins them runs once."""
    with _two_workers(tmp_path, receiver, slots=1) as up:
        _branches_and_their_join(up, receiver)


def _branches_and_their_join(up: Up, receiver: Receiver) -> None:
    client = _client(up)
    workflow = client.create(
        [
            node("start", "manual_trigger"),
            node("left", "webhook", method="POST", url=receiver.url("/hold/left"), body={}),
            node("right", "webhook", method="POST", url=receiver.url("/hold/right"), body={}),
            node("join", "text_transform", template="{{ left.body.side }}+{{ right.body.side }}"),
            node("after", "webhook", method="POST", url=receiver.url("/now/after"), body={"joined": "{{ join.text }}"}),
        ],
        edges(("start", "left"), ("start", "right"), ("left", "join"), ("right", "join"), ("join", "after")),
    )
    run_id = client.execute(workflow)
    until(lambda: bool(receiver.to("/hold/left") and receiver.to("/hold/right")))
    left, right = receiver.to("/hold/left")[0], receiver.to("/hold/right")[0]
    workers = up.told()["pids"]["workers"]
    assert left.pid(workers) != right.pid(workers)
    receiver.release(left, {"side": "left"})
    receiver.release(right, {"side": "right"})
    until(client.has_ended(run_id))
    run = client.run(run_id)
    assert run["status"] == "completed", run
    assert [call.body for call in receiver.to("/now/after")] == [b'{"joined":"left+right"}']
    assert [log["node_id"] for log in run["logs"]].count("join") == 1


def test_the_step_of_a_killed_worker_runs_elsewhere_within_ten_seconds(shared: Up, receiver: Receiver) -> None:
    """kill -9 in the middle of a call: it is made again, under the same key, and the run completes."""
    up, client = shared, _client(shared)
    run_id = _held(client, receiver, "/hold/killed")
    first = receiver.to("/hold/killed")[0]
    workers = up.told()["pids"]["workers"]
    victim = first.pid(workers)
    killed_at = time.monotonic()
    os.kill(victim, signal.SIGKILL)
    until(lambda: len(receiver.to("/hold/killed")) == 2, 15)
    second = receiver.to("/hold/killed")[1]
    assert second.at - killed_at < 10
    assert second.key == first.key == f"{run_id}:call:-"
    receiver.release(second, {"by": "second"})
    until(client.has_ended(run_id))
    assert client.run(run_id)["status"] == "completed"
    until(lambda: victim not in up.told()["pids"]["workers"] and up.is_serving())


def test_a_worker_that_was_stopped_for_twenty_seconds_overwrites_nothing(shared: Up, receiver: Receiver) -> None:
    """SIGSTOP for longer than a lease, then SIGCONT: the late answer changes neither the step nor the run."""
    up, client = shared, _client(shared)
    run_id = _held(client, receiver, "/hold/stopped")
    first = receiver.to("/hold/stopped")[0]
    told = up.told()
    victim = first.pid(told["pids"]["workers"])
    psutil.Process(victim).suspend()
    stopped_at = time.monotonic()
    try:
        until(lambda: len(receiver.to("/hold/stopped")) == 2, 15)
        receiver.release(receiver.to("/hold/stopped")[1], {"by": "second"})
        until(client.has_ended(run_id))
        before = client.run(run_id)
        receiver.release(first, {"by": "first"})
        until(lambda: time.monotonic() - stopped_at > 20, 25)
    finally:
        psutil.Process(victim).resume()
    place = told["pids"]["workers"].index(victim)
    ready = told["metrics"]["workers"][place].replace("/metrics", "/readyz")
    until(lambda: get(ready) == 200)  # it lives on, as a new incarnation
    assert psutil.pid_exists(victim)
    assert before["status"] == "completed"
    assert before["logs"][-1]["output"] == {"text": "answered by second"}
    assert client.run(run_id) == before
    again = client.execute({"id": before["workflow_id"]})
    until(lambda: len(receiver.to("/hold/stopped")) == 3)
    receiver.release(receiver.to("/hold/stopped")[2], {"by": "third"})
    until(client.has_ended(again))


def test_runs_complete_although_redis_is_emptied(shared: Up, receiver: Receiver) -> None:
    """FLUSHALL in the middle of 200 runs: every one of them completes, each effect with one key."""
    up, client = shared, _client(shared)
    workflow = client.create(
        [
            node("start", "manual_trigger"),
            node("one", "webhook", method="POST", url=receiver.url("/now/emptied"), body={}),
            node("two", "webhook", method="POST", url=receiver.url("/hold/two"), body={}),
        ],
        edges(("start", "one"), ("one", "two")),
    )
    with ThreadPoolExecutor(8) as pool:
        runs = list(pool.map(lambda _: client.execute(workflow), range(200)))
    until(lambda: len(receiver.to("/hold/two")) >= 8)  # both workers are full, the rest is in the queue
    broker = redis.Redis.from_url(up.told()["broker_url"])
    broker.flushall()
    broker.close()
    receiver.release_all("/hold/two")
    until(lambda: _completed(client, workflow) == 200, 60)
    assert {call.key for call in receiver.to("/hold/two")} == {f"{run_id}:two:-" for run_id in runs}


def test_runs_complete_although_postgres_is_killed(shared: Up, receiver: Receiver) -> None:
    """kill -9 of Postgres under load: it is back by itself, and every accepted run completes."""
    up, client = shared, _client(shared)
    one = node("one", "webhook", method="POST", url=receiver.url("/hold/postgres"), body={})
    workflow = client.create([node("start", "manual_trigger"), one], edges(("start", "one")))
    accepted = [client.execute(workflow) for _ in range(20)]
    until(lambda: len(receiver.to("/hold/postgres")) >= 8)  # both workers are full
    killed = up.told()["pids"]["postgres"]
    os.kill(killed, signal.SIGKILL)
    receiver.release_all("/hold/postgres")
    # Until then all may still say that they can work: nobody has asked the server since.
    until(lambda: up.told()["pids"]["postgres"] != killed and up.is_serving(), 60)
    accepted += [client.execute(workflow) for _ in range(20)]
    until(lambda: _completed(client, workflow) == len(accepted), 60)


def _completed(client: Client, workflow: dict[str, object]) -> int:
    total: int = client("GET", f"/workflows/{workflow['id']}/executions?status=completed&per_page=1")["meta"]["total"]
    return total
