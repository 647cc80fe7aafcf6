"""Brings a database to the newest schema.

A migration is ``shared/migrations/NNNN_(pre|post)_<name>.sql``: *pre* runs before new code is rolled out, and old code
must go on working on it; *post* runs when no old code is left. Each runs in a transaction of its own, under a lock, so
any number of pods may start at once.
"""

import re
from hashlib import sha256
from importlib.resources import files

import asyncpg

from shared.errors import ConfigError
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

    Raises:
        ConfigError: if a migration was applied from a file that said something else.
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
            digest = sha256(sql.encode()).hexdigest()
            before = await connection.fetchval(_SQL["applied_digest"], version)
            if before is not None:
                _require_same(name, before, digest)
                continue
            await connection.execute(sql)
            await connection.execute(_SQL["record"], version, name, digest)
            applied.append(name)
    return applied


def _require_same(name: str, before: str, now: str) -> None:
    """Code that expects what the database has not would start, look ready and fail at every step."""
    if before != now:
        raise ConfigError(
            "migration_changed",
            f"{name} was applied to this database in another wording, so the schema is not the one this version"
            " expects. Start with an empty database, or with the version that made this one.",
        )
