"""Dramatiq: pipelines of actors over Redis, two worker processes. Nothing is durable: Redis keeps it in memory.

with_dramatiq.py DATABASE_URL BROKER_URL SECONDS
"""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import dramatiq
import redis
from dramatiq.brokers.redis import RedisBroker
from measure import LENGTH, PAYLOAD, sent, tell

_URL = os.environ.get("PEER_BROKER_URL") or sys.argv[2]
_DONE = "done"
_redis = redis.Redis.from_url(_URL)
dramatiq.set_broker(RedisBroker(url=_URL))


@dramatiq.actor
def receive(payload: dict[str, Any]) -> dict[str, Any]:
    return payload


@dramatiq.actor
def is_ada(payload: dict[str, Any]) -> dict[str, Any] | None:
    return payload if payload["name"] == "ada" else None


@dramatiq.actor
def greet(name: str, payload: dict[str, Any]) -> str:
    _redis.rpush(_DONE, name)
    return f"Hello {payload['name']}!"


@dramatiq.actor
def nothing(number: int) -> int:
    return number


@dramatiq.actor
def last(name: str, number: int) -> int:
    _redis.rpush(_DONE, name)
    return number


def run(name: str) -> None:
    dramatiq.pipeline([receive.message(PAYLOAD), is_ada.message(), greet.message(name)]).run()


def steps(name: str) -> None:
    between = (nothing.message() for _ in range(LENGTH - 2))
    dramatiq.pipeline([nothing.message(0), *between, last.message(name)]).run()


def main(seconds: float) -> None:
    command = [sys.executable, "-m", "dramatiq", "with_dramatiq", "--processes", "2", "--threads", "8"]
    folder = Path(__file__).parent.resolve()
    worker = subprocess.Popen(command, cwd=folder, env=os.environ | {"PEER_BROKER_URL": _URL},
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
    try:
        sent(run, _redis, _DONE, 1.0, 3)
        runs = sent(run, _redis, _DONE, seconds, 3)
        tell(runs, sent(steps, _redis, _DONE, seconds, LENGTH))
    finally:
        worker.terminate()
        worker.wait(30)


if __name__ == "__main__":
    main(float(sys.argv[3]))
