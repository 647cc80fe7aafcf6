"""Vault items: secrets of a workspace by name, encrypted with the key ring, and API keys, of which a hash is kept."""

from collections.abc import Collection, Iterable
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

import asyncpg
import msgspec

from shared.db import Connection
from shared.queries import load

_SQL = load("vault")
#: What a list gives when no limit is asked for: everything.
_NO_LIMIT = 2**31 - 1


class Stored(NamedTuple):
    """An item with its value.

    Attributes:
        secret: encrypted; `secret_context` of the id decrypts it.
        expired: whether that is by Postgres's clock.
    """

    id: UUID
    name: str
    secret: bytes
    expired: bool


class ItemRow(msgspec.Struct, frozen=True, kw_only=True):
    """An item without its value.

    Attributes:
        is_key: whether it is an API key.
        used_by: the workflows whose current version names it.
    """

    id: UUID
    workspace_id: UUID
    name: str
    created_at: datetime
    expires_at: datetime | None
    updated_at: datetime
    is_key: bool
    used_by: list[UUID]


class Key(NamedTuple):
    """What an API key stands for.

    Attributes:
        seconds_left: until it expires; None if it does not.
    """

    id: UUID
    workspace_id: UUID
    name: str
    seconds_left: float | None


def secret_context(item_id: UUID) -> str:
    """What binds an encrypted value to its row."""
    return f"vault_items.secret:{item_id}"


async def now(connection: Connection) -> datetime:
    """Postgres's time, at the start of the transaction."""
    moment: datetime = await connection.fetchval(_SQL["now"])
    return moment


async def named(connection: Connection, workspace_id: UUID, names: Iterable[str]) -> list[Stored]:
    """The items of a workspace with these names, expired ones too; without API keys and unknown names."""
    return [Stored(*record) for record in await connection.fetch(_SQL["named"], workspace_id, list(names))]


async def list_all(connection: Connection, workspace_id: UUID, before: UUID | None, limit: int | None) -> list[ItemRow]:
    """The items of a workspace, newest first; only those older than ``before``, at most ``limit``, where given."""
    records = await connection.fetch(_SQL["list"], workspace_id, before, _NO_LIMIT if limit is None else limit)
    return [ItemRow(**record) for record in records]


async def get(connection: Connection, workspace_id: UUID, item_id: UUID) -> ItemRow | None:
    """An item of a workspace."""
    record = await connection.fetchrow(_SQL["get"], workspace_id, item_id)
    return None if record is None else ItemRow(**record)


async def lock(connection: Connection, workspace_id: UUID, item_id: UUID) -> ItemRow | None:
    """The same, locked until the end of the transaction: nobody changes it, and no workflow begins to use it."""
    await connection.execute(_SQL["lock"], workspace_id, item_id)
    # Read by a statement of its own: it sees what those did that the lock was waited for.
    return await get(connection, workspace_id, item_id)


async def add(connection: Connection, row: ItemRow, *, secret: bytes | None, key_hash: bytes | None) -> ItemRow | None:
    """Store a new item, given an encrypted value or the hash of a key; None if the name is taken.

    Gives it back with the timestamps Postgres gave it.
    """
    values = (row.id, row.workspace_id, row.name, secret, key_hash, row.expires_at)
    stamps = await connection.fetchrow(_SQL["add"], *values)
    return None if stamps is None else msgspec.structs.replace(row, **dict(stamps))


async def update(connection: Connection, row: ItemRow, *, secret: bytes | None) -> bool:
    """Store a changed item, with a new encrypted value if one is given; False if the name is taken.

    The transaction is of no use any more then.
    """
    try:
        await connection.execute(_SQL["update"], row.workspace_id, row.id, row.name, row.expires_at, secret)
    except asyncpg.UniqueViolationError:
        return False
    return True


async def delete(connection: Connection, workspace_id: UUID, item_id: UUID) -> None:
    """Remove an item."""
    await connection.execute(_SQL["delete"], workspace_id, item_id)


async def key(connection: Connection, key_hash: bytes) -> Key | None:
    """What the API key with this SHA-256 stands for, in whichever workspace; None for none, or one that has expired."""
    record = await connection.fetchrow(_SQL["key"], key_hash)
    return None if record is None else Key(*record)


async def existing(
    connection: Connection, workspace_id: UUID, wanted: Collection[str], *, lock: bool
) -> frozenset[str]:
    """Which of these names are items with values; with ``lock`` they stay so until the transaction ends."""
    query = _SQL["hold"] if lock else _SQL["existing"]
    return frozenset(record["name"] for record in await connection.fetch(query, workspace_id, list(wanted)))


async def names(connection: Connection, workspace_id: UUID) -> list[str]:
    """The names of items whose values can be read, at most 1,000."""
    return [record["name"] for record in await connection.fetch(_SQL["names"], workspace_id)]


async def replace_uses(connection: Connection, workspace_id: UUID, workflow_id: UUID, wanted: Collection[str]) -> None:
    """Keep which items the current version of a workflow names."""
    await connection.execute(_SQL["forget_uses"], workflow_id, list(wanted))
    if wanted:
        await connection.execute(_SQL["add_uses"], workspace_id, workflow_id, sorted(wanted))
