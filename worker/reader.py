"""Reading and claiming steps, and the context they run in, in batches."""

from collections.abc import Callable, Iterator, Sequence
from time import perf_counter
from typing import Any, NamedTuple
from uuid import UUID

import asyncpg

from shared.advances import Key
from shared.batcher import Batcher
from shared.errors import StepFailedError
from shared.graph.catalogue import Mode
from shared.graph.paths import ROOT, at_depth, depth, split
from shared.jsontext import decode
from shared.lanes import Reference
from shared.metrics import BATCH_SECONDS, BATCH_SIZE
from shared.store.results import ended, iterator_output
from shared.store.taken import ItemValue, Loaded, claim, item_values, load_ready, outputs, payload
from worker.plans import Blueprint
from worker.remembered import Remembered

_Claim = tuple[Reference, UUID]


class _Wanted(NamedTuple):
    """What a walk needs of stored results: outputs of steps, and items of iterators, by the paths of both."""

    steps: Sequence[Key]
    items: Sequence[Key]


class _Found(NamedTuple):
    steps: dict[Key, str]
    items: dict[Key, ItemValue]


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
        self._remembered = Remembered()
        self._contexts: Batcher[_Wanted, _Found] = Batcher(self._read, name="context")

    async def load(self, references: Sequence[Reference]) -> list[Loaded]:
        """The steps among these that are still ready; they are not taken."""
        return await self._loads.submit(references)

    async def claim(self, reference: Reference, claim_id: UUID) -> Loaded | None:
        """Take a step, None if it is not ready (any more)."""
        return await self._claims.submit((reference, claim_id))

    async def context(self, loaded: Loaded, blueprint: Blueprint) -> dict[str, Any]:
        """Outputs by node id, as far as a walk from this step on can need them; those of skipped nodes are None.

        Of an iterator around the step it is the item; of one before it what it gave out, or the `StepFailedError` that
        says why that cannot be put together.
        """
        plan = blueprint.plan
        needs = plan.needs(loaded.node_id)
        around = {
            key[1]: key for key in _items_around(loaded, blueprint) if key[1] in needs or key[1] == loaded.node_id
        }
        own = [loaded.node_id] if loaded.wake == "items" and loaded.node_id in plan.read_iterators else []
        if not needs and not around and not own:
            return {}
        levels = {name: len(plan.nodes[name].scope) for name in needs}
        steps = [
            (loaded.run_id, name, at_depth(loaded.item, levels[name]))
            for name in needs
            if plan.nodes[name].mode is not Mode.ITERATE
        ]
        context: dict[str, Any] = dict.fromkeys(needs)
        found = await self._found(loaded, steps, list(around.values()), context)
        if loaded.trigger_payload is None and plan.trigger in needs:
            context[plan.trigger] = await self._payload(loaded, plan.trigger)
        context.update((name, _item(key, found.items[key])) for name, key in around.items())
        for name in [*needs, *own]:
            if plan.nodes[name].mode is Mode.ITERATE and name not in around:
                context[name] = await self._results(loaded, blueprint, name)
        return context

    async def _found(self, loaded: Loaded, steps: list[Key], items: list[Key], context: dict[str, Any]) -> _Found:
        """Read outputs into the context. What a step of an item reads from outside it, the other items read too."""
        shared = {key for key in steps if key[2] != loaded.item}
        known = {key for key in shared if key in self._remembered}
        context.update((key[1], self._remembered.get(key)) for key in known)
        found = await self._contexts.submit(_Wanted([key for key in steps if key not in known], items))
        for key in steps:
            if key in found.steps and key not in known:
                context[key[1]] = decode(found.steps[key])
                if key in shared:
                    self._remembered.put(key, context[key[1]], len(found.steps[key]))
        return found

    async def _payload(self, loaded: Loaded, trigger: str) -> Any:
        """The payload of the run of a step inside an iterator."""
        key = (loaded.run_id, trigger, ROOT)
        if key not in self._remembered:
            text = await payload(self._pool, loaded.run_id)
            self._remembered.put(key, decode(text), len(text))
            return decode(text)
        return self._remembered.get(key)

    async def _results(self, loaded: Loaded, blueprint: Blueprint, iterator: str) -> Any:
        path = at_depth(loaded.item, len(blueprint.plan.nodes[iterator].scope))
        key = (loaded.run_id, iterator, path)
        failed = await outputs(self._pool, [key])
        if key in failed:  # it ended by its error handle
            return decode(failed[key])
        if iterator != loaded.node_id and not await ended(self._pool, loaded.run_id, [iterator], path):
            return None
        try:
            return await iterator_output(self._pool, blueprint.plan, loaded.run_id, iterator, path)
        except StepFailedError as error:
            return error

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

    async def _read(self, wanted: Sequence[_Wanted], _: bool) -> list[_Found]:
        steps = list({key for one in wanted for key in one.steps})
        items = list({key for one in wanted for key in one.items})
        found = _Found(
            await outputs(self._pool, steps) if steps else {},
            await item_values(self._pool, [(run_id, node, *split(item)) for run_id, node, item in items])
            if items
            else {},
        )
        return [found] * len(wanted)


def _items_around(loaded: Loaded, blueprint: Blueprint) -> Iterator[Key]:
    """The items that a step lies in, as iterator and path, the outermost first."""
    scope = blueprint.plan.nodes[loaded.node_id].scope
    if depth(loaded.item) > len(scope):  # the start of an item
        scope = (*scope, loaded.node_id)
    for level, iterator in enumerate(scope, 1):
        yield loaded.run_id, iterator, at_depth(loaded.item, level)


def _item(key: Key, found: ItemValue) -> dict[str, Any]:
    _, place = split(key[2])
    return {
        "item": decode(found.value),
        "index": place,
        "first": place == 0,
        "last": place == found.total - 1,
        "count": found.total,
    }
