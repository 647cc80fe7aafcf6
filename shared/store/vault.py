"""Vault items: secrets of a workspace by name, encrypted with the key ring."""

from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from shared.db import Connection
from shared.queries import load

_SQL = load("vault")


class Stored(NamedTuple):
    """An item with its value.

    Attributes:
        secret: encrypted; `secret_context` of the id decrypts it.
        expired: whether that is by Postgres's clock.
    """

    id: UUID
    name: str
    secret: bytes
    expires_at: datetime | None
    expired: bool


def secret_context(item_id: UUID) -> str:
    """What binds an encrypted value to its row."""
    return f"vault_items.secret:{item_id}"


async def named(connection: Connection, workspace_id: UUID, names: Iterable[str]) -> list[Stored]:
    """The items of a workspace with these names, expired ones too; names that there are not are left out."""
    return [Stored(*record) for record in await connection.fetch(_SQL["named"], workspace_id, list(names))]
