"""What the system has spent, as the kernel, PostgreSQL and Valkey count it."""

import asyncio
import time
from collections.abc import Mapping
from contextlib import suppress

import msgspec
import psutil

from tests.bench.system import System

#: Seconds after which PostgreSQL's backends have reported their transactions.
_REPORTED = 1.5
_OWN = "%/* bench */%"


class Reading(msgspec.Struct, frozen=True):
    """Counters at one moment, or their growth between two.

    Attributes:
        cpu: seconds by process.
        transactions: that PostgreSQL committed in our database, reading ones included.
        statements: that it was sent, the bench's own left out.
        commits: those statements that write at every call, not counting what a reader prunes; outside a transaction
            each is a commit.
        wal: bytes.
        redis_calls: commands, those inside scripts included.
        messages: that were put into a queue.
        clock: seconds of the monotonic clock.
    """

    cpu: Mapping[str, float]
    transactions: int
    statements: int
    commits: int
    wal: int
    redis_calls: int
    messages: int
    clock: float = 0.0

    def until(self, later: "Reading") -> "Reading":
        """What was spent from this reading to a later one."""
        names = [name for name in Reading.__struct_fields__ if name != "cpu"]
        cpu = {name: seconds - self.cpu.get(name, 0.0) for name, seconds in later.cpu.items()}
        return Reading(cpu, **{name: getattr(later, name) - getattr(self, name) for name in names})


def cpu(system: System) -> dict[str, float]:
    """CPU seconds so far of each process."""
    return {name: _seconds(psutil.Process(pid), with_children=name == "postgres") for name, pid in system.pids.items()}


def memory(system: System) -> dict[str, float]:
    """Resident MB of each service; what a worker forks from is a process of its own, `forker-1` of `worker-1`."""
    ours = {name: pid for name, pid in system.pids.items() if name in {"api", "scheduler"} or name.startswith("worker")}
    found = {name: psutil.Process(pid) for name, pid in ours.items()}
    for name, process in list(found.items()):
        for child in process.children():
            found[f"{name.replace('worker', 'forker')}"] = child
    return {name: process.memory_info().rss / 1e6 for name, process in found.items()}


async def begin(system: System) -> Reading:
    """Read every meter before something is measured; statements are counted anew, so that each kind starts at none.

    PostgreSQL's own statistics are as of up to a second ago, which is little beside what a load adds to them.
    """
    await system.database.execute("SELECT /* bench */ pg_stat_statements_reset()")
    return await read(system, settled=False)


async def read(system: System, *, settled: bool = True) -> Reading:
    """Read every meter.

    Args:
        system: whose.
        settled: wait until PostgreSQL's own statistics are complete; only ``transactions`` needs it.
    """
    if settled:
        await asyncio.sleep(_REPORTED)
    row = await system.database.fetchrow(
        "SELECT /* bench */"
        " (SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()) AS transactions,"
        " pg_current_wal_insert_lsn() - '0/0'::pg_lsn AS wal,"
        " coalesce(sum(calls), 0)::bigint AS statements,"
        " coalesce(sum(calls) FILTER (WHERE wal_records >= calls), 0)::bigint AS commits"
        " FROM pg_stat_statements WHERE query NOT LIKE $1",
        _OWN,
    )
    assert row is not None
    stats: dict[str, dict[str, int]] = await system.broker.info("commandstats")
    calls = {name.removeprefix("cmdstat_"): stat["calls"] for name, stat in stats.items()}
    return Reading(
        cpu(system),
        row["transactions"],
        row["statements"],
        row["commits"],
        int(row["wal"]),
        sum(calls.values()),
        calls.get("rpush", 0),
        time.monotonic(),
    )


def _seconds(process: psutil.Process, *, with_children: bool) -> float:
    own = process.cpu_times()
    total: float = own.user + own.system
    if with_children:
        total += own.children_user + own.children_system
        for child in process.children():
            with suppress(psutil.NoSuchProcess):  # it has ended meanwhile, and is in its parent's sums from now on
                total += _seconds(child, with_children=False)
    return total
