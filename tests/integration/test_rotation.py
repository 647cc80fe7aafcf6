"""``edgewise vault rotate``: everything that is encrypted comes under the newest key, whatever else goes on."""

import asyncio
import json
import os
import sys
from typing import Any
from uuid import uuid4

import asyncpg

from shared.store.idempotency import body_context
from shared.store.rotation import ENCRYPTED, rotate
from shared.vault import KeyRing

OLD, NEW = KeyRing({"k1": b"1" * 32}), KeyRing({"k10": b"2" * 32, "k1": b"1" * 32})
GONE = KeyRing({"k0": b"0" * 32})
#: Bytes that are not encrypted, each with what they are.
PLAIN = {
    "audit.before_digest": "a keyed or unguessable digest",
    "audit.after_digest": "a keyed or unguessable digest",
    "authorization_logins.state_hash": "SHA-256 of 256 random bits",
    "idempotency.body_hash": "a digest, keyed where the body holds a secret",
    "run_secrets.digest": "a keyed digest",
    "vault_items.key_hash": "SHA-256 of 256 random bits",
    "workflows.previous_token_hash": "SHA-256 of 256 random bits",
    "workflows.webhook_token_hash": "SHA-256 of 256 random bits",
}


async def test_every_column_of_bytes_is_encrypted_and_listed_or_is_known_not_to_be(
    database: asyncpg.Connection,
) -> None:
    """Who adds a column says which: what is encrypted and not listed would keep its old key for ever."""
    rows = await database.fetch(
        "SELECT c.relname || '.' || a.attname AS name FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid"
        " WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition"
        " AND a.attnum > 0 AND NOT a.attisdropped AND a.atttypid = 'bytea'::regtype"
    )
    assert {row["name"] for row in rows} == {column.name for column in ENCRYPTED} | set(PLAIN)


async def fill(database: asyncpg.Connection, keys: KeyRing) -> dict[str, tuple[str, str]]:
    """A row for each encrypted column; gives what it decrypts with and where it stands, by column."""
    workspace, item, flow, grant, run = [uuid4() for _ in range(5)]
    contexts = {
        "vault_items.secret": (f"vault_items.secret:{item}", f"id = '{item}'"),
        "workflows.webhook_token": (f"workflows.webhook_token:{flow}", f"id = '{flow}'"),
        "authorizations.config": (f"authorizations.config:{grant}", f"id = '{grant}'"),
        "authorizations.token": (f"authorizations.token:{grant}", f"id = '{grant}'"),
        "authorization_logins.verifier": (
            f"authorization_logins.verifier:{grant}", f"authorization_id = '{grant}'"
        ),
        "run_secrets.secret": (f"run_secrets.secret:{run}", f"run_id = '{run}'"),
        "idempotency.body": (body_context(workspace, "POST", "/x", "k"), f"workspace_id = '{workspace}' AND secret"),
    }  # fmt: skip
    made = {name: keys.encrypt(name.encode(), context=context) for name, (context, _) in contexts.items()}
    await database.execute("INSERT INTO workspaces (id, claim) VALUES ($1, $2)", workspace, str(workspace))
    statements: list[tuple[str, tuple[Any, ...]]] = [
        ("INSERT INTO vault_items (id, workspace_id, name, secret) VALUES ($1, $2, 'key', $3)",
         (item, workspace, made["vault_items.secret"])),
        ("INSERT INTO vault_items (id, workspace_id, name, key_hash) VALUES ($1, $2, 'api-key:x', $3)",
         (uuid4(), workspace, os.urandom(32))),
        (("INSERT INTO workflows (id, workspace_id, name, is_active, schedule_type, version, trigger_node,"
         " trigger_component, webhook_token, webhook_token_hash)"
          " VALUES ($1, $2, 'w', true, 'manual', 1, 't', 'x', $3, $4)"),
         (flow, workspace, made["workflows.webhook_token"], os.urandom(32))),
        ("INSERT INTO authorizations (id, workspace_id, kind, config, token) VALUES ($1, $2, 'bearer', $3, $4)",
         (grant, workspace, made["authorizations.config"], made["authorizations.token"])),
        (("INSERT INTO authorization_logins (state_hash, workspace_id, authorization_id, verifier, expires_at)"
         " VALUES ($1, $2, $3, $4, now())"),
         (os.urandom(32), workspace, grant, made["authorization_logins.verifier"])),
        ("INSERT INTO run_secrets (run_id, workspace_id, digest, secret) VALUES ($1, $2, $3, $4)",
         (run, workspace, os.urandom(32), made["run_secrets.secret"])),
        (("INSERT INTO idempotency (workspace_id, method, route, key, body_hash, status, headers, body, secret)"
         " VALUES ($1, 'POST', '/x', 'k', $2, 200, '', $3, true),"
          " ($1, 'POST', '/x', 'plain', $2, 200, '', 'plain', false)"),
         (workspace, os.urandom(32), made["idempotency.body"])),
    ]  # fmt: skip
    for statement, values in statements:
        await database.execute(statement, *values)
    return contexts


