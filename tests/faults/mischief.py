"""Everything that goes wrong in a drill: four sources of trouble, each drawing one fault after the other by its seed.

A fault is a coroutine that ends when what it broke is whole again, or is left to heal by itself. Each source has
something of its own that it breaks, so that faults of different sources overlap and faults of one do not.
"""

import asyncio
import signal
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from random import Random
from typing import Any, Final

import asyncpg
import psutil
import redis.asyncio
from redis.exceptions import RedisError

from shared.broker import NAMESPACE
from shared.lanes import QUEUES
from tests.faults.fleet import SERVICES, Fleet

Fault = Callable[["Mischief"], Awaitable[None]]
_OUT_OF_REACH: Final = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, RedisError, psutil.Error, TimeoutError)
#: Seconds: longer than a lease.
_LONG: Final = 8.0


class Mischief:
    """One source of trouble for a fleet.

    Attributes:
        log: what it did, fault by fault.
        meddled: how many messages it dropped or repeated.
    """

    def __init__(self, fleet: Fleet, seed: int | str) -> None:
        self._fleet = fleet
        self._chance = Random(seed)
        self._kept: list[tuple[str, bytes]] = []
        self.log: list[str] = []
        self.meddled = 0

    async def go_on(self, faults: Sequence[Fault], pause: float, ends: float) -> None:
        """One fault after the other, ``pause`` seconds apart on average, until a moment of the monotonic clock."""
        while (left := ends - time.monotonic()) > 0:
            fault = self._chance.choice(faults)
            self.log.append(fault.__name__)
            with suppress(*_OUT_OF_REACH):
                await fault(self)
            await asyncio.sleep(min(left, self._chance.uniform(0.2, 2 * pause)))

    def _service(self) -> str:
        return self._chance.choice([*SERVICES, "worker-1", "worker-2"])

    def _while(self) -> float:
        """Seconds that something stands still: often less than a lease, sometimes more."""
        return self._chance.uniform(0.5, 9.0)

    async def kill(self) -> None:
        """SIGKILL of a service."""
        self._fleet.send(self._service(), signal.SIGKILL)

    async def terminate(self) -> None:
        """SIGTERM of a service."""
        self._fleet.send(self._service(), signal.SIGTERM)

    async def freeze(self) -> None:
        """SIGSTOP of a service, then SIGCONT."""
        await self._freeze(self._fleet.pid(self._service()), self._while())

    async def _freeze(self, pid: int | None, seconds: float) -> None:
        if pid is None:
            return
        processes = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.suspend()
        await asyncio.sleep(seconds)
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.resume()

    async def restart_postgres(self) -> None:
        """An immediate stop; it recovers and is back within a second or two."""
        self._fleet.send("postgres", signal.SIGQUIT)

    async def lose_postgres(self) -> None:
        """SIGKILL, and nobody starts it again for longer than a lease."""
        self._fleet.down.add("postgres")
        self._fleet.send("postgres", signal.SIGKILL)
        await asyncio.sleep(_LONG)
        self._fleet.down.clear()

    async def close_postgres(self) -> None:
        """Connections are cut and refused for longer than a lease; the server lives on."""
        line = self._fleet.lines["postgres"]
        line.open = False
        line.sever()
        await asyncio.sleep(_LONG)
        line.mend()

    async def freeze_postgres(self) -> None:
        """Postgres and its backends stand still."""
        await self._freeze(self._fleet.pid("postgres"), self._while())

    async def terminate_backends(self) -> None:
        """Connections are ended from inside, a few at a time, whatever they are doing."""
        connection = await asyncpg.connect(self._fleet.postgres.url, timeout=5)
        try:
            for _ in range(20):
                await connection.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE application_name LIKE 'edgewise-%' AND random() < 0.1"
                )
                await asyncio.sleep(self._chance.uniform(0, 0.3))
        finally:
            connection.terminate()

    async def lose_commits(self) -> None:
        """Answers get lost after the server has done what was asked."""
        self._fleet.lines["postgres"].lost = 0.05
        await asyncio.sleep(self._while())
        self._fleet.lines["postgres"].mend()

    async def time_out_statements(self) -> None:
        """New connections allow a statement no more than a few milliseconds."""
        await self._limit_statements("'8ms'")
        await asyncio.sleep(3)
        await self._limit_statements("DEFAULT")  # nobody else troubles Postgres meanwhile

    async def _limit_statements(self, value: str) -> None:
        connection = await asyncpg.connect(self._fleet.postgres.url_of("postgres"), timeout=5)
        try:
            await connection.execute(f"ALTER DATABASE edgewise SET statement_timeout = {value}")
            await connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'edgewise-%'"
            )
        finally:
            connection.terminate()

    async def fill_connections(self) -> None:
        """Strangers take every connection that the server has, and the services lose theirs."""
        held: list[asyncpg.Connection] = []
        try:
            with suppress(asyncpg.TooManyConnectionsError):
                while True:
                    held.append(await asyncpg.connect(self._fleet.postgres.url, timeout=5))
            await held[0].execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE application_name LIKE 'edgewise-%' AND random() < 0.5"
            )
            with suppress(asyncpg.TooManyConnectionsError):
                while True:
                    held.append(await asyncpg.connect(self._fleet.postgres.url, timeout=5))
            await asyncio.sleep(3)
        finally:
            for connection in held:
                connection.terminate()

    async def slow_postgres(self) -> None:
        """Every packet takes its time, and comes in slices."""
        await self._slow("postgres")

    async def slow_redis(self) -> None:
        """As for Postgres."""
        await self._slow(self._redis_line())

    async def _slow(self, name: str) -> None:
        line = self._fleet.lines[name]
        line.delay, line.sliced = self._chance.uniform(0.0, 0.1), True
        await asyncio.sleep(self._while())
        line.mend()

    async def stall_postgres(self) -> None:
        """Connections are half open: nothing comes through, nobody is told."""
        await self._stall("postgres")

    async def stall_redis(self) -> None:
        """As for Postgres."""
        await self._stall(self._redis_line())

    async def _stall(self, name: str) -> None:
        self._fleet.lines[name].stall()
        await asyncio.sleep(self._while())
        if self._chance.random() < 0.5:
            self._fleet.lines[name].sever()
        self._fleet.lines[name].mend()

    def _redis_line(self) -> str:
        return self._chance.choice(["redis", "redis-workers"])

    async def kill_redis(self) -> None:
        """SIGKILL; what it held is gone."""
        self._fleet.send("redis", signal.SIGKILL)

    async def empty_redis(self) -> None:
        """FLUSHALL."""
        await self.command("FLUSHALL")

    async def pause_redis(self) -> None:
        """CLIENT PAUSE: every command waits."""
        await self.command("CLIENT", "PAUSE", str(int(1000 * self._while())), "ALL")

    async def command(self, *words: str) -> None:
        """Send a command to Redis directly."""
        async with redis.asyncio.Redis.from_url(self._fleet.valkey.url, socket_timeout=2) as client:
            await client.execute_command(*words)  # type: ignore[no-untyped-call]

    async def freeze_redis(self) -> None:
        """SIGSTOP, then SIGCONT."""
        await self._freeze(self._fleet.pid("redis"), self._while())

    async def cut_redis(self) -> None:
        """Every connection ends."""
        self._fleet.lines[self._redis_line()].sever()

    async def meddle(self) -> None:
        """While the workers hear nothing, messages are dropped, repeated and put in another order."""
        line = self._fleet.lines["redis-workers"]
        line.stall()
        try:
            await asyncio.sleep(1)
            async with redis.asyncio.Redis.from_url(self._fleet.valkey.url, socket_timeout=2) as client:
                for queue in QUEUES:
                    await self._mix(client, f"{NAMESPACE}:{queue}")
        finally:
            line.mend()

    async def _mix(self, client: redis.asyncio.Redis, name: str) -> None:
        """A third is dropped, a third comes twice; some that came long ago come again; all of it shuffled."""
        ids = await client.lrange(name, 0, -1)
        bodies: list[Any] = [body for body in (await client.hmget(f"{name}.msgs", ids) if ids else []) if body]
        again = [body for queue, body in self._kept if queue == name]
        copies = self._chance.sample(bodies, len(bodies) // 3) + self._chance.sample(again, min(20, len(again)))
        self._kept += [(name, body) for body in bodies[:20]]
        kept = self._chance.sample(ids, len(ids) - len(ids) // 3)
        repeated: dict[Any, Any] = {f"{self._chance.getrandbits(64):x}".encode(): body for body in copies}
        if repeated:
            await client.hset(f"{name}.msgs", mapping=repeated)
        self.meddled += len(ids) - len(kept) + len(repeated)
        mixed = [*kept, *repeated]
        self._chance.shuffle(mixed)
        await client.delete(name)
        if mixed:
            await client.rpush(name, *mixed)

    async def set_clock(self) -> None:
        """The scheduler's wall clock leaps ten minutes, either way."""
        self._fleet.clock.write_text(self._chance.choice(["600", "-600", "0"]))


#: What each source draws from, and the seconds between two faults of it on average.
_SOURCES: Final[list[tuple[list[Fault], float]]] = [
    ([Mischief.kill, Mischief.kill, Mischief.freeze, Mischief.terminate], 4.0),
    (
        [
            Mischief.restart_postgres, Mischief.lose_postgres, Mischief.close_postgres, Mischief.terminate_backends,
            Mischief.lose_commits, Mischief.time_out_statements, Mischief.fill_connections, Mischief.slow_postgres,
            Mischief.stall_postgres, Mischief.freeze_postgres,
        ],
        10.0,
    ),
    (
        [
            Mischief.kill_redis, Mischief.empty_redis, Mischief.pause_redis, Mischief.freeze_redis, Mischief.cut_redis,
            Mischief.stall_redis, Mischief.slow_redis, Mischief.meddle, Mischief.meddle,
        ],
        6.0,
    ),
    ([Mischief.set_clock], 10.0),
]  # fmt: skip


async def rage(fleet: Fleet, seed: int, seconds: float) -> list[str]:
    """All sources at once, for so long; afterwards lines and clock are whole again. Gives all that was done."""
    ends = time.monotonic() + seconds
    sources = [Mischief(fleet, f"{seed} {number}") for number in range(len(_SOURCES))]
    await asyncio.gather(
        *(source.go_on(faults, pause, ends) for source, (faults, pause) in zip(sources, _SOURCES, strict=True))
    )
    fleet.clock.write_text("0")
    for line in fleet.lines.values():
        line.mend()
    return [name for source in sources for name in source.log]
