"""Starts the process that runs cases, watches it, and starts it again behind a case that it hangs or dies in."""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

import msgspec
import psutil

from tests.fuzz.judge import Finding, Report

#: What runs cases.
COMMAND: tuple[str, ...] = (sys.executable, "-m", "tests.fuzz.child")
#: Large pieces of memory are taken from the system and given back at once, so that each case shows what it takes.
ENVIRONMENT: Final = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
#: Seconds of processor time in one case after which the process is ended: it hangs.
HANGS: Final = 5.0
#: Hangs and deaths after which there is no point in going on.
_ENOUGH: Final = 20
_LOOKS: Final = 0.2


def fuzz(seed: str, seconds: float, last: int = sys.maxsize) -> Report:
    """Run cases for so long, and tell what became of them."""
    whole = Report()
    ends, first = time.monotonic() + seconds, 0
    with tempfile.TemporaryDirectory() as folder:
        board = Path(folder) / "board"
        while (left := ends - time.monotonic()) > 0 and first < last:
            board.write_bytes(first.to_bytes(8, "little"))
            part, reached, why = _watched(seed, first, left, board, last)
            _add(whole, part)
            if why is None:
                break
            whole.findings.append(Finding(f"{seed}:{reached}", *why))
            first = reached + 1
            if not part.cases and len(whole.findings) > _ENOUGH:
                break
    return whole


def _watched(
    seed: str, first: int, seconds: float, board: Path, last: int
) -> tuple[Report, int, tuple[str, str] | None]:
    """What one process reported, where it got to, and why it did not end by itself."""
    arguments = [seed, str(first), str(seconds), str(board), str(last)]
    with (
        board.with_suffix(".log").open("wb+") as log,
        subprocess.Popen([*COMMAND, *arguments], stderr=log, env=ENVIRONMENT) as process,
    ):
        hung = _wait(process, board)
        log.seek(0)
        last_words = log.read()[-200:].decode("utf-8", "replace")
    reached = _at(board)
    if hung:
        return Report(), reached, ("hang", f"over {HANGS:g} s of processor time")
    if process.returncode:
        return Report(), reached, ("died", f"status {process.returncode}: {last_words}")
    return msgspec.json.decode(board.with_suffix(".json").read_bytes(), type=Report), reached, None


def _wait(process: "subprocess.Popen[bytes]", board: Path) -> bool:
    """Wait for its end; whether it had to be ended since it hung in a case."""
    at, spent = -1, 0.0
    while process.poll() is None:
        time.sleep(_LOOKS)
        try:
            used = psutil.Process(process.pid).cpu_times().user
        except psutil.NoSuchProcess:
            continue
        now = _at(board)
        if now != at:
            at, spent = now, used
        elif now and used - spent > HANGS:
            process.kill()
            return True
    return False


def _at(board: Path) -> int:
    return int.from_bytes(board.read_bytes()[:8], "little")


def _add(whole: Report, part: Report) -> None:
    whole.cases += part.cases
    for ending, count in part.endings.items():
        whole.endings[ending] = whole.endings.get(ending, 0) + count
    whole.slowest = max(whole.slowest, part.slowest)
    whole.largest = max(whole.largest, part.largest)
    whole.findings += part.findings
