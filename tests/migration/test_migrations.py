"""The migrations arrive at schema.sql, and can be applied by many at once."""

import asyncio
from pathlib import Path

import asyncpg
import pytest

from shared.errors import ConfigError
from shared.migrate import PARTITION_DAYS_AHEAD, PARTITION_DAYS_BACK, migrate, migrations

SCHEMA = (Path(__file__).parents[2] / "shared" / "schema.sql").read_text(encoding="utf-8")

CATALOG = {
    "tables": "SELECT c.relname, c.relkind::text, c.relpersistence::text, c.reloptions, pg_get_partkeydef(c.oid),"
    " pg_get_expr(c.relpartbound, c.oid) FROM pg_class c WHERE c.relnamespace = 'public'::regnamespace",
    "columns": "SELECT a.attrelid::regclass::text, a.attname, a.attnum,"
    " format_type(a.atttypid, a.atttypmod), a.attnotnull,"
    " pg_get_expr(d.adbin, d.adrelid), a.attstorage::text, a.attcompression::text"
    " FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid"
    " LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum"
    " WHERE c.relnamespace = 'public'::regnamespace AND a.attnum > 0 AND NOT a.attisdropped",
    "constraints": "SELECT conrelid::regclass::text, conname, contype::text, convalidated, pg_get_constraintdef(oid)"
    " FROM pg_constraint WHERE connamespace = 'public'::regnamespace",
    "indexes": "SELECT indrelid::regclass::text, pg_get_indexdef(indexrelid), indisvalid FROM pg_index i"
    " JOIN pg_class c ON c.oid = i.indexrelid WHERE c.relnamespace = 'public'::regnamespace",
    "functions": "SELECT pg_get_functiondef(oid) FROM pg_proc WHERE pronamespace = 'public'::regnamespace",
    "triggers": "SELECT pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal",
    "types": "SELECT typname, typtype::text FROM pg_type WHERE typnamespace = 'public'::regnamespace",
    "settings": "SELECT s.setconfig FROM pg_db_role_setting s JOIN pg_database d ON d.oid = s.setdatabase"
    " WHERE d.datname = current_database()",
}
LEDGER = "schema_migrations"


async def catalog(url: str) -> dict[str, list[str]]:
    """What a database consists of, as sorted texts, without the ledger of migrations."""
    connection = await asyncpg.connect(url)
    try:
        rows = {name: await connection.fetch(query) for name, query in CATALOG.items()}
    finally:
        await connection.close()
    return {
        name: sorted(text for row in found if LEDGER not in (text := repr(tuple(row)))) for name, found in rows.items()
    }


async def test_the_migrations_arrive_at_the_schema(empty_database_url):
    """Tables, columns, constraints, indexes, functions, storage parameters and settings are those of schema.sql."""
    connection = await asyncpg.connect(empty_database_url)
    try:
        await connection.execute(SCHEMA)
        await connection.fetchval("SELECT make_partitions($1, $2)", PARTITION_DAYS_BACK, PARTITION_DAYS_AHEAD)
        written = await catalog(empty_database_url)
        await connection.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
        await connection.execute(f'ALTER DATABASE "{empty_database_url.rpartition("/")[2]}" RESET ALL')
    finally:
        await connection.close()
    await migrate(empty_database_url)
    migrated = await catalog(empty_database_url)
    for name in CATALOG:
        assert migrated[name] == written[name], name
    assert len(written["tables"]) > 40
    assert len(written["functions"]) >= 4


async def test_many_processes_may_migrate_at_once(empty_database_url):
    """Each migration is applied by one of them; none of them fails."""
    applied = await asyncio.gather(*(migrate(empty_database_url) for _ in range(4)))
    assert sorted(name for done in applied for name in done.applied) == [name for _, name, _ in migrations()]
    assert await migrate(empty_database_url) == ([], [])


async def test_a_migration_that_breaks_leaves_nothing_behind(empty_database_url, monkeypatch):
    """It is not recorded and none of it is there; the ones before it stay."""
    broken = (9999, "9999_post_broken.sql", "CREATE TABLE half (x int); SELECT 1 / 0;")
    monkeypatch.setattr("shared.migrate.migrations", lambda: [*migrations(), broken])
    with pytest.raises(asyncpg.DivisionByZeroError):
        await migrate(empty_database_url)
    connection = await asyncpg.connect(empty_database_url)
    try:
        assert await connection.fetchval("SELECT to_regclass('half')") is None
        assert await connection.fetchval("SELECT max(version) FROM schema_migrations") == migrations()[-1][0]
    finally:
        await connection.close()


async def test_a_migration_that_was_changed_after_it_was_applied_is_told(empty_database_url, monkeypatch):
    """The database is not what the code expects, and nothing can make it so: that is an error and no readiness."""
    await migrate(empty_database_url)
    (version, name, sql), *rest = migrations()
    monkeypatch.setattr("shared.migrate.migrations", lambda: [(version, name, sql + "\nSELECT 1;"), *rest])
    with pytest.raises(ConfigError, match=name):
        await migrate(empty_database_url)


def test_migrations_are_numbered_without_gaps_and_say_their_phase():
    """Versions run from 1 upwards, each name once."""
    assert [version for version, _, _ in migrations()] == list(range(1, len(migrations()) + 1))
    folder = Path(__file__).parents[2] / "shared" / "migrations"
    assert sorted(path.name for path in folder.glob("*.sql")) == [name for _, name, _ in migrations()]
