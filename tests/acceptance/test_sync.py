"""Requests that wait for their runs, while what they wait by is killed and emptied."""

import json
import os
import signal
import threading
import urllib.error
import urllib.request
from http.client import HTTPException
from typing import Any

import pytest
import redis

from tests.acceptance.outside import Client, edges, node
from tests.running import Up, until

pytestmark = pytest.mark.timeout(120)
_DELAY = 1.5


class Asked:
    """A request that waits, in a thread of its own; ``status`` is 0 if its connection broke."""

    def __init__(self, told: dict[str, Any], flow: str, key: str) -> None:
        self.status = -1
        self.body = b""
        headers = {
            "Authorization": f"Bearer {told['token']}",
            "Content-Type": "application/json",
            "Idempotency-Key": key,
        }
        request = urllib.request.Request(f"{told['url']}/workflows/sync/{flow}", b'{"name":"Ada"}', headers)
        self._thread = threading.Thread(target=self._ask, args=[request], daemon=True)
        self._thread.start()

    def _ask(self, request: urllib.request.Request) -> None:
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                self.status, self.body = answer.status, answer.read()
        except urllib.error.HTTPError as error:
            with error:
                self.status, self.body = error.code, error.read()
        except (OSError, HTTPException):
            self.status = 0

    def ended(self) -> "Asked":
        """The same once it has its answer."""
        self._thread.join(60)
        return self


def _flow(client: Client) -> str:
    created = client.create(
        [
            node("t", "sync_request_trigger"),
            node("wait", "delay", duration=_DELAY, unit="seconds"),
            node("say", "text_transform", template="hello {{ t.payload.name }} {{ t.run_id }}", is_response=True),
        ],
        edges(("t", "wait"), ("wait", "say")),
    )
    return str(created["id"])


def _runs(client: Client, flow: str) -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = client("GET", f"/workflows/{flow}/executions")["data"]
    return listed


def test_it_is_answered_although_workers_are_killed_and_redis_is_emptied(running: Up) -> None:
    """kill -9 of every worker and an emptied broker while it waits: the run goes on elsewhere, and answers."""
    told = running.told()
    client = Client(told["url"], told["token"])
    flow = _flow(client)
    asked = Asked(told, flow, "k")
    until(lambda: len(_runs(client, flow)) == 1)
    for pid in told["pids"]["workers"]:
        os.kill(pid, signal.SIGKILL)
    with redis.Redis.from_url(told["broker_url"]) as broker:
        broker.flushall()
    (run,) = _runs(client, flow)
    asked.ended()
    assert (asked.status, asked.body.decode()) == (200, f"hello Ada {run['id']}")


def test_a_killed_api_loses_no_run_and_a_repeat_gets_its_answer(running: Up) -> None:
    """kill -9 of the process that waits breaks the connection; with the key a repeat gets the first run's answer."""
    until(running.is_serving)
    told = running.told()
    client = Client(told["url"], told["token"])
    flow = _flow(client)
    asked = Asked(told, flow, "k")
    until(lambda: len(_runs(client, flow)) == 1)
    os.kill(told["pids"]["api"], signal.SIGKILL)
    assert asked.ended().status == 0
    until(lambda: running.told()["pids"]["api"] != told["pids"]["api"] and running.is_serving())

    def answered() -> bool:
        repeat = Asked(told, flow, "k").ended()
        if repeat.status == 409:
            assert json.loads(repeat.body)["code"] == "idempotency_in_progress"
        asked.status, asked.body = repeat.status, repeat.body
        return repeat.status == 200

    until(answered)
    (run,) = _runs(client, flow)
    assert asked.body.decode() == f"hello Ada {run['id']}"
    assert run["status"] == "completed"
