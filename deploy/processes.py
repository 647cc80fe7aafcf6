"""Child processes: started so that they die with us, found again after we were killed, waited for without a thread."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO

import msgspec

_LAUNCH = Path(__file__).with_name("launch.py")

Condition = Callable[[], bool]
Output = IO[bytes]


class Mark(msgspec.Struct, frozen=True):
    """A process beyond doubt: its pid, and when it started (clock ticks since this boot)."""

    pid: int
    started: int
    boot: str


def spawn(
    command: Sequence[str],
    *,
    folder: Path,
    identity: str = "self",
    death_signal: int = signal.SIGKILL,
    env: Mapping[str, str] | None = None,
    output: Output | None = None,
) -> subprocess.Popen[bytes]:
    """Start a program in a session of its own, so that a Ctrl-C meant for us does not reach it.

    Call it from the main thread: the kernel sends ``death_signal`` when the *thread* that started the child ends.

    Args:
        command: the program's full path and its arguments.
        folder: its working directory.
        identity: see `deploy.launch`.
        env: its environment; None for ours.
        death_signal: sent by the kernel when we are gone, however we went.
        output: where its output goes; None for our standard error.
    """
    launch = [sys.executable, "-I", "-S", str(_LAUNCH), str(os.getpid()), str(int(death_signal)), identity, str(folder)]
    return subprocess.Popen(
        [*launch, *command],
        stdin=subprocess.DEVNULL,
        stdout=output or sys.stderr,
        stderr=output or sys.stderr,
        env=env,
        start_new_session=True,
    )


async def exited(process: subprocess.Popen[bytes]) -> int:
    """Wait for the end of a child; its return code."""
    if process.poll() is None:
        loop = asyncio.get_running_loop()
        gone = asyncio.Event()
        handle = os.pidfd_open(process.pid)
        loop.add_reader(handle, gone.set)
        try:
            await gone.wait()
        finally:
            loop.remove_reader(handle)
            os.close(handle)
    return process.wait()


def stop(process: subprocess.Popen[bytes], how: int, seconds: float) -> None:
    """Signal a child, wait up to ``seconds``, then kill it; returns when it is gone."""
    process.send_signal(how)
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def mark(pid: int) -> Mark | None:
    """The mark of a running process; None if it is gone or only waits to be reaped."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()
    if fields[0] in "ZX":
        return None
    return Mark(pid, int(fields[19]), _boot())


def end(marks: Sequence[Mark], how: int = signal.SIGINT, seconds: float = 10.0) -> None:
    """End processes of an earlier life: signal, wait, then kill. A pid that now means another process is left alone."""
    alive = _signalled(marks, how)
    if not wait_until(lambda: not any(mark(one.pid) == one for one in alive), seconds):
        killed = _signalled(alive, signal.SIGKILL)
        wait_until(lambda: not any(mark(one.pid) == one for one in killed), seconds)


def _signalled(marks: Sequence[Mark], how: int) -> list[Mark]:
    alive = [one for one in marks if mark(one.pid) == one]
    for one in alive:
        with contextlib.suppress(ProcessLookupError):
            os.kill(one.pid, how)
    return alive


def wait_until(condition: Condition, seconds: float, every: float = 0.01) -> bool:
    """Poll a condition; whether it came true in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(every)
    return True


def _boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
