"""Reading and claiming steps, and the context they run in, in batches."""

from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Any
from uuid import UUID

import asyncpg

from shared.batcher import Batcher
from shared.jsontext import decode
from shared.lanes import Reference
from shared.metrics import BATCH_SECONDS, BATCH_SIZE
from shared.store.advance import Loaded, claim, load_ready, outputs
from worker.plans import Blueprint

_Claim = tuple[Reference, UUID]
_Wanted = tuple[UUID, tuple[str, ...]]


class Reader:
    """Gives workers the steps that messages are about.

    Args:
        pool: of connections.
        incarnation: gives the id claims are made under.
    """

    def __init__(self, pool: asyncpg.Pool, incarnation: Callable[[], UUID]) -> None:
        self._pool = pool
        self._incarnation = incarnation
        self._loads: Batcher[Sequence[Reference], list[Loaded]] = Batcher(self._load, name="load", limit=64)
        self._claims: Batcher[_Claim, Loaded | None] = Batcher(self._claim, name="claim")
        self._contexts: Batcher[_Wanted, dict[str, str]] = Batcher(self._outputs, name="context")

    async def load(self, references: Sequence[Reference]) -> list[Loaded]:
        """The steps among these that are still ready; they are not taken."""
        return await self._loads.submit(references)

    async def claim(self, reference: Reference, claim_id: UUID) -> Loaded | None:
        """Take a step, None if it is not ready (any more)."""
        return await self._claims.submit((reference, claim_id))

    async def context(self, loaded: Loaded, blueprint: Blueprint) -> dict[str, Any]:
        """Outputs by node id, as far as a walk from this step on can need them; those of skipped nodes are None."""
        needs = blueprint.plan.needs(loaded.node_id)
        if not needs:
            return {}
        found: dict[str, Any] = dict.fromkeys(needs)
        texts = await self._contexts.submit((loaded.run_id, tuple(needs)))
        found.update((node_id, decode(text)) for node_id, text in texts.items())
        return found

    async def _load(self, batches: Sequence[Sequence[Reference]], _: bool) -> list[list[Loaded]]:
        found = await load_ready(self._pool, [reference for batch in batches for reference in batch])
        return [
            [found[key] for key in dict.fromkeys((r.run_id, r.node_id, r.item) for r in batch) if key in found]
            for batch in batches
        ]

    async def _claim(self, claims: Sequence[_Claim], uncertain: bool) -> list[Loaded | None]:  # noqa: ARG002
        # A claim that was made by a commit of unknown outcome is in the database and not in memory: the next heartbeat
        # gives it back. It is not worth a query of its own here.
        began = perf_counter()
        found = await claim(self._pool, claims, self._incarnation())
        BATCH_SIZE.labels("claim").observe(len(claims))
        BATCH_SECONDS.labels("claim").observe(perf_counter() - began)
        granted = {step.claim_id: step for step in found.values()}
        return [granted.get(claim_id) for _, claim_id in claims]

    async def _outputs(self, wanted: Sequence[_Wanted], _: bool) -> list[dict[str, str]]:
        pairs = {(run_id, node_id) for run_id, nodes in wanted for node_id in nodes}
        found = await outputs(self._pool, list(pairs))
        return [
            {node: text for node, text in found.get(run_id, {}).items() if node in nodes} for run_id, nodes in wanted
        ]
