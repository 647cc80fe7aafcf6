"""Loads: what to send, what came of it, and how the process is run that sends it (`tests.bench.sending`)."""

import asyncio
import sys
from collections.abc import AsyncIterator
from typing import NamedTuple
from uuid import UUID

import msgspec

#: Bytes of the length before each thing that the generator tells.
LENGTH = 4


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """What to send.

    Attributes:
        body: of each POST, JSON.
        seconds: how long to go on; None for until ``requests`` are sent.
        requests: the most to send.
        rate: requests per second on a fixed schedule, whatever the answers do; None sends as answers come.
        in_flight: instead of both, keep so many runs of ``workflow_id`` open, as ``database_url`` tells.
        window: seconds after which what came so far is told and forgotten; None tells once, at the end.
        keep: one of so many answers becomes a sample.
    """

    port: int
    path: str
    body: bytes
    connections: int = 64
    seconds: float | None = None
    requests: int = 1_000_000
    rate: float | None = None
    in_flight: int | None = None
    window: float | None = None
    keep: int = 1
    workflow_id: UUID | None = None
    database_url: str = ""


class Sample(NamedTuple):
    """One request: the id of its run, unix time at its start, seconds until its answer.

    It starts when it is handed to its socket or, at a fixed rate, when it is due.
    """

    run_id: str
    started: float
    seconds: float


class Loaded(msgspec.Struct):
    """What came of a load, or of a window of it: samples of 202s, how many of these and of other answers there were.

    Attributes:
        cpu: seconds of sending.
    """

    samples: list[Sample]
    accepted: int
    refused: int
    cpu: float

    @property
    def began(self) -> float:
        """Unix time of the first request."""
        return min(sample.started for sample in self.samples)


async def run(load: Load) -> Loaded:
    """Send a load without windows from a process of its own.

    Raises:
        RuntimeError: if it ended with an error, which it has printed.
    """
    (loaded,) = [window async for window in windows(load)]
    return loaded


async def windows(load: Load) -> AsyncIterator[Loaded]:
    """Send a load from a process of its own; what came of each window as it ends, and then of what was left.

    Raises:
        RuntimeError: if it ended with an error, which it has printed.
    """
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.bench.sending", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(msgspec.msgpack.encode(load))
        process.stdin.close()
        while head := await process.stdout.read(LENGTH):
            content = await process.stdout.readexactly(int.from_bytes(head, "big"))
            yield msgspec.msgpack.decode(content, type=Loaded)
        await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode != 0:
        raise RuntimeError(f"the load generator ended with status {process.returncode}")
