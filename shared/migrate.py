"""Brings a database to the newest schema.

A migration is ``shared/migrations/NNNN_(pre|post)_<name>.sql``: *pre* runs before new code is rolled out, and old code
must go on working on it; *post* runs when no old code is left. Each runs in a transaction of its own, under a lock, so
any number of pods may start at once.
"""

import re
from importlib.resources import files

import asyncpg

from shared.queries import load

_FILE = re.compile(r"^(?P<version>\d{4})_(?P<phase>pre|post)_(?P<name>[a-z0-9_]+)\.sql$")
_SQL = load("migrations")

#: Days of partitions that exist behind and ahead of today (UTC).
PARTITION_DAYS_BACK = 2
PARTITION_DAYS_AHEAD = 14


def migrations() -> list[tuple[int, str, str]]:
    """All migrations in order, as (version, file name, SQL)."""
    found = []
    for entry in (files("shared") / "migrations").iterdir():
        match = _FILE.match(entry.name)
        if match:
            found.append((int(match["version"]), entry.name, entry.read_text(encoding="utf-8")))
    return sorted(found)


async def migrate(database_url: str) -> list[str]:
    """Apply what is missing and make the partitions; returns the names of the migrations applied.

    Args:
        database_url: of the schema's owner, past any connection pooler.
    """
    connection = await asyncpg.connect(database_url)
    try:
        applied = await _apply_missing(connection)
        await connection.fetchval(_SQL["make_partitions"], PARTITION_DAYS_BACK, PARTITION_DAYS_AHEAD)
    finally:
        await connection.close()
    return applied


async def _apply_missing(connection: asyncpg.Connection) -> list[str]:
    await connection.execute(_SQL["create_ledger"])
    applied = []
    for version, name, sql in migrations():
        async with connection.transaction():
            await connection.execute(_SQL["lock"])
            if await connection.fetchval(_SQL["is_applied"], version):
                continue
            await connection.execute(sql)
            await connection.execute(_SQL["record"], version, name)
            applied.append(name)
    return applied
