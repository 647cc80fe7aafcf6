"""The worker process."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from functools import cache
from typing import Final

import asyncpg
import structlog

from shared import service
from shared.announcer import Announcer
from shared.authorizations.authorizer import Authorizer
from shared.authorizations.provider import operator_provider
from shared.broker import StepBroker
from shared.config import Config
from shared.db import DATABASE_ERRORS, Clock, keep_in_step
from shared.egress.allow import parse_allow
from shared.egress.client import EgressClient
from shared.egress.guard import Guard
from shared.egress.hosts import Limits
from shared.ids import Mint
from shared.links import Links
from shared.metrics import EGRESS, EGRESS_HOSTS
from shared.nodes.registry import default_registry
from shared.probes import serve_probes
from shared.store.open_runs import RunLimits
from shared.vault import parse_keys
from worker import actors
from worker.capacity import Capacity
from worker.executor import Executor
from worker.holdings import Held
from worker.incarnation import Incarnation
from worker.isolation import Isolation
from worker.plans import Plans
from worker.secrets import Secrets
from worker.threads import Threads
from worker.walk import Tools
from worker.watchdog import Watchdog

_log = structlog.get_logger(__name__)

#: Seconds without a poll of the broker after which the worker is not ready.
_POLL_AGE = 15.0
#: Seconds that tokens which providers are about to give have at least at a stop, to be stored.
_LAST_WORDS = 1.0
#: The counter of an outcome; looking it up by its label takes longer than its increment.
_calls: Final = cache(EGRESS.labels)


def main(config: Config) -> None:
    """Run a worker until SIGTERM or SIGINT."""
    service.run(serve(config))


async def serve(config: Config) -> None:
    """Run a worker on this loop until it is told to stop."""

    async def work(pool: asyncpg.Pool, stopping: asyncio.Event) -> None:
        worker = await Worker.start(config, pool)
        probes = await serve_probes(config.metrics_host, config.metrics_port, worker.checks())
        _log.info("worker ready", incarnation=str(worker.incarnation.id), probes=probes.port)
        await stopping.wait()
        _log.info("worker stopping", in_flight=worker.capacity.used)
        await worker.stop()
        await probes.close()

    await service.live("worker", work, config.database_url, size=config.worker_pool)


class Worker:
    """The parts of a worker, started and stopped in order. Make it with `Worker.start`."""

    def __init__(self, config: Config, pool: asyncpg.Pool, clock: Clock) -> None:
        mint = Mint(clock.milliseconds)
        held = Held()
        keys = parse_keys(config.vault_keys)
        links = Links(keys, config.public_url)
        self._config = config
        self._pool = pool
        self._clock = asyncio.create_task(keep_in_step(clock, pool))
        self._egress = EgressClient(
            Guard(parse_allow(config.egress_allow)),
            limit=config.worker_slots,
            proxy=config.egress_proxy or None,
            limits=Limits(config.egress_per_host, config.egress_breaker_failures, config.egress_breaker_seconds),
            on_result=lambda outcome: _calls(outcome).inc(),
            on_change=lambda change: EGRESS_HOSTS.labels(change).inc(),
        )
        self._authorizer = Authorizer(pool, keys, self._egress, mint.uuid, operator_provider(config))
        self._announcer = Announcer(config.broker_url)
        self.capacity = Capacity(config.worker_slots)
        self.incarnation = Incarnation(config.database_url, lease=config.lease_seconds, new_id=mint.uuid, holdings=held)
        self._executor = Executor(
            pool=pool,
            plans=Plans(pool, default_registry()),
            held=held,
            incarnation=self.incarnation,
            capacity=self.capacity,
            announcer=self._announcer,
            tools=Tools(clock, mint.uuid, random.random, self._egress, links, Secrets(pool, keys), self._authorizer),
            isolation=Isolation(egress_allow=config.egress_allow, egress_proxy=config.egress_proxy),
            on_answered=self._announcer.answered,
            open_runs=RunLimits(config.max_open_runs, config.max_open_runs_per_workspace),
        )
        self._watchdog = Watchdog(asyncio.get_running_loop(), config.lease_seconds)
        self._broker = StepBroker(config.broker_url, room=self.capacity)
        self._threads = Threads(self._broker, config.worker_threads)

    @classmethod
    async def start(cls, config: Config, pool: asyncpg.Pool) -> "Worker":
        """Register an incarnation and take messages from now on."""
        clock = Clock()
        async with pool.acquire() as connection:
            await clock.sync(connection)
        worker = cls(config, pool, clock)
        await worker.incarnation.start()
        worker._watchdog.start()
        actors.declare(worker._broker, asyncio.get_running_loop(), worker._executor.take)
        worker._threads.start()
        return worker

    async def stop(self) -> None:
        """Take nothing new, finish or give back what is in flight, and end the incarnation; within the grace period."""
        began = time.monotonic()
        self.capacity.close()
        consumers = asyncio.create_task(asyncio.to_thread(self._threads.stop, int(self._config.grace_seconds * 1000)))
        await self._executor.stop(self._config.grace_seconds)
        left = self._config.grace_seconds - (time.monotonic() - began)
        await self._authorizer.aclose(max(_LAST_WORDS, left))
        await consumers
        actors.withdraw()
        await self.incarnation.stop()
        self._clock.cancel()
        await asyncio.to_thread(self._announcer.close)
        await self._egress.aclose()
        self._watchdog.stop()
        _log.info("worker stopped", seconds=round(time.monotonic() - began, 3))

    def checks(self) -> dict[str, Callable[[], Awaitable[str | None]]]:
        """What must hold for this worker to be ready, as named checks that say what is missing."""
        return {"database": self._check_database, "broker": self._check_broker, "lease": self._check_lease}

    async def _check_database(self) -> str | None:
        try:
            await self._pool.fetchval("SELECT 1", timeout=2.0)
        except DATABASE_ERRORS as error:
            return f"Postgres does not answer: {type(error).__name__}."
        return None

    async def _check_broker(self) -> str | None:
        age = time.monotonic() - self._broker.polled_at
        if not self._broker.polled_at:
            return "The broker has not been polled yet."
        if age > _POLL_AGE and self.capacity.free() > 0:
            return f"The broker was last polled {age:.0f} seconds ago."
        return None

    async def _check_lease(self) -> str | None:
        return None if self.incarnation.is_fresh() else "The last heartbeat is older than half a lease."
