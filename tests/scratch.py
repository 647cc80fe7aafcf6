"""Room for servers that live as long as one pytest process: in memory, where there is plenty of it.

A database for each test is hundreds of new files for each test. On a disk that is still writing those of the tests
before, they take ten times as long as in memory.
"""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

MEMORY = Path("/dev/shm")
_PREFIX = "edgewise-tests-"
#: In bytes; servers of one process were seen to take 120 MB.
_PLENTY = 2 << 30


@contextmanager
def scratch(otherwise: Path, memory: Path = MEMORY) -> Iterator[Path]:
    """A folder of which nothing is left afterwards; what a killed process left of its own goes now.

    Args:
        otherwise: the folder to use if there is not enough memory.
        memory: where folders in memory are made.
    """
    if not _is_roomy(memory):
        yield otherwise
        return
    for left in memory.glob(f"{_PREFIX}*"):
        _remove_if_left(left)
    made = Path(tempfile.mkdtemp(prefix=f".{_PREFIX}", dir=memory))
    held = os.open(made, os.O_RDONLY)
    try:
        fcntl.flock(held, fcntl.LOCK_EX)
        made.chmod(0o711)  # where root runs tests, servers run as another user
        folder = made.rename(memory / made.name[1:])  # from here on others see it, and that it is in use
        try:
            yield folder
        finally:
            shutil.rmtree(folder)
    finally:
        os.close(held)


def _is_roomy(memory: Path) -> bool:
    try:
        return shutil.disk_usage(memory).free >= _PLENTY
    except OSError:
        return False


def _remove_if_left(folder: Path) -> None:
    with suppress(OSError):  # in use, of another user, or removed by another process at the same time
        held = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder)
        finally:
            os.close(held)
