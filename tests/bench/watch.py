"""Looks at a system under a load that goes on and on: what it does, how long that takes, and what it takes up."""

import time
from statistics import quantiles

from tests.bench import meters
from tests.bench.load import Loaded
from tests.bench.system import System

_SIZES = """
    SELECT /* bench */ coalesce(p.relname, c.relname) AS name, sum(s.n_dead_tup)::float8 AS dead,
           (sum(pg_total_relation_size(c.oid)) / 1e6)::float8 AS size,
           (sum(pg_indexes_size(c.oid)) / 1e6)::float8 AS indexes
    FROM pg_stat_user_tables s JOIN pg_class c ON c.oid = s.relid
    LEFT JOIN pg_inherits i ON i.inhrelid = c.oid LEFT JOIN pg_class p ON p.oid = i.inhparent
    WHERE c.relkind = 'r' GROUP BY 1
"""
_SERVER = """
    SELECT /* bench */ (pg_current_wal_insert_lsn() - '0/0')::float8 AS written,
           (SELECT sum(size) / 1e6 FROM pg_ls_waldir())::float8 AS kept,
           (SELECT count(*) FROM open_steps)::float8 AS open
"""
#: The tables that grow with every run.
_HISTORY = ("runs", "steps")

Sample = dict[str, float]


class Watch:
    """Windows of a load, one after the other, and the system at the end of each. Make it with `begin`.

    Args:
        every: seconds of a window.

    Attributes:
        accepted: how many runs, in all windows.
    """

    def __init__(self, system: System, every: float) -> None:
        self._system = system
        self._every = every
        self._windows = 0
        self.accepted = 0
        self._last: Loaded | None = None
        self._written = 0.0
        self._cpu = 0.0
        self._empty = 0.0
        self._looked = time.monotonic()

    @classmethod
    async def begin(cls, system: System, every: float) -> "Watch":
        """What runs take up is counted from now on."""
        watch = cls(system, every)
        watch._empty = _history(await watch._sizes())
        await watch._server(1)
        watch._spent(1)
        return watch

    async def look(self, window: Loaded) -> Sample:
        """What the window came to; nothing for the first one, and for what is left behind the last.

        ``runs/s`` are runs that were accepted; that they complete as fast shows in ``open steps``, which then stay as
        they are. Runs are followed from the window before, so that they have had the time to end.

        Raises:
            RuntimeError: if a request was refused.
        """
        if window.refused:
            raise RuntimeError(f"{window.refused} requests were refused")
        last, self._last = self._last, window
        self._windows += 1
        self.accepted += window.accepted
        sizes = await self._sizes()
        taken = {
            "seconds": self._windows * self._every,
            "runs/s": window.accepted / self._every,
            **{f"memory of {name}, MB": size for name, size in meters.memory(self._system).items()},
            **sizes,
            "bytes per run": 1e6 * (_history(sizes) - self._empty) / max(1, self.accepted),
            **await self._server(max(1, window.accepted)),
            "CPU of a run, us": 1e6 * self._spent(max(1, window.accepted)),
            "broker, MB": (await self._system.broker.info("memory"))["used_memory"] / 1e6,
        }
        since, self._looked = time.monotonic() - self._looked, time.monotonic()
        if last is None or since < self._every / 2:
            return {}
        return taken | await self._latencies(last, window)

    async def _latencies(self, last: Loaded, window: Loaded) -> Sample:
        completed = await self._system.latencies(last)
        completed += [self._every] * (len(last.samples) - len(completed))  # at least
        accepted = [sample.seconds for sample in window.samples]
        return {"accepted p99, ms": self._p99(accepted), "completed p99, ms": self._p99(completed)}

    def _p99(self, seconds: list[float]) -> float:
        """In milliseconds; where next to nothing came, it took a window at least."""
        return 1000 * (quantiles(seconds, n=100)[98] if len(seconds) > 1 else self._every)

    async def _sizes(self) -> Sample:
        found: Sample = {}
        for row in await self._system.database.fetch(_SIZES):
            name = row["name"]
            found |= {f"{name}, MB": row["size"], f"indexes of {name}, MB": row["indexes"]}
            found[f"dead rows of {name}"] = row["dead"]
        return found

    async def _server(self, runs: int) -> Sample:
        row = await self._system.database.fetchrow(_SERVER)
        assert row is not None
        written, self._written = row["written"] - self._written, row["written"]
        return {"WAL per run, KB": written / runs / 1000, "pg_wal, MB": row["kept"], "open steps": row["open"]}

    def _spent(self, runs: int) -> float:
        """CPU seconds of all processes for each run since this was last called."""
        now = sum(meters.cpu(self._system).values())
        spent, self._cpu = now - self._cpu, now
        return spent / runs


def _history(sizes: Sample) -> float:
    return sum(sizes[f"{name}, MB"] for name in _HISTORY)
