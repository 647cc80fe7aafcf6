"""The api process."""

import asyncio
import time
from typing import Final

import asyncpg
from aiohttp import web

from api.app import make_app
from api.auth import Gatekeeper
from api.backlog import Backlog
from api.node_tests import NodeTests
from api.rate_limits import RateLimits
from api.readiness import Readiness
from api.run_graphs import RunGraphs
from api.server import Runner
from api.services import Services
from api.sync_runs import SyncRuns
from api.turns import Turns
from api.webhook_deliveries import DeliveryLog
from api.webhook_targets import WebhookTargets
from shared import service
from shared.announcer import NEW_RUNS_SPACING, Announcer
from shared.authorizations.authorizer import Authorizer
from shared.authorizations.provider import operator_provider
from shared.config import Config, parse_networks
from shared.db import Clock, keep_in_step
from shared.egress.allow import parse_allow
from shared.egress.client import EgressClient
from shared.egress.guard import Guard
from shared.egress.hosts import Limits
from shared.ids import Mint
from shared.ingest import Ingest
from shared.links import Links
from shared.log import get
from shared.metrics import EGRESS, EGRESS_HOSTS, POOL_IN_USE
from shared.nodes.registry import default_registry
from shared.store.open_runs import RunLimits
from shared.vault import parse_keys
from shared.vault_values import VaultValues

_log = get(__name__)
#: Seconds that the test of a node goes on trying to read the vault while the database is away.
_VAULT_PATIENCE = 5.0
#: Seconds of the grace period that are kept for telling those who wait that the process stops.
_LAST_WORDS = 1.0

#: Outbound connections of one api process: consents, and nodes that somebody tries out.
_OUTBOUND: Final = 64


def main(config: Config) -> None:
    """Serve the API until SIGTERM or SIGINT.

    Raises:
        OSError: if the port is taken.
        ConfigError: if the key ring can't be read.
    """
    service.run(serve(config))


async def serve(config: Config) -> None:
    """Serve the API on this loop until it is told to stop."""

    async def answer(pool: asyncpg.Pool, stopping: asyncio.Event) -> None:
        api = await Api.start(config, pool)
        try:
            port = await api.listen(config.host, config.port)
            _log.info("api ready", host=config.host, port=port)
            await stopping.wait()
        finally:
            await api.stop()

    await service.live("api", answer, config.database_url, size=config.api_pool)


class Api:
    """The parts of an api process, started and stopped in order. Make it with `Api.start`."""

    def __init__(self, config: Config, pool: asyncpg.Pool, clock: Clock) -> None:
        mint = Mint(clock.milliseconds)
        registry = default_registry()
        keys = parse_keys(config.vault_keys)
        POOL_IN_USE.set_function(lambda: pool.get_size() - pool.get_idle_size())
        self._clock = asyncio.create_task(keep_in_step(clock, pool))
        self._announcer = Announcer(config.broker_url, spacing=NEW_RUNS_SPACING)
        self._ingest = Ingest(pool, self._announcer, clock, window=config.window)
        self._rates = RateLimits(config.broker_url)
        self._deliveries = DeliveryLog(pool, mint, clock)
        self._readiness = Readiness(pool, config.broker_url)
        self._egress = EgressClient(
            Guard(parse_allow(config.egress_allow)),
            limit=_OUTBOUND,
            proxy=config.egress_proxy or None,
            limits=Limits(config.egress_per_host, config.egress_breaker_failures, config.egress_breaker_seconds),
            on_change=lambda change: EGRESS_HOSTS.labels(change).inc(),
            on_result=lambda outcome: EGRESS.labels(outcome).inc(),
        )
        self.services = Services(
            config=config,
            pool=pool,
            ingest=self._ingest,
            clock=clock,
            mint=mint,
            keys=keys,
            links=Links(keys, config.public_url),
            registry=registry,
            gatekeeper=Gatekeeper(config, pool, mint),
            webhooks=WebhookTargets(pool, keys),
            backlog=Backlog(pool, RunLimits(config.max_open_runs, config.max_open_runs_per_workspace)),
            deliveries=self._deliveries,
            rates=self._rates,
            trusted_proxies=parse_networks(config.trusted_proxies),
            graphs=RunGraphs(registry),
            saves=Turns(),
            sync=SyncRuns(pool, registry, config.broker_url, seconds=config.sync_seconds),
            egress=self._egress,
            authorizer=Authorizer(pool, keys, self._egress, mint.uuid, operator_provider(config)),
            tests=NodeTests(egress_allow=config.egress_allow, egress_proxy=config.egress_proxy),
            vault=VaultValues(pool, keys, patience=_VAULT_PATIENCE),
        )
        app = make_app(self.services, self._readiness.needed(), self._readiness.reported())
        self._grace = config.grace_seconds
        self._runner = Runner(app, public_url=config.public_url, grace_seconds=config.grace_seconds)

    @classmethod
    async def start(cls, config: Config, pool: asyncpg.Pool) -> "Api":
        """Make the parts; nothing is served before `listen`."""
        clock = Clock()
        async with pool.acquire() as connection:
            await clock.sync(connection)
        return cls(config, pool, clock)

    async def listen(self, host: str, port: int) -> int:
        """Take requests from now on; gives the port.

        Args:
            host: the address.
            port: 0 for any free one.

        Raises:
            OSError: if the port is taken.
        """
        await self._runner.setup()
        await web.TCPSite(self._runner, host, port).start()
        taken: int = self._runner.addresses[0][1]
        return taken

    async def stop(self) -> None:
        """Take nothing new, finish what is in flight within the grace period, and send the messages that wait."""
        began = time.monotonic()
        # Who still waits for a run near the end of it is told so, instead of nothing.
        last_words = asyncio.get_running_loop().call_later(max(0.0, self._grace - _LAST_WORDS), self.services.sync.stop)
        await self._runner.cleanup()
        last_words.cancel()
        await self.services.sync.close()
        self.services.tests.close()
        await self._ingest.close()
        await self._deliveries.close()
        left = self._grace - (time.monotonic() - began)
        await self.services.authorizer.aclose(max(_LAST_WORDS, left))
        await self._egress.aclose()
        self._clock.cancel()
        await asyncio.to_thread(self._announcer.close)
        self._readiness.close()
        await self._rates.close()
        _log.info("api stopped", seconds=round(time.monotonic() - began, 3))
