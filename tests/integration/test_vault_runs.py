"""Runs that use secrets: read when a step runs, kept before it begins, blanked in whatever the run leaves behind."""

import base64
import json
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from aiohttp import web

from shared.errors import StepFailedError
from shared.lanes import Reference
from shared.nodes.base import Outcome, StepContext
from shared.redaction import Redactor
from shared.store import run_secrets, vault
from shared.texts import MAX_INPUT
from shared.vault import KeyRing
from tests import keeper
from tests.calls import CALLED, beside, call
from tests.engine import KEYS, Engine, Flow, eventually, first, graph, mint, start_run, workflow
from tests.outward import serving
from tests.rows import error_of, output_of
from tests.searching import found
from worker.isolation import Isolation
from worker.secrets import Secrets

SECRET = 'k3y "of/the" vault?é'
OTHER = keeper.OWN
KEEPER = {"component": "keeper", "token": "{{ vault.key }}"}


async def _echo(data: keeper.KeeperData, _: StepContext) -> Outcome:
    """As an upstream does that gives back what it was sent, in every way it knows."""
    basic = base64.b64encode(f"user:{data.token}".encode()).decode()
    echo = {
        "said": f"<{data.token}>",
        data.token: [data.token, {"auth": f"Basic {basic}"}],
        "raw": json.dumps(data.token),
    }
    return Outcome(echo, step_input={"headers": {"X-Token": data.token}})


async def _keep(database: asyncpg.Connection, flow: Flow, name: str, secret: str, keys: KeyRing = KEYS) -> UUID:
    item = mint.uuid()
    blob = keys.encrypt(secret.encode(), context=vault.secret_context(item))
    await database.execute(
        "INSERT INTO vault_items (id, workspace_id, name, secret) VALUES ($1, $2, $3, $4)"
        " ON CONFLICT (workspace_id, name) DO UPDATE SET id = $1, secret = $4",
        item, flow.workspace_id, name, blob,
    )  # fmt: skip
    return item


async def assert_clean(database: asyncpg.Connection, *secrets: str) -> None:
    """No form of a secret stands in any text or bytes of any table."""
    columns = await database.fetch(
        "SELECT c.relname, a.attname FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid"
        " JOIN pg_namespace n ON n.oid = c.relnamespace"
        " WHERE n.nspname = 'public' AND c.relkind = 'r' AND a.attnum > 0 AND NOT a.attisdropped"
        " AND a.atttypid IN ('text'::regtype, 'bytea'::regtype)"
    )
    for table, column in columns:
        for (value,) in await database.fetch(f'SELECT "{column}" FROM "{table}" WHERE "{column}" IS NOT NULL'):
            text = value.decode("latin-1") if isinstance(value, bytes) else value
            assert not found(text, secrets), (table, column)


async def test_an_echo_is_stored_without_the_secret(database_url: str, database: asyncpg.Connection) -> None:
    """In values, keys, headers and codings; what follows sees what is stored, and the step itself had the value."""
    seen = []

    async def act(data: keeper.KeeperData, context: StepContext) -> Outcome:
        seen.append((data.token, data.value))
        return await _echo(data, context)

    known = keeper.known(act)
    drawn = graph("t>k k>next", k=KEEPER, next={**KEEPER, "value": "{{ k.said }}"})
    flow = await workflow(database, *drawn, known)
    await _keep(database, flow, "key", SECRET)
    async with Engine.running(database_url, known) as engine:
        run_id = await engine.run(flow)
    assert seen == [(SECRET, None), (SECRET, "<[redacted]>")]
    output = await output_of(database, run_id, "k")
    assert output["said"] == "<[redacted]>"
    assert output["[redacted]"][1]["auth"] == "Basic [redacted]"
    await assert_clean(database, SECRET)


async def test_the_search_finds_what_is_there(database_url: str, database: asyncpg.Connection) -> None:
    """A secret that the engine was not told about is found: the search of these tests can fail."""
    known = keeper.known(_echo)
    flow = await workflow(database, *graph("t>k", k={"component": "keeper", "token": OTHER}), known)
    async with Engine.running(database_url, known) as engine:
        await engine.run(flow)
    with pytest.raises(AssertionError):
        await assert_clean(database, OTHER)


