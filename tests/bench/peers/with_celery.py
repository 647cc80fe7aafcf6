"""Celery: chains of tasks over Redis, two worker processes. Nothing is durable: Redis keeps it in memory.

with_celery.py DATABASE_URL BROKER_URL SECONDS
"""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import redis
from celery import Celery, chain
from measure import LENGTH, PAYLOAD, sent, tell

_URL = os.environ.get("PEER_BROKER_URL") or sys.argv[2]
_DONE = "done"
app = Celery("with_celery", broker=_URL)
app.conf.update(task_ignore_result=True, broker_connection_retry_on_startup=True, worker_hijack_root_logger=False)
_redis = redis.Redis.from_url(_URL)


@app.task
def receive(payload: dict[str, Any]) -> dict[str, Any]:
    return payload


@app.task
def is_ada(payload: dict[str, Any]) -> dict[str, Any] | None:
    return payload if payload["name"] == "ada" else None


@app.task
def greet(payload: dict[str, Any], name: str) -> str:
    _redis.rpush(_DONE, name)
    return f"Hello {payload['name']}!"


@app.task
def nothing(number: int) -> int:
    return number


@app.task
def last(number: int, name: str) -> int:
    _redis.rpush(_DONE, name)
    return number


def run(name: str) -> None:
    chain(receive.s(PAYLOAD), is_ada.s(), greet.s(name)).apply_async()


def steps(name: str) -> None:
    chain(nothing.s(0), *(nothing.s() for _ in range(LENGTH - 2)), last.s(name)).apply_async()


def main(seconds: float) -> None:
    command = [sys.executable, "-W", "ignore", "-m", "celery", "-A", "with_celery", "worker", "--concurrency", "2"]
    quiet = ["--loglevel", "ERROR", "--without-gossip", "--without-mingle"]
    folder = Path(__file__).parent.resolve()
    worker = subprocess.Popen([*command, *quiet], cwd=folder, env=os.environ | {"PEER_BROKER_URL": _URL},
                              stdout=subprocess.DEVNULL)  # fmt: skip
    try:
        sent(run, _redis, _DONE, 1.0, 3)
        runs = sent(run, _redis, _DONE, seconds, 3)
        tell(runs, sent(steps, _redis, _DONE, seconds, LENGTH))
    finally:
        worker.terminate()
        worker.wait(30)


if __name__ == "__main__":
    main(float(sys.argv[3]))
