"""Claiming and loading steps, what they need to run, and giving them back."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

import asyncpg

from shared.advances import Key
from shared.db import Executes
from shared.graph.paths import child
from shared.lanes import Reference
from shared.queries import columns, load

_SQL = load("advance")

#: So many crashes stand for a step that is not to be run again: Postgres took no result of it.
GIVEN_UP = 32000


class Loaded(NamedTuple):
    """A step and what is needed to run it.

    Attributes:
        trigger_payload: JSON text; None for a step inside an iterator.
        crashes: how often a worker died, or lost the result, while it held the step.
        ending: its run is being ended, so it is not to be run any more.
        brought: what woke it brought, as JSON: an answer, a child run's end, the item that stopped an iterator.
        caller: the run that waits for this one.
        slots: how many concurrency slots the run holds; -1 if it has still to get one.
        depth: how many runs stand above it.
    """

    run_id: UUID
    node_id: str
    item: str
    claim_id: UUID | None
    attempt: int
    fired: bool
    wake: str | None
    crashes: int
    sent_at: datetime | None
    started_at: datetime | None
    workspace_id: UUID
    workflow_id: UUID
    version: int
    trigger_type: str
    trigger_payload: str | None
    created_at: datetime
    priority: int
    ending: bool
    brought: str | None = None
    caller: UUID | None = None
    slots: int = 0
    depth: int = 0


async def claim(
    connection: Executes, references: Sequence[tuple[Reference, UUID]], incarnation_id: UUID
) -> dict[Key, Loaded]:
    """Claim what is ready of these steps, each under the claim id given with it."""
    records = await connection.fetch(
        _SQL["claim"],
        [reference.run_id for reference, _ in references],
        [reference.node_id for reference, _ in references],
        [reference.item for reference, _ in references],
        [claim_id for _, claim_id in references],
        incarnation_id,
    )
    return _by_key(records)


async def load_ready(connection: Executes, references: Sequence[Reference]) -> dict[Key, Loaded]:
    """Read what is ready of these steps, without taking them."""
    records = await connection.fetch(
        _SQL["load"],
        [reference.run_id for reference in references],
        [reference.node_id for reference in references],
        [reference.item for reference in references],
    )
    return _by_key(records)


async def payload(connection: Executes, run_id: UUID) -> str:
    """The trigger payload of a run, as JSON text."""
    (record,) = await connection.fetch(_SQL["payload"], run_id)
    text: str = record["trigger_payload"]
    return text


async def outputs(connection: Executes, wanted: Sequence[Key]) -> dict[Key, str]:
    """The outputs (JSON text) of settled steps."""
    records = await connection.fetch(_SQL["outputs"], *columns(wanted, 3))
    return {(run_id, node_id, item): text for run_id, node_id, item, text in records}


class ItemValue(NamedTuple):
    """An item of an iterator: its value as JSON text, and how many items there are."""

    value: str
    total: int


async def item_values(connection: Executes, wanted: Sequence[tuple[UUID, str, str, int]]) -> dict[Key, ItemValue]:
    """The values of items, given run, iterator, the iterator's path and the item's place; by the item's own path."""
    records = await connection.fetch(_SQL["item_values"], *columns(wanted, 4))
    return {
        (run_id, node_id, child(item, place)): ItemValue(value, total)
        for run_id, node_id, item, place, value, total in records
    }


async def release(connection: Executes, claims: Sequence[UUID], incarnation_id: UUID) -> None:
    """Give claimed steps back, to be sent again."""
    await connection.execute(_SQL["release"], claims, incarnation_id)


async def put_back(connection: Executes, claims: Sequence[UUID], incarnation_id: UUID) -> None:
    """Give claimed steps back that this worker cannot run; they are sent again with back-off."""
    await connection.execute(_SQL["put_back"], claims, incarnation_id)


async def surrender(connection: Executes, claims: Sequence[UUID], incarnation_id: UUID) -> None:
    """Give claimed steps back whose effects began and whose results are lost; that counts as a crash."""
    await connection.execute(_SQL["surrender"], claims, incarnation_id)


async def give_up(connection: Executes, claims: Sequence[UUID], incarnation_id: UUID) -> None:
    """Give claimed steps back that nobody is to run again; their `Loaded.crashes` are `GIVEN_UP`."""
    await connection.execute(_SQL["give_up"], claims, incarnation_id)


def _by_key(records: Iterable[asyncpg.Record]) -> dict[Key, Loaded]:
    loaded = [Loaded(*record.values()) for record in records]
    return {(step.run_id, step.node_id, step.item): step for step in loaded}
