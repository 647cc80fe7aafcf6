"""Vault items as the services read them."""

from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import asyncpg

from shared.store import vault


async def _add(connection: asyncpg.Connection, workspace: UUID, name: str, expires_at: datetime | None = None) -> UUID:
    item = uuid4()
    await connection.execute(
        "INSERT INTO vault_items (id, workspace_id, name, secret, expires_at) VALUES ($1, $2, $3, $4, $5)",
        item, workspace, name, b"blob of " + name.encode(), expires_at,
    )  # fmt: skip
    return item


async def test_named_gives_the_items_of_one_workspace_with_their_expiry(database_url):
    """What there is comes back encrypted, expired or not; other names and other workspaces' items do not."""
    connection = await asyncpg.connect(database_url)
    try:
        mine, other = uuid4(), uuid4()
        for workspace in (mine, other):
            await connection.execute("INSERT INTO workspaces (id, claim) VALUES ($1, $2)", workspace, str(workspace))
        past = datetime.now(UTC) - timedelta(minutes=1)
        first = await _add(connection, mine, "a b")
        second = await _add(connection, mine, "gone", past)
        await _add(connection, mine, "unasked")
        await _add(connection, other, "a b")

        found = await vault.named(connection, mine, {"a b", "gone", "nothing"})

        assert found == [
            vault.Stored(first, "a b", b"blob of a b", None, expired=False),
            vault.Stored(second, "gone", b"blob of gone", past, expired=True),
        ]
    finally:
        await connection.close()
