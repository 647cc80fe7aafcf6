"""A supervised child: started again when it dies, and ended for good when it is told to stop."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from deploy import processes, readiness, supervise
from deploy.readiness import await_ready
from deploy.supervise import Child
from shared.errors import EdgewiseError

_STUBBORN = """
import pathlib, signal
signal.signal(signal.SIGTERM, signal.SIG_IGN)
pathlib.Path("deaf").touch()
signal.pause()
"""


def _python(folder: Path, code: str) -> Callable[[], subprocess.Popen[bytes]]:
    return lambda: processes.spawn([sys.executable, "-c", code], folder=folder)


@asynccontextmanager
async def _kept(
    start: Callable[[], subprocess.Popen[bytes]], told: list[str]
) -> AsyncIterator[tuple[Child, asyncio.Event]]:
    """A child that is kept alive, and an event that is set whenever there is another process."""
    changed = asyncio.Event()
    child = Child("it", start, changed=changed.set, tell=told.append)
    child.begin()
    try:
        yield child, changed
    finally:
        await child.stop(time.monotonic())


async def test_what_dies_is_started_again(tmp_path: Path) -> None:
    """There is another process, whoever cares is told, and the line for people says how the first one ended."""
    told: list[str] = []
    async with _kept(_python(tmp_path, "import signal; signal.pause()"), told) as (child, changed):
        first = child.pid
        assert first is not None
        os.kill(first, signal.SIGKILL)
        await asyncio.wait_for(changed.wait(), 10)
        assert child.pid not in {first, None}
        assert child.deaths == 1
        assert told == ["it ended with SIGKILL; starting it again"]


async def test_a_start_that_fails_is_tried_again(tmp_path: Path) -> None:
    """An error of the starting function ends nothing: after a wait it is called once more."""
    attempts = iter([_python(tmp_path, ""), _fail, _python(tmp_path, "import signal; signal.pause()")])

    def start() -> subprocess.Popen[bytes]:
        return next(attempts)()

    told: list[str] = []
    async with _kept(start, told) as (child, changed):
        await asyncio.wait_for(changed.wait(), 10)
        assert child.pid is not None
        assert told[-1] == "it could not be started: no"


async def test_one_that_keeps_dying_fails_the_start(tmp_path: Path) -> None:
    """Waiting for it to be ready ends when it has died three times, long before the time is up."""
    async with _kept(_python(tmp_path, "raise SystemExit(3)"), []) as (child, _changed):
        with pytest.raises(EdgewiseError, match=r"ended \d+ times"):
            await await_ready({"it": 1}, {"it": child})
        assert child.deaths >= 3  # the fourth comes soon after it
        assert child.last_code == 3


async def test_one_that_never_answers_fails_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that takes the question and says nothing is not waited for for ever."""
    monkeypatch.setattr(readiness, "_SECONDS", 0.3)
    monkeypatch.setattr(readiness, "_ANSWER_SECONDS", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        async with _kept(_python(tmp_path, "import signal; signal.pause()"), []) as (child, _changed):
            with pytest.raises(EdgewiseError, match=f"nothing answers on port {port} within 0.1 s"):
                await asyncio.wait_for(await_ready({"it": port}, {"it": child}), 20)


async def test_one_that_does_not_listen_is_killed_at_the_deadline(tmp_path: Path) -> None:
    """A process that ignores SIGTERM is gone shortly after its time is up."""
    told: list[str] = []
    async with _kept(_python(tmp_path, _STUBBORN), told) as (child, _changed):
        await asyncio.to_thread(processes.wait_until, (tmp_path / "deaf").exists, 10)
        process = child.process
        assert process is not None
        begun = time.monotonic()
        await child.stop(begun + 0.2)
        assert 0.2 <= time.monotonic() - begun < 5
        assert process.returncode == -signal.SIGKILL
        assert told == ["it did not end in time and is killed"]


async def test_deaths_after_a_good_life_are_not_counted_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that dies once a day is started again at once every time."""
    monkeypatch.setattr(supervise, "_GOOD_LIFE", 0.0)
    async with _kept(_python(tmp_path, "import signal; signal.pause()"), []) as (child, changed):
        for _ in range(3):
            changed.clear()
            assert child.pid is not None  # 0 would mean ourselves
            os.kill(child.pid, signal.SIGKILL)
            await asyncio.wait_for(changed.wait(), 10)
        assert child.deaths == 1


def _fail() -> subprocess.Popen[bytes]:
    raise EdgewiseError("no", "no")


def test_a_pid_that_means_another_process_now_is_left_alone() -> None:
    """The mark of an earlier process with our own pid does not get us killed."""
    ours = processes.mark(os.getpid())
    assert ours is not None
    processes.end([processes.Mark(ours.pid, ours.started - 1, ours.boot)], signal.SIGKILL, 0.1)
    processes.end([processes.Mark(ours.pid, ours.started, "another boot")], signal.SIGKILL, 0.1)
    assert processes.mark(os.getpid()) == ours
