"""What handlers work with: made once when the process starts, handed to every call."""

from collections.abc import Sequence
from typing import Protocol
from uuid import UUID

import asyncpg
import msgspec

from api.auth import Gatekeeper
from api.backlog import Backlog
from api.client_address import Network
from api.node_tests import NodeTests
from api.rate_limits import RateLimits
from api.run_graphs import RunGraphs
from api.sync_runs import SyncRuns
from api.turns import Turns
from api.webhook_deliveries import DeliveryLog
from api.webhook_targets import WebhookTargets
from shared.authorizations.authorizer import Authorizer
from shared.config import Config
from shared.db import Clock, Executes
from shared.egress.client import EgressClient
from shared.ids import Mint
from shared.ingest import Accepted, Trigger
from shared.lanes import Doorbell
from shared.links import Links
from shared.nodes.registry import Registry
from shared.vault import KeyRing
from shared.vault_values import VaultValues


class Accepts(Protocol):
    """What is needed of `shared.ingest.Ingest`."""

    async def accept(self, trigger: Trigger) -> Accepted | None:
        """Make a run of a trigger; durable when this returns."""
        ...

    def new_id(self) -> UUID:
        """A fresh run id, for a trigger whose run must be known beforehand."""
        ...

    async def accept_on(self, connection: Executes, trigger: Trigger) -> Accepted | None:
        """The same in the caller's transaction."""
        ...

    async def accept_many_on(self, connection: Executes, triggers: Sequence[Trigger]) -> list[Accepted | None]:
        """Like `accept_on`, for many triggers in one statement."""
        ...

    def announce(self, accepted: list[Accepted | None]) -> None:
        """Send the messages of durable runs."""
        ...

    def ring(self, doorbells: list[Doorbell]) -> None:
        """Send messages about steps that were committed otherwise."""
        ...


class Services(msgspec.Struct, frozen=True, kw_only=True):
    """The collaborators of one api process."""

    config: Config
    pool: asyncpg.Pool
    ingest: Accepts
    clock: Clock
    mint: Mint
    keys: KeyRing
    links: Links
    registry: Registry
    gatekeeper: Gatekeeper
    webhooks: WebhookTargets
    backlog: Backlog
    deliveries: DeliveryLog
    rates: RateLimits
    trusted_proxies: tuple[Network, ...]
    graphs: RunGraphs
    saves: Turns
    sync: SyncRuns
    egress: EgressClient
    authorizer: Authorizer
    tests: NodeTests
    vault: VaultValues
