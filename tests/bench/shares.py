"""Shares of a core for processes: where they run, and how much of each ten milliseconds they get, by control groups."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from deploy.processes import wait_until
from tests.bench.figures import SkippedError

_ROOT = Path("/sys/fs/cgroup")
#: Microseconds in which a share is given out: short, so that a process is never held up for long.
_PERIOD = 10_000


@contextmanager
def pinned_to(core: int) -> Iterator[None]:
    """Keep this process, and all it starts meanwhile, to one core."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextmanager
def limited(pids: list[int], *, core: int, share: float) -> Iterator[None]:
    """Move each process with its descendants to a core and let it have that share of it, at most.

    Raises:
        SkippedError: if the machine does not let us make control groups.
    """
    groups: list[Path] = []
    try:
        for pid in pids:
            groups.append(_group(f"edgewise-bench-{pid}", share))
            for member in _family(pid):
                _pin(member, core)
                (groups[-1] / "cgroup.procs").write_text(str(member))
        yield
    finally:
        for group in groups:
            _leave(group)


def _group(name: str, share: float) -> Path:
    quota = int(_PERIOD * share)
    try:
        if (_ROOT / "cgroup.controllers").exists():  # version 2
            (_ROOT / "cgroup.subtree_control").write_text("+cpu")
            group = _ROOT / name
            group.mkdir()
            (group / "cpu.max").write_text(f"{quota} {_PERIOD}")
        else:
            group = _ROOT / "cpu" / name
            group.mkdir()
            (group / "cpu.cfs_period_us").write_text(str(_PERIOD))
            (group / "cpu.cfs_quota_us").write_text(str(quota))
    except OSError as error:
        raise SkippedError(f"no right to limit the CPU of a process by control groups ({error})") from error
    return group


def _leave(group: Path) -> None:
    """Give its processes back to the group above, and remove it."""

    def removed() -> bool:
        for pid in (group / "cgroup.procs").read_text().split():
            with suppress(ProcessLookupError):
                (group.parent / "cgroup.procs").write_text(pid)
        with suppress(OSError):
            group.rmdir()
        return not group.exists()

    wait_until(removed, seconds=5)


def _family(pid: int) -> list[int]:
    return [pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))]


def _pin(pid: int, core: int) -> None:
    """Move every thread of a process; those it starts later follow."""
    for task in Path(f"/proc/{pid}/task").iterdir():
        with suppress(ProcessLookupError):
            os.sched_setaffinity(int(task.name), {core})
