"""Stopping an installation whose processes do not answer any more."""

import os
import signal
import time

import pytest

from tests.running import Starter, until

pytestmark = pytest.mark.drill


def test_a_frozen_installation_is_gone_in_25_seconds(start: Starter) -> None:
    """With api, workers and scheduler all stopped by SIGSTOP, a SIGTERM still ends everything in time."""
    up = start().ready()
    pids = up.told()["pids"]
    for pid in (pids["api"], pids["scheduler"], *pids["workers"]):
        os.kill(pid, signal.SIGSTOP)
    begun = time.monotonic()
    assert up.stop() == 0
    assert time.monotonic() - begun < 25
    assert up.members() == []


def test_a_second_signal_does_not_wait(start: Starter) -> None:
    """Who presses Ctrl-C twice wants it gone now; the servers still end cleanly."""
    up = start().ready()
    for pid in up.told()["pids"]["workers"]:
        os.kill(pid, signal.SIGSTOP)

    def is_gone_when_signalled() -> bool:
        up.process.send_signal(signal.SIGINT)
        return up.process.poll() is not None

    until(is_gone_when_signalled, seconds=10)
    assert up.process.returncode == 0
    assert "database system is shut down" in (up.folder / "postgres.log").read_text()
