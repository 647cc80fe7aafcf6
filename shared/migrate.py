"""Brings a database to the newest schema.

A migration is ``shared/migrations/NNNN_(pre|post)_<name>.sql``: *pre* runs before new code is rolled out, and old code
must go on working on it; *post* runs when no old code is left. They are applied release by release, and in a release
pre before post, so a post migration of one release comes before every pre migration of the next. Each runs in a
transaction of its own, under a lock, so any number of pods may start at once. docs/upgrades.md is the operator's side.
"""

import re
from bisect import bisect
from enum import StrEnum
from hashlib import sha256
from importlib.resources import files
from itertools import takewhile
from typing import Final, NamedTuple

import asyncpg

from shared.errors import ConfigError
from shared.queries import load

_FILE = re.compile(r"^(?P<version>\d{4})_(?P<phase>pre|post)_(?P<name>[a-z0-9_]+)\.sql$")
_SQL = load("migrations")

#: The first migration of each release, oldest first; the last of these is the release under way.
RELEASES: Final = (1, 2)

#: Days of partitions that exist behind and ahead of today (UTC).
PARTITION_DAYS_BACK = 2
PARTITION_DAYS_AHEAD = 14


class Phase(StrEnum):
    """Which migrations may be applied: before a roll-out, after it, or all since there is no old code."""

    PRE = "pre"
    POST = "post"
    ALL = "all"


class Migrated(NamedTuple):
    """What was applied, and what is left for another phase, as file names in order."""

    applied: list[str]
    waiting: list[str]


def migrations() -> list[tuple[int, str, str]]:
    """All migrations in order, as (version, file name, SQL)."""
    found = []
    for entry in (files("shared") / "migrations").iterdir():
        match = _FILE.match(entry.name)
        if match:
            found.append((int(match["version"]), entry.name, entry.read_text(encoding="utf-8")))
    return sorted(found)


async def migrate(database_url: str, phase: Phase = Phase.ALL) -> Migrated:
    """Apply what is missing of a phase, and make the partitions.

    An empty database gets everything: there is no old code that could work on it.

    Args:
        database_url: of the schema's owner, past any connection pooler.
        phase: ``PRE`` and ``POST`` apply theirs up to the first missing migration of the other.

    Raises:
        ConfigError: if a migration was applied from a file that said something else; if the other phase must come
            first.
    """
    connection = await asyncpg.connect(database_url)
    try:
        migrated = await _apply_missing(connection, phase)
        await connection.fetchval(_SQL["make_partitions"], PARTITION_DAYS_BACK, PARTITION_DAYS_AHEAD)
    finally:
        await connection.close()
    return migrated


async def _apply_missing(connection: asyncpg.Connection, phase: Phase) -> Migrated:
    await connection.execute(_SQL["create_ledger"])
    missing = _missing(await _ledger(connection))
    wanted = missing if len(missing) == len(migrations()) else _of_phase(missing, phase)
    applied = [file[1] for file in wanted if await _apply(connection, *file)]
    done = {file[1] for file in wanted}
    return Migrated(applied, [name for _, name, _ in missing if name not in done])


async def _ledger(connection: asyncpg.Connection) -> dict[int, str]:
    """The digests of the migrations that were applied, by version."""
    return {record["version"]: record["digest"] for record in await connection.fetch(_SQL["ledger"])}


def _missing(ledger: dict[int, str]) -> list[tuple[int, str, str]]:
    """The migrations still to be applied, in the order of applying them."""
    for version, name, sql in migrations():
        if version in ledger:
            _require_same(name, ledger[version], _digest(sql))
    return [file for file in sorted(migrations(), key=_place) if file[0] not in ledger]


def _place(file: tuple[int, str, str]) -> tuple[int, bool, int]:
    """Where a migration stands in the order: by release, phase and version."""
    version, name, _ = file
    return bisect(RELEASES, version), _phase_of(name) is Phase.POST, version


def _of_phase(missing: list[tuple[int, str, str]], phase: Phase) -> list[tuple[int, str, str]]:
    """Those that may be applied now: the missing ones up to the first of another phase."""
    if phase is Phase.ALL:
        return missing
    wanted = list(takewhile(lambda file: _phase_of(file[1]) is phase, missing))
    if not wanted and any(_phase_of(name) is phase for _, name, _ in missing):
        raise ConfigError("migration_order", _OUT_OF_ORDER[phase].format(name=missing[0][1]))
    return wanted


_OUT_OF_ORDER: Final = {
    Phase.PRE: "{name} of an earlier release must be applied first. Once every process runs that release, run"
    " `edgewise migrate --post`, then this again.",
    Phase.POST: "{name} must be applied first: run `edgewise migrate`, roll this version out, and then run this again.",
}


async def _apply(connection: asyncpg.Connection, version: int, name: str, sql: str) -> bool:
    """Apply a migration unless another process just did; whether it was this one."""
    async with connection.transaction():
        await connection.execute(_SQL["lock"])
        before = await connection.fetchval(_SQL["applied_digest"], version)
        if before is not None:
            _require_same(name, before, _digest(sql))
            return False
        await connection.execute(sql)
        await connection.execute(_SQL["record"], version, name, _digest(sql))
        return True


def _phase_of(name: str) -> Phase:
    match = _FILE.match(name)
    if match is None:
        raise ValueError(f"{name} is not the name of a migration")
    return Phase(match["phase"])


def _digest(sql: str) -> str:
    return sha256(sql.encode()).hexdigest()


def _require_same(name: str, before: str, now: str) -> None:
    """Code that expects what the database has not would start, look ready and fail at every step."""
    if before != now:
        raise ConfigError(
            "migration_changed",
            f"{name} was applied to this database in another wording, so the schema is not the one this version"
            " expects. Start with an empty database, or with the version that made this one.",
        )