async def _blob(database: asyncpg.Connection, name: str, where: str) -> bytes:
    table, column = name.split(".")
    blob: bytes = await database.fetchval(f"SELECT {column} FROM {table} WHERE {where} AND {column} IS NOT NULL")
    return blob


async def test_everything_comes_under_the_newest_key(database: asyncpg.Connection) -> None:
    """Each value says the same as before, bound to the same row; a second time there is nothing to do."""
    filled = [await fill(database, OLD) for _ in range(3)]
    turns = [turned async for turned in rotate(database, NEW, batch=2)]
    assert {name: sum(t.rotated for t in turns if t.column == name) for name in filled[0]} == dict.fromkeys(
        filled[0], 3
    )
    only_new = KeyRing({"k10": b"2" * 32})
    for contexts in filled:
        for name, (context, where) in contexts.items():
            assert only_new.decrypt(await _blob(database, name, where), context=context) == name.encode()
    assert sum([turned.rotated async for turned in rotate(database, NEW)]) == 0
    assert await database.fetchval("SELECT body FROM idempotency WHERE NOT secret LIMIT 1") == b"plain"


async def test_it_can_be_ended_anywhere_and_begun_again(database: asyncpg.Connection) -> None:
    """What was done stays done, and the rest is done the next time."""
    for _ in range(4):
        await fill(database, OLD)
    done = 0
    for _ in range(50):
        turns = rotate(database, NEW, batch=1)
        async for turned in turns:
            done += turned.rotated
            if turned.rotated:
                break
        await turns.aclose()
    assert done == 4 * len(ENCRYPTED)


async def test_what_cannot_be_decrypted_stays_and_is_told(database: asyncpg.Connection) -> None:
    """A value whose key is gone, or that belongs to another row, is counted and left alone; the others are moved."""
    contexts = await fill(database, GONE)
    await fill(database, OLD)
    item = uuid4()
    workspace = await database.fetchval("SELECT id FROM workspaces LIMIT 1")
    swapped = OLD.encrypt(b"x", context=f"vault_items.secret:{uuid4()}")
    await database.execute(
        "INSERT INTO vault_items (id, workspace_id, name, secret) VALUES ($1, $2, 'swapped', $3)",
        item,
        workspace,
        swapped,
    )
    turns = [turned async for turned in rotate(database, NEW, batch=1)]
    assert sum(turned.rotated for turned in turns) == len(ENCRYPTED)
    assert sum(turned.unreadable for turned in turns) == len(ENCRYPTED) + 1
    for name, (context, where) in contexts.items():
        assert GONE.decrypt(await _blob(database, name, where), context=context) == name.encode()
    assert await _blob(database, "vault_items.secret", f"id = '{item}'") == swapped


async def test_a_value_that_is_changed_meanwhile_is_not_lost(database_url: str, database: asyncpg.Connection) -> None:
    """A service that writes while its row is being moved waits, and what it writes is what stays."""
    contexts = await fill(database, OLD)
    context, where = contexts["vault_items.secret"]
    other = await asyncpg.connect(database_url)
    try:
        async with database.transaction():  # as a batch that has read its rows and not written them yet
            column = ENCRYPTED[0]
            rows = await database.fetch(column.find, NEW.prefix, *column.start, 10)
            written = asyncio.create_task(
                other.execute(
                    "UPDATE vault_items SET secret = $1 WHERE id = $2",
                    NEW.encrypt(b"fresh", context=context),
                    rows[0]["id"],
                )
            )
            await database.execute(column.keep, [rows[0]["id"]], [NEW.encrypt(b"moved", context=context)])
        await written
    finally:
        await other.close()
    assert NEW.decrypt(await _blob(database, "vault_items.secret", where), context=context) == b"fresh"


async def test_the_command_says_what_it_did(database_url: str, database: asyncpg.Connection) -> None:
    """By column; with exit status 1 if something could not be decrypted."""
    await fill(database, OLD)
    ring = "k10:MjIyMjIyMjIyMjIyMjIyMjIyMjIyMjIyMjIyMjIyMjI=,k1:MTExMTExMTExMTExMTExMTExMTExMTExMTExMTExMTE="
    env = {**os.environ, "EDGEWISE_DATABASE_URL": database_url, "EDGEWISE_BROKER_URL": "redis://127.0.0.1:1",
           "EDGEWISE_JWT_SECRET": "a secret of at least thirty-two bytes", "EDGEWISE_VAULT_KEYS": ring}  # fmt: skip
    assert await _command(env) == (0, {"key": "k10", "rotated": {c.name: 1 for c in ENCRYPTED}, "unreadable": {}})
    await fill(database, GONE)
    status, told = await _command(env)
    assert (status, told["unreadable"]) == (1, {c.name: 1 for c in ENCRYPTED})


async def _command(env: dict[str, str]) -> tuple[int | None, Any]:
    command = (sys.executable, "-m", "deploy.cli", "vault", "rotate", "--json")
    process = await asyncio.create_subprocess_exec(*command, env=env, stdout=asyncio.subprocess.PIPE)
    told, _ = await process.communicate()
    return process.returncode, json.loads(told)
