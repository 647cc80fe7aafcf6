"""Nodes that end the process they run in, and the processes that are there to be ended.

What a ``probe`` or a ``fold`` does is its ``name``: ``exit``, ``segfault``, ``spin``, ``memory``, ``raise``, ``wait``
(probes), ``until:FILE`` (it stays until there is that file), or nothing much. Behind ``worker:`` it does so only
outside a process of its own. Each call is noted in the
file that ``KILLERS`` names: node, idempotency key or ``-``, and where it ran.
"""

import asyncio
import ctypes
import functools
import os
import sys
import time
from pathlib import Path
from typing import Any

import shared.apart.isolated
import worker.main
from shared.config import load
from shared.nodes.base import Outcome, StepContext
from shared.nodes.registry import Registry
from tests.engine import ProbeData, registry
from worker.isolation import Isolation
from worker.watchdog import Watchdog

_ROOT = Path(__file__).parent.parent
_apart: list[bool] = []


def _command(entry: str) -> tuple[str, ...]:
    code = f"import sys; sys.path.insert(0, {str(_ROOT)!r}); from tests import killers; killers.{entry}()"
    return sys.executable, "-P", "-c", code


#: Runs a worker with these nodes, configured by its environment.
WORKER = _command("be_worker")
#: Runs one node apart.
APART = _command("be_apart")
#: Hangs the loop that a watchdog looks at.
HANGING = _command("be_hanging")


def known() -> Registry:
    """The node types of the project, and these."""
    return registry(_effect, _pure)


def be_worker() -> None:
    """Be a worker."""
    worker.main.default_registry = known  # type: ignore[assignment,attr-defined]
    worker.main.Isolation = functools.partial(Isolation, APART, patience=5.0)  # type: ignore[attr-defined,assignment]
    worker.main.main(load({name: value for name, value in os.environ.items() if name.startswith("EDGEWISE_")}))


def be_hanging() -> None:
    """Say that the loop is watched; then hang it, or let it live, as the line that comes says."""

    async def live() -> None:
        watchdog = Watchdog(asyncio.get_running_loop(), 0.4)
        watchdog.start()
        print("watched", flush=True)
        if await asyncio.to_thread(sys.stdin.readline) == "hang\n":
            _do("spin")
        watchdog.stop()

    asyncio.run(live())


def be_apart() -> None:
    """Be what runs one node."""
    _apart.append(True)
    shared.apart.isolated.main(known())


async def _effect(data: ProbeData, context: StepContext) -> Outcome:
    _note(context.node_id, context.idempotency_key)
    if data.name == "wait":
        await asyncio.Event().wait()
    _do(data.name)
    return Outcome({"value": data.value, "apart": bool(_apart), "attempt": context.attempt})


def _pure(data: ProbeData) -> Outcome:
    _note(data.name, "-")
    _do(data.name)
    return Outcome({"value": data.value, "apart": bool(_apart)})


def _note(*about: str) -> None:
    if path := os.environ.get("KILLERS"):
        with Path(path).open("a", encoding="utf-8") as notes:
            notes.write(" ".join([*about, "apart" if _apart else "worker"]) + "\n")


def _do(name: str) -> None:
    only, _, what = name.rpartition(":")
    while only == "until" and not Path(what).exists():
        time.sleep(0.01)
    if only and _apart:
        return
    if what == "exit":
        os._exit(3)
    if what == "segfault":
        ctypes.string_at(0)
    while what == "spin":
        pass
    if what == "memory":
        eaten: list[Any] = []
        while True:
            eaten.append(bytes(64 * 1024 * 1024))  # address space alone: no page of it is ever written
    if what == "raise":
        raise ZeroDivisionError
