"""What tests of effects share: the real outbound client, let through to this machine, and a step that uses it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import pytest

from shared.egress.allow import parse_allow
from shared.egress.client import EgressClient
from shared.egress.guard import Guard
from shared.errors import StepFailedError
from shared.graph.catalogue import Catalogue
from shared.nodes.base import Outcome, StepContext
from shared.nodes.registry import default_registry
from tests.compiling import compile_node

NOW = datetime(2025, 10, 31, 12, tzinfo=UTC)
RUN_ID = "fl_run_01h3j4k5l6m7n8p9q0r1s2t3v4"


@asynccontextmanager
async def outbound(allow: str = "127.0.0.1") -> AsyncIterator[EgressClient]:
    """The client of a worker whose operator allows these places."""
    async with EgressClient(Guard(parse_allow(allow))) as egress:
        yield egress


def step(egress: Any = None, timeout: float = 20.0) -> StepContext:
    """The context of a first attempt."""
    return StepContext(RUN_ID, "n2", "-", 1, f"{RUN_ID}:n2:-", NOW, timeout, egress)


async def call(component: str, data: dict[str, Any], context: StepContext, **scope: Any) -> Outcome:
    """Run an effect as a worker does."""
    return await compile_node("n2", component, data).call(scope, context)


async def failed(component: str, data: dict[str, Any], context: StepContext, **scope: Any) -> StepFailedError:
    """How an effect fails."""
    with pytest.raises(StepFailedError) as caught:
        await call(component, data, context, **scope)
    return caught.value


def faults(component: str, data: dict[str, Any]) -> list[tuple[str, str]]:
    """Paths and codes of the faults of a node's data, as they are found when it is saved."""
    catalogue: Catalogue = default_registry()
    return [(fault.path, fault.code) for fault in catalogue.check(component, data, "data")[0]]
