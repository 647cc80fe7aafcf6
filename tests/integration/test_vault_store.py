"""Vault items as the services read them."""

from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import asyncpg
import pytest

from shared.db import open_pool
from shared.errors import StepFailedError
from shared.store import vault
from shared.vault_values import FRESH, VaultValues
from tests.engine import KEYS


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
            vault.Stored(first, "a b", b"blob of a b", expired=False),
            vault.Stored(second, "gone", b"blob of gone", expired=True),
        ]
    finally:
        await connection.close()


async def test_a_value_is_read_again_after_a_second(database_url):
    """Within it nobody asks the database; then what it says counts, a change and a deletion alike."""
    pool = await open_pool(database_url, size=2, name="test")
    try:
        now = 100.0
        values = VaultValues(pool, KEYS, clock=lambda: now)
        workspace = uuid4()
        async with pool.acquire() as connection:
            await connection.execute("INSERT INTO workspaces (id, claim) VALUES ($1, 'w')", workspace)
            item = await _add(connection, workspace, "key")

            async def put(text: str) -> None:
                blob = KEYS.encrypt(text.encode(), context=vault.secret_context(item))
                await connection.execute("UPDATE vault_items SET secret = $1", blob)

            await put("first value")
            assert await values.values(workspace, ["key"]) == {"key": "first value"}
            await put("second value")
            now += FRESH - 0.001
            assert await values.values(workspace, ["key"]) == {"key": "first value"}
            now += 0.001
            assert await values.values(workspace, ["key"]) == {"key": "second value"}
            await connection.execute("DELETE FROM vault_items")
            now += FRESH
            assert await values.texts(workspace, ["key"]) == []
    finally:
        await pool.close()


async def test_a_value_of_another_row_is_not_read(database_url):
    """A blob that was put into another item's row does not decrypt, and nothing of it is told."""
    pool = await open_pool(database_url, size=2, name="test")
    try:
        workspace = uuid4()
        async with pool.acquire() as connection:
            await connection.execute("INSERT INTO workspaces (id, claim) VALUES ($1, 'w')", workspace)
            one, other = [await _add(connection, workspace, name) for name in ("one", "other")]
            blob = KEYS.encrypt(b"the value of one", context=vault.secret_context(one))
            await connection.execute("UPDATE vault_items SET secret = $1 WHERE id = $2", blob, other)
        with pytest.raises(StepFailedError, match="cannot be decrypted") as caught:
            await VaultValues(pool, KEYS).values(workspace, ["other"])
        assert caught.value.code == "vault_item_unreadable"
    finally:
        await pool.close()
