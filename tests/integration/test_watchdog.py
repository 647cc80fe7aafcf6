"""A process whose event loop hangs."""

import signal
import subprocess
import time
from collections.abc import Iterator

import pytest

from tests import killers
from tests.running import until
from worker.watchdog import STATUS


@pytest.fixture
def watched() -> Iterator["subprocess.Popen[str]"]:
    """A process whose loop a watchdog looks at, with a lease of 0.4 seconds."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(killers.HANGING, text=True, **pipes) as process:  # type: ignore[call-overload]
        try:
            assert process.stdout.readline() == "watched\n"
            yield process
        finally:
            process.kill()


def test_a_loop_that_hangs_ends_its_process(watched):
    """After three leases the stacks are written down and the process ends with a status of its own."""
    began = time.monotonic()
    told, stacks = watched.communicate("hang\n", timeout=20)
    assert watched.returncode == STATUS
    assert time.monotonic() - began >= 1.0
    assert "the event loop hangs" in told
    assert "in _do" in stacks


def test_a_stopped_process_does_not_hang(watched):
    """SIGSTOP for longer than that trips nothing: the watchdog counts its looks, not the time."""
    for _ in range(2):
        watched.send_signal(signal.SIGSTOP)
        since = time.monotonic()
        until(lambda since=since: time.monotonic() - since > 2.0)  # type: ignore[misc]
        watched.send_signal(signal.SIGCONT)
    until(lambda: time.monotonic() - since > 3.0)
    assert watched.poll() is None
    watched.communicate("live\n", timeout=20)
    assert watched.returncode == 0
