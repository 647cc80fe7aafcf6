"""The migrations arrive at schema.sql, and can be applied by many at once."""

import asyncio
import base64
import json
from pathlib import Path

import asyncpg
import pytest
from click.testing import CliRunner

from deploy.cli import main
from shared.errors import ConfigError
from shared.migrate import PARTITION_DAYS_AHEAD, PARTITION_DAYS_BACK, RELEASES, Phase, migrate, migrations

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


async def previous_release(url, monkeypatch):
    """Bring a database to the schema of the release before this one."""
    known = [file for file in migrations() if file[0] < RELEASES[-1]]
    with monkeypatch.context() as patched:
        patched.setattr("shared.migrate.migrations", lambda: known)
        await migrate(url)


@pytest.mark.parametrize("upgrade", [False, True], ids=["a new database", "an upgrade in two phases"])
async def test_the_migrations_arrive_at_the_schema(empty_database_url, monkeypatch, upgrade):
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
    if upgrade:
        await previous_release(empty_database_url, monkeypatch)
        await migrate(empty_database_url, Phase.PRE)
    assert (await migrate(empty_database_url, Phase.POST)).waiting == []
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


PARTITIONS = "CREATE FUNCTION make_partitions(integer, integer) RETURNS integer LANGUAGE sql RETURN 0;"


def files(*names):
    """Migrations that each make a table of their own; the first what `migrate` calls in the end, too."""
    return [
        (number, f"{number:04}_{name}.sql", f"{PARTITIONS if number == 1 else ''} CREATE TABLE made_{number} ()")
        for number, name in enumerate(names, start=1)
    ]


@pytest.fixture
def release(monkeypatch):
    """Makes this code that of a release: its migrations, and with which of them each release begins."""

    def be(begins, *names):
        monkeypatch.setattr("shared.migrate.migrations", lambda: files(*names))
        monkeypatch.setattr("shared.migrate.RELEASES", begins)

    return be


async def test_a_new_database_gets_everything_at_once(empty_database_url, release):
    """There is no old code that could be in the way; posts of a release come behind its pres whatever their numbers."""
    release((1, 2), "pre_a", "pre_b", "post_c", "pre_d")
    done = await migrate(empty_database_url, Phase.PRE)
    assert done == (["0001_pre_a.sql", "0002_pre_b.sql", "0004_pre_d.sql", "0003_post_c.sql"], [])


async def test_an_upgrade_is_in_two_phases(empty_database_url, release):
    """Before the roll-out what old code can live with, after it the rest; each says what is left."""
    release((1,), "pre_a")
    await migrate(empty_database_url, Phase.PRE)
    release((1, 2), "pre_a", "pre_b", "post_c", "pre_d")
    with pytest.raises(ConfigError, match=r"0002_pre_b\.sql must be applied first: run `edgewise migrate`"):
        await migrate(empty_database_url, Phase.POST)
    left = ["0003_post_c.sql"]
    assert await migrate(empty_database_url, Phase.PRE) == (["0002_pre_b.sql", "0004_pre_d.sql"], left)
    assert await migrate(empty_database_url, Phase.PRE) == ([], left)
    assert await migrate(empty_database_url, Phase.POST) == (left, [])
    assert await migrate(empty_database_url, Phase.POST) == ([], [])


async def test_the_posts_of_a_release_come_before_the_pres_of_the_next(empty_database_url, release):
    """Forgotten ones are named; the newer code applies them too, and then goes no further than that."""
    release((1,), "pre_a")
    await migrate(empty_database_url, Phase.PRE)
    release((1, 2), "pre_a", "pre_b", "post_c")
    await migrate(empty_database_url, Phase.PRE)
    release((1, 2, 4), "pre_a", "pre_b", "post_c", "pre_d", "post_e")
    with pytest.raises(ConfigError, match=r"0003_post_c\.sql of an earlier release must be applied first"):
        await migrate(empty_database_url, Phase.PRE)
    after = ["0004_pre_d.sql", "0005_post_e.sql"]
    assert await migrate(empty_database_url, Phase.POST) == (["0003_post_c.sql"], after)
    assert await migrate(empty_database_url, Phase.PRE) == (after[:1], after[1:])
    assert await migrate(empty_database_url, Phase.POST) == (after[1:], [])


async def test_one_machine_applies_everything(empty_database_url, release):
    """Where nothing of the version before runs any more there are no phases."""
    release((1,), "pre_a")
    await migrate(empty_database_url)
    release((1, 2, 4), "pre_a", "pre_b", "post_c", "pre_d", "post_e")
    assert await migrate(empty_database_url) == (
        ["0002_pre_b.sql", "0003_post_c.sql", "0004_pre_d.sql", "0005_post_e.sql"],
        [],
    )


async def test_the_command_says_what_it_did_and_what_is_left(empty_database_url, release):
    """For people with the command to run next, for programs as JSON, and exit code 1 when it is not its turn."""
    env = {
        "EDGEWISE_DATABASE_URL": empty_database_url,
        "EDGEWISE_BROKER_URL": "redis://redis",
        "EDGEWISE_JWT_SECRET": "s" * 32,
        "EDGEWISE_VAULT_KEYS": f"k1:{base64.b64encode(b'k' * 32).decode()}",
    }

    async def run(*options):
        return await asyncio.to_thread(CliRunner(env=env).invoke, main, ["migrate", *options])

    release((1,), "pre_a")
    assert (await run()).output == "applied 0001_pre_a.sql\n"
    release((1, 2), "pre_a", "pre_b", "post_c")
    early = await run("--post")
    assert (early.exit_code, early.output.count("error: 0002_pre_b.sql must be applied first")) == (1, 1)
    assert (await run()).output == (
        "applied 0002_pre_b.sql\n"
        "left: 0003_post_c.sql; run `edgewise migrate --post` once every process runs this version\n"
    )
    assert json.loads((await run("--json")).output) == {"applied": [], "waiting": ["0003_post_c.sql"]}
    assert (await run("--post")).output == "applied 0003_post_c.sql\n"
    assert (await run("--post")).output == "nothing to do\n"


def test_releases_begin_with_a_migration_that_is_there():
    """The first is 1, and no release begins behind the newest migration."""
    assert RELEASES[0] == 1
    assert list(RELEASES) == sorted(set(RELEASES))
    assert RELEASES[-1] <= migrations()[-1][0]