async def test_what_is_too_large_is_not_searched(
    database_url: str, database: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An output that is refused for its size anyway, or what is cut off an input: that would take seconds."""
    searched: list[int] = []
    search = Redactor.text

    def text(self: Redactor, text: str) -> str:
        searched.append(len(text))
        return search(self, text)

    async def act(data: keeper.KeeperData, _: StepContext) -> Outcome:
        large = {f"{data.token}{count}": count for count in range(60_000)}
        return Outcome(large, step_input={"said": data.token * 50_000})

    monkeypatch.setattr(Redactor, "text", text)
    known = keeper.known(act)
    flow = await workflow(database, *graph("t>k", k=KEEPER), known)
    await _keep(database, flow, "key", SECRET)
    async with Engine.running(database_url, known) as engine:
        run_id = await engine.run(flow)
        assert (await error_of(database, run_id, "k"))["code"] == "output_too_large"
        assert max(searched) <= MAX_INPUT
        assert len(searched) < 1_000
        await assert_clean(database, SECRET)


async def test_failures_tell_no_secret(database_url: str, database: asyncpg.Connection) -> None:
    """Not in messages, bodies, inputs or what breaks; retried, caught and uncaught."""

    async def act(data: keeper.KeeperData, context: StepContext) -> Outcome:
        if context.node_id == "breaks":
            raise ValueError(data.token)
        raise StepFailedError(
            "refused", f"401 for {data.token}", category="5xx", http_status=500, body={"echo": data.token},
            step_input={data.token: 1},
        )  # fmt: skip

    known = keeper.known(act)
    retry = {"max_attempts": 2, "delay": 0.001, "backoff": "fixed", "on": ["5xx"]}
    drawn = graph(
        "t>r r>breaks:error breaks>last:error",
        r={**KEEPER, "retry": retry, "continue_on_error": True},
        breaks={**KEEPER, "continue_on_error": True},
        last=KEEPER,
    )
    flow = await workflow(database, *drawn, known)
    await _keep(database, flow, "key", SECRET)
    async with Engine.running(database_url, known) as engine:
        run_id = await engine.run(flow)
    assert (await output_of(database, run_id, "r"))["error"]["message"] == "401 for [redacted]"
    assert (await error_of(database, run_id, "last"))["body"] == {"echo": "[redacted]"}
    assert await database.fetchval("SELECT count(*) FROM steps WHERE node_id = 'r'") == 2
    assert await database.fetchval("SELECT error_message FROM runs") == "401 for [redacted]"
    await assert_clean(database, SECRET)


async def test_an_item_that_is_gone_expired_or_unreadable_fails_the_step(
    database_url: str, database: asyncpg.Connection
) -> None:
    """Saying which; no retry is made, whatever the step retries."""
    known = keeper.known(_echo)
    everything = {"max_attempts": 5, "delay": 60, "on": ["network", "timeout", "429", "5xx", "4xx", "error"]}
    names = {"missing": "none", "expired": "old", "unreadable": "foreign"}
    drawn = graph(
        "t>missing t>expired t>unreadable",
        **{
            node: {
                "component": "keeper",
                "token": f"{{{{ vault.{item} }}}}",
                "retry": everything,
                "continue_on_error": True,
            }
            for node, item in names.items()
        },
    )
    flow = await workflow(database, *drawn, known)
    await _keep(database, flow, "old", SECRET)
    await _keep(database, flow, "foreign", SECRET, KeyRing({"k9": bytes(32)}))
    await database.execute("UPDATE vault_items SET expires_at = now() - interval '1 second' WHERE name = 'old'")
    async with Engine.running(database_url, known) as engine:
        run_id = await engine.run(flow)
    errors = {node: (await error_of(database, run_id, node)) for node in names}
    assert {node: error["code"] for node, error in errors.items()} == {
        "missing": "vault_item_missing",
        "expired": "vault_item_expired",
        "unreadable": "vault_item_unreadable",
    }
    assert '"none"' in errors["missing"]["message"]


async def test_a_value_that_was_changed_is_still_blanked_by_another_worker(
    database_url: str, database: asyncpg.Connection
) -> None:
    """The value that a step used, what a template made of it, and what the step said it uses; after a rotation."""
    used: list[str] = []

    async def act(data: keeper.KeeperData, context: StepContext) -> Outcome:
        if context.node_id == "k":
            used.append(data.token)
            await context.uses_secret(OTHER)
            return Outcome({"sent": True})
        return Outcome({"echo": [*used, data.token, OTHER, SECRET.upper()]})

    known = keeper.known(act)
    both = {"component": "keeper", "token": "{{ vault.key }} {{ vault.key | upcase }}"}
    drawn = graph(
        "t>k k>wait wait>late", k=both, wait={"component": "delay", "duration": 1, "unit": "hours"}, late=KEEPER
    )
    flow = await workflow(database, *drawn, known)
    await _keep(database, flow, "key", SECRET)
    async with Engine.running(database_url, known) as engine:
        run_id = await engine.run(flow, until="running")
        await engine.idle()
    await _keep(database, flow, "key", "a fresh value of it")
    await database.execute("UPDATE open_steps SET due_at = now() WHERE due_at IS NOT NULL")
    async with Engine.running(database_url, known) as engine:
        await engine.finish(run_id)
    assert used == [f"{SECRET} {SECRET.upper()}"]
    output = await output_of(database, run_id, "late")
    assert output == {"echo": ["[redacted] [redacted]", "[redacted]", "[redacted]", "[redacted]"]}
    await assert_clean(database, SECRET, SECRET.upper(), OTHER, "a fresh value of it")


async def test_everything_else_of_the_run_is_blanked(database_url: str, database: asyncpg.Connection) -> None:
    """What pure nodes decode, questions, items of iterators, payloads of called workflows, the output of terminate."""
    coded = base64.b32encode(SECRET.encode()).decode()  # a coding that is not looked for

    def reveal(data: Any) -> Outcome:
        return Outcome({"value": base64.b32decode(data.value).decode()})

    async def act(data: keeper.KeeperData, _: StepContext) -> Outcome:
        return Outcome({"value": base64.b32encode(data.token.encode()).decode()})

    known = keeper.known(act, pure=reveal)
    drawn = graph(
        "t>k k>f f>ask k>each each>fitem:item f>end",
        k=KEEPER,
        f={"value": "{{ k.value }}"},
        ask={"component": "approval", "text": "{{ f.value }}"},
        each={"component": "iterator", "items": [coded]},
        fitem={"value": "{{ each.item }}"},
        end={
            "component": "terminate",
            "status": "failed",
            "message": "{{ f.value }}",
            "output": {"a": "{{ f.value }}"},
        },
    )
    flow = await workflow(database, *drawn, known)
    await _keep(database, flow, "key", SECRET)
    async with Engine.running(database_url, known) as engine:
        run_id = await engine.run(flow)
    assert await output_of(database, run_id, "f") == {"value": "[redacted]"}
    assert await database.fetchval("SELECT output FROM runs WHERE id = $1", run_id) == '{"a":"[redacted]"}'
    await assert_clean(database, SECRET)


async def test_what_templates_put_together_again_is_blanked_before_others_get_it(
    database_url: str, database: asyncpg.Connection
) -> None:
    """In questions, items, payloads of workflows that are called and of events; their runs get what is stored."""
    split = "|".join(SECRET)  # which is not looked for
    again = '{{ k.value | remove: "|" }}'

    async def act(data: keeper.KeeperData, _: StepContext) -> Outcome:
        return Outcome({"value": "|".join(data.token)})

    known = keeper.known(act)
    callee = await workflow(database, *graph("t>f", t=CALLED, f={"value": 1}), known)
    heard = {"component": "event_trigger", "event": "told"}
    listener = await beside(database, callee, graph("t>f", t=heard, f={"value": 1}), known)
    drawn = graph(
        "t>k k>call call>tell tell>each each>fitem:item k>ask",
        k=KEEPER,
        call=call(callee, context={"said": again}, wait=True),
        tell={"component": "publish_event", "event": "told", "payload": {"said": again}},
        each={"component": "iterator", "items": [again]},
        fitem={"value": "{{ each.item }}"},
        ask={"component": "approval", "text": again},
    )
    flow = await beside(database, callee, drawn, known)
    await database.execute(
        "INSERT INTO event_listeners (workflow_id, workspace_id, event) VALUES ($1, $2, 'told')",
        listener.workflow_id, flow.workspace_id,
    )  # fmt: skip
    await _keep(database, flow, "key", SECRET)
    async with Engine.running(database_url, known) as engine:
        run_id = await engine.run(flow, until="awaiting_ui_interaction")

        async def only_asks() -> bool:
            await engine.follow()
            return await database.fetch("SELECT node_id FROM open_steps") == [("ask",)]

        await eventually(only_asks)
        await engine.idle()
    assert await output_of(database, run_id, "k") == {"value": split}
    payloads = {
        row["trigger_type"]: json.loads(row["trigger_payload"])
        for row in await database.fetch("SELECT trigger_type, trigger_payload FROM runs WHERE id <> $1", run_id)
    }
    assert payloads == {"workflow": {"said": "[redacted]"}, "event": {"said": "[redacted]"}}
    assert await output_of(database, run_id, "fitem") == {"value": "[redacted]"}
    await assert_clean(database, SECRET)


async def test_what_a_run_has_used_is_kept_until_it_ends(database_url: str, database: asyncpg.Connection) -> None:
    """Encrypted, once for each secret, bound to the run; the scheduler's duty removes it when the run has ended."""
    known = keeper.known(_echo)
    flow = await workflow(
        database, *graph("t>k k>wait k>k2", k=KEEPER, k2=KEEPER, wait={"component": "delay", "duration": 1}), known
    )
    await _keep(database, flow, "key", SECRET)
    async with Engine.running(database_url, known) as engine:
        run_id = await engine.run(flow, until="running")
        await engine.idle()
        rows = await database.fetch("SELECT * FROM run_secrets")
        assert len(rows) == 1
        assert await run_secrets.remove_old(database, 10) == 0
        with pytest.raises(Exception, match="belongs to another row"):
            KEYS.decrypt(rows[0]["secret"], context=run_secrets.secret_context(mint.uuid()))
        await engine.finish(run_id)
    assert await run_secrets.remove_old(database, 10) == 1


async def test_where_a_secret_of_the_run_cannot_be_decrypted_nothing_is_recorded(
    database_url: str, database: asyncpg.Connection
) -> None:
    """The step fails and says so: what must be blanked in it is not known."""
    known = keeper.known(_echo)
    flow = await workflow(database, *graph("t>k", k=KEEPER), known)
    await _keep(database, flow, "key", SECRET)
    async with Engine.running(database_url, known) as engine:
        run_id = await start_run(database, flow)
        lost = Secrets(engine.pool, KeyRing({"k9": bytes(32)}))
        await lost.note(run_id, flow.workspace_id, ["a secret under a key that is gone"])
        await engine.take(first(run_id, flow))
        await engine.finish(run_id)
    assert (await error_of(database, run_id, "k"))["code"] == "vault_item_unreadable"
    assert await database.fetchval("SELECT input FROM steps WHERE node_id = 'k'") is None
    await assert_clean(database, SECRET)


async def _run_apart(engine: Engine, database: asyncpg.Connection, flow: Flow, isolation: Isolation, end: str) -> UUID:
    """A run whose step ``k`` is a suspect."""
    engine.executor._isolation = engine.executor._settling._isolation = isolation
    run_id = await start_run(database, flow)
    await engine.take(first(run_id, flow))
    await eventually(lambda: any(bell.reference.node_id == "k" for bell in engine.mailbox.bells))
    await engine.idle()
    engine.mailbox.references()
    await database.execute("UPDATE open_steps SET crashes = 2 WHERE node_id = 'k'")
    await engine.take(Reference(run_id, "k", "-", claim=True))
    await engine.finish(run_id, until=end, seconds=60)
    return run_id


@pytest.mark.parametrize("status", [200, 401])
async def test_a_step_that_runs_apart_uses_secrets_too(
    database_url: str, database: asyncpg.Connection, status: int
) -> None:
    """A suspect's call gets the value in its own process, and what comes back is blanked, derived texts included."""

    async def answer(request: web.Request) -> web.Response:
        return web.json_response({"said": request.headers["X-Token"], "pid": 1}, status=status)

    async with serving(answer) as url, Engine.running(database_url) as engine:
        token = "{{ vault.key }} {{ vault.key | upcase }}"
        data = {"component": "webhook", "method": "GET", "url": url, "headers": {"X-Token": token}}
        flow = await workflow(database, *graph("t>x t>k", k=data))  # k is left to others, and taken as a suspect
        await _keep(database, flow, "key", OTHER)
        isolation = Isolation(egress_allow="127.0.0.1")
        run_id = await _run_apart(engine, database, flow, isolation, "completed" if status == 200 else "failed")
    if status == 200:
        assert (await output_of(database, run_id, "k"))["body"] == {"said": "[redacted] [redacted]", "pid": 1}
    else:
        assert "[redacted] [redacted]" in str((await error_of(database, run_id, "k"))["body"])
    await assert_clean(database, OTHER, OTHER.upper())


@pytest.mark.parametrize("how", ["echo", "fail", "break"])
async def test_what_a_step_says_that_it_uses_is_blanked_if_it_runs_apart_too(
    database_url: str, database: asyncpg.Connection, caplog: pytest.LogCaptureFixture, how: str
) -> None:
    """Outputs, failures and faults of a node that uses a secret of its own, which is kept before the node goes on."""
    known = keeper.known(keeper.betray)
    flow = await workflow(database, *graph("t>x t>k", k={**KEEPER, "value": how}), known)
    await _keep(database, flow, "key", SECRET)
    async with Engine.running(database_url, known) as engine:
        isolation = Isolation(keeper.APART)
        run_id = await _run_apart(engine, database, flow, isolation, "completed" if how == "echo" else "failed")
    if how == "echo":
        assert await output_of(database, run_id, "k") == {"said": "[redacted] [redacted]"}
    elif how == "fail":
        error = await error_of(database, run_id, "k")
        assert (error["code"], error["message"]) == ("upstream_said_no", "[redacted] [redacted]")
    else:
        assert (await error_of(database, run_id, "k"))["code"] == "internal_error"
    assert len((await run_secrets.of_runs(database, [run_id]))[run_id]) == 2
    await assert_clean(database, SECRET, OTHER)
    assert not found(caplog.text, (SECRET, OTHER))
