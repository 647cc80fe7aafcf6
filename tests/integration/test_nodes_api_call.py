"""``api_call`` in runs of real workflows, against an API that takes what a real OAuth2 provider gives."""

import base64
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from shared.db import open_pool
from shared.ids import Prefix, decode, encode
from shared.lanes import Reference
from shared.nodes.registry import default_registry
from tests.api_client import ApiClient, config, node
from tests.engine import Engine, eventually
from tests.presenting import authorizer
from tests.provider import Provider, serving
from tests.rows import error_of, output_of
from worker.isolation import Isolation
from worker.main import Worker

PATH = "/workflows/authorization"


@pytest.fixture
async def engine(database_url: str) -> AsyncIterator[Engine]:
    """A worker that may reach this machine."""
    async with Engine.running(database_url, default_registry()) as running, authorizer(database_url) as mine:
        tools = running.executor._tools
        running.executor._tools = tools._replace(egress=mine._egress, authorizer=mine)
        yield running


async def authorize(api: ApiClient, kind: str, fields: dict[str, Any]) -> str:
    made = await api.call("POST", PATH, {"name": "One", "kind": kind, "config": fields})
    assert made.status == 201, made.body
    return str(made.json["id"])


def flow(authorization_id: str | None, **data: Any) -> dict[str, Any]:
    """A workflow that calls the API once."""
    call = node("n2", "api_call", **{"method": "GET", "endpoint": "/things", **data})
    edges = [{"id": "e", "source": "n1", "target": "n2"}]
    return {"nodes": [node("n1", "manual_trigger"), call], "edges": edges, "authorization_id": authorization_id}


async def begin(api: ApiClient, workflow_id: str, context: Any = None) -> UUID:
    started = await api.call("POST", f"/workflows/{workflow_id}/execute", {"context": context or {}})
    assert started.status == 202, started.body
    return decode(Prefix.RUN, started.json["id"])


async def finish(engine: Engine, run_id: UUID) -> None:
    await engine.take(Reference(run_id, "n1", "-", claim=False))
    await engine.finish(run_id)


async def run(api: ApiClient, engine: Engine, definition: dict[str, Any], context: Any = None) -> UUID:
    workflow_id = (await api.create(**definition))["id"]
    run_id = await begin(api, workflow_id, context)
    await finish(engine, run_id)
    return run_id


async def status_of(api: ApiClient) -> str:
    return str((await api.call("GET", PATH)).json[0]["status"])


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    ("kind", "fields", "header"),
    [
        ("bearer", {"token": "tok-of-the-test"}, ("Authorization", "Bearer tok-of-the-test")),
        ("basic", {"username": "adä", "password": "p:ss-wörd"}, ("Authorization", f"Basic {encoded('adä:p:ss-wörd')}")),
        ("header", {"name": "X-Api-Key", "value": "key-of-the-test"}, ("X-Api-Key", "key-of-the-test")),
    ],
)
async def test_each_kind_presents_itself(
    api: ApiClient,
    engine: Engine,
    database: asyncpg.Connection,
    provider: Provider,
    kind: str,
    fields: Any,
    header: Any,
) -> None:
    """The header goes out with a request below the base URL; the step's input shows the request without it."""
    provider.others.add(header)
    made = await authorize(api, kind, {"base_url": f"{provider.url}/api/v1/", **fields})
    definition = flow(
        made,
        method="POST",
        endpoint="/sites/{{ n1.site }}/notes?x=1",
        query={"y": "{{ n1.site }}"},
        headers={"X-Own": "1"},
        body='{"text": "{{ n1.text }}"}',
    )
    run_id = await run(api, engine, definition, {"site": "st_7", "text": 'a "quote"'})
    output = await output_of(database, run_id, "n2")
    assert (output["status"], output["body"]["path"]) == (200, "/api/v1/sites/st_7/notes?x=1&y=st_7")
    assert output["body"]["body"] == '{"text": "a \\"quote\\""}'
    (seen,) = provider.seen
    assert seen.headers[header[0]] == header[1]
    assert seen.headers["Idempotency-Key"].endswith(":n2:-")
    shown = (await api.call("GET", f"/workflows/runs/{encode(Prefix.RUN, run_id)}")).body
    assert b"X-Own" in shown
    assert header[1].encode() not in shown


async def test_a_token_is_fetched_and_renewed_once_on_a_refusal(
    api: ApiClient, engine: Engine, database: asyncpg.Connection, provider: Provider
) -> None:
    """The first step fetches a token, the next uses it, and one that is refused renews it and goes on."""
    made = await authorize(api, "oauth2_client_credentials", provider.credentials())
    workflow_id = (await api.create(**flow(made)))["id"]
    for forget in (False, False, True):
        if forget:
            provider.forget_access_tokens()
        run_id = await begin(api, workflow_id)
        await finish(engine, run_id)
        assert (await output_of(database, run_id, "n2"))["status"] == 200
    assert len(provider.asked) == 2
    assert len(provider.seen) == 4


async def test_what_is_revoked_fails_at_once(
    api: ApiClient, engine: Engine, database: asyncpg.Connection, provider: Provider
) -> None:
    """401 to a fresh token: the step fails with a clear error, retry or not, and the next one calls nothing."""
    provider.refuses = True
    made = await authorize(api, "oauth2_client_credentials", provider.credentials())
    retry = {"max_attempts": 5, "delay": 0, "on": ["network", "timeout", "429", "5xx", "4xx", "error"]}
    workflow_id = (await api.create(**flow(made, retry=retry)))["id"]
    for _ in range(2):
        run_id = await begin(api, workflow_id)
        await finish(engine, run_id)
        error = await error_of(database, run_id, "n2")
        assert error["code"] == "authorization_revoked"
        assert made in error["message"]
    assert (len(provider.asked), len(provider.seen)) == (2, 2)
    assert await status_of(api) == "revoked"


async def test_a_static_secret_that_is_refused(
    api: ApiClient, engine: Engine, database: asyncpg.Connection, provider: Provider
) -> None:
    """401 to what cannot be renewed is the API's answer like any other, and revokes nothing."""
    made = await authorize(api, "bearer", {"base_url": f"{provider.url}/api", "token": "wrong-token"})
    run_id = await run(api, engine, flow(made))
    error = await error_of(database, run_id, "n2")
    assert (error["code"], error["status"]) == ("api_call_failed", 401)
    assert error["message"] == "API call failed: 401 Unauthorized"
    assert (len(provider.seen), await status_of(api)) == (1, "active")


async def test_a_provider_that_is_away_is_tried_again(
    api: ApiClient, engine: Engine, database: asyncpg.Connection, provider: Provider
) -> None:
    """A token that can't be had for now is a failure that `retry` knows."""
    provider.answers.append((503, {}))
    made = await authorize(api, "oauth2_client_credentials", provider.credentials())
    run_id = await run(api, engine, flow(made, retry={"max_attempts": 2, "delay": 0}))
    assert (await output_of(database, run_id, "n2"))["status"] == 200
    assert await database.fetchval("SELECT max(attempt) FROM steps WHERE run_id = $1 AND node_id = 'n2'", run_id) == 2
    assert len(provider.asked) == 2


async def test_a_run_keeps_its_authorization(
    api: ApiClient, engine: Engine, database: asyncpg.Connection, provider: Provider
) -> None:
    """A workflow that gets another authorization gets a version: runs that began before present what it had."""
    keys = ["key-one-of-ada", "key-two-of-ada"]
    ids = []
    for key in keys:
        provider.others.add(("X-Api-Key", key))
        ids.append(
            await authorize(api, "header", {"base_url": f"{provider.url}/api", "name": "X-Api-Key", "value": key})
        )
    workflow_id = (await api.create(**flow(ids[0])))["id"]
    before = await begin(api, workflow_id)
    changed = await api.call("PUT", f"/workflows/{workflow_id}", {"authorization_id": ids[1]})
    assert (changed.json["version"], changed.json["authorization_id"]) == (2, ids[1])
    same = await api.call("PUT", f"/workflows/{workflow_id}", {"authorization_id": ids[1]})
    assert same.json["version"] == 2
    after = await begin(api, workflow_id)
    await finish(engine, before)
    await finish(engine, after)
    assert [seen.headers["X-Api-Key"] for seen in provider.seen] == keys
    late = await begin(api, workflow_id)
    await database.execute("UPDATE runs SET version = 1 WHERE id = $1", late)
    assert (await api.call("DELETE", f"{PATH}/{ids[0]}")).status == 204
    await finish(engine, late)
    error = await error_of(database, late, "n2")
    assert (error["code"], "deleted" in error["message"]) == ("authorization_revoked", True)


async def test_one_that_was_deleted_while_it_is_used(
    api: ApiClient, engine: Engine, database: asyncpg.Connection, provider: Provider
) -> None:
    """Runs of the current version fail with a code of their own and say which one it was; nothing is called."""
    made = await authorize(api, "bearer", {"base_url": f"{provider.url}/api", "token": "tok-of-the-test"})
    workflow_id = (await api.create(**flow(made)))["id"]
    under_way = await begin(api, workflow_id)
    assert (await api.call("DELETE", f"{PATH}/{made}")).status == 204
    for run_id in (under_way, await begin(api, workflow_id)):
        await finish(engine, run_id)
        error = await error_of(database, run_id, "n2")
        told = (error["code"], made in error["message"], "deleted" in error["message"])
        assert told == ("authorization_revoked", True, True)
    assert provider.seen == []


async def test_a_workflow_that_needs_one_has_one(api: ApiClient, provider: Provider) -> None:
    """Saving without is 422 naming the node and the field, by its other name too, also when it is taken away."""
    for component in ("api_call", "altostrat_api"):
        definition = flow(None)
        definition["nodes"][1]["data"]["componentId"] = component
        refused = await api.call("POST", "/workflows", {"name": "x", **definition})
        assert refused.status == 422
        (fault,) = refused.json["errors"]
        assert (fault["path"], fault["code"]) == ("authorization_id", "authorization_required")
        assert '"n2"' in fault["message"]
        checked = await api.call("POST", "/workflows/validate", {"name": "x", **definition})
        assert [each["code"] for each in checked.json["details"]] == ["authorization_required"]
    made = await authorize(api, "bearer", {"base_url": provider.url, "token": "a-token-of-the-test"})
    saved = await api.create(**flow(made))
    taken = await api.call("PUT", f"/workflows/{saved['id']}", {"authorization_id": None})
    assert [fault["code"] for fault in taken.json["errors"]] == ["authorization_required"]
    assert (await api.call("PUT", f"/workflows/{saved['id']}", {"name": "y"})).json["authorization_id"] == made
    assert (await api.create(**flow(None, disabled=True)))["authorization_id"] is None


@pytest.mark.parametrize("endpoint", ["{{ n1.to }}", "/x/{{ n1.to }}"])
async def test_no_value_leads_out_of_the_base_url(
    api: ApiClient, engine: Engine, database: asyncpg.Connection, provider: Provider, endpoint: str
) -> None:
    """An endpoint that a run's data would lead elsewhere fails, and nothing is sent."""
    made = await authorize(api, "bearer", {"base_url": f"{provider.url}/api/v1", "token": "a-token-of-the-test"})
    to = "//127.0.0.1:1/x" if endpoint.startswith("{") else "..%2f..%2fadmin"
    run_id = await run(api, engine, flow(made, endpoint=endpoint), {"to": to})
    assert (await error_of(database, run_id, "n2"))["code"] == "invalid_endpoint"
    assert provider.seen == []


async def test_a_redirect_to_elsewhere_sees_no_credentials(
    api: ApiClient, engine: Engine, database: asyncpg.Connection, provider: Provider
) -> None:
    """The other origin gets the request without the authorization's header, whatever that is called."""
    async with serving("x") as other:
        provider.access_tokens.add("secret-token")
        other.others.add(("Accept", "*/*"))
        made = await authorize(api, "bearer", {"base_url": f"{provider.url}/api", "token": "secret-token"})
        definition = flow(made, query={"to": f"{other.url}/api/elsewhere"}, headers={"Accept": "*/*"})
        run_id = await run(api, engine, definition)
        assert (await output_of(database, run_id, "n2"))["status"] == 200
        assert len(provider.seen) == 1
        (seen,) = other.seen
        assert "Authorization" not in seen.headers


async def test_a_refusal_of_elsewhere_is_none_of_the_api(
    api: ApiClient, engine: Engine, database: asyncpg.Connection, provider: Provider
) -> None:
    """A 401 of an origin that saw no credentials renews and revokes nothing: it is the answer, and the step's alone."""
    async with serving("x") as other:
        made = await authorize(api, "oauth2_client_credentials", provider.credentials(base_url=f"{provider.url}/api"))
        run_id = await run(api, engine, flow(made, query={"to": f"{other.url}/api/elsewhere"}))
        error = await error_of(database, run_id, "n2")
        assert (error["code"], error["status"]) == ("api_call_failed", 401)
        assert (len(provider.asked), len(other.seen), await status_of(api)) == (1, 1, "active")


async def test_its_own_header_is_not_given(
    api: ApiClient, engine: Engine, database: asyncpg.Connection, provider: Provider
) -> None:
    """A header that the authorization sets fails the step that sets it, too."""
    made = await authorize(api, "header", {"base_url": provider.url, "name": "X-Key", "value": "a-value-of-the-test"})
    run_id = await run(api, engine, flow(made, headers=[{"key": "x-key", "value": "mine"}]))
    assert (await error_of(database, run_id, "n2"))["code"] == "invalid_header"
    assert provider.seen == []


async def test_a_suspect_presents_it_too(
    api: ApiClient, engine: Engine, database: asyncpg.Connection, provider: Provider
) -> None:
    """A step that runs in a process of its own gets its token handed, and another one when that is refused."""
    made = await authorize(api, "oauth2_client_credentials", provider.credentials())
    isolation = Isolation(egress_allow="127.0.0.1")
    engine.executor._isolation = engine.executor._settling._isolation = isolation
    workflow_id = (await api.create(**flow(made)))["id"]
    warm = await begin(api, workflow_id)
    await finish(engine, warm)
    provider.forget_access_tokens()
    run_id = await begin(api, workflow_id)
    await engine.outside.execute("UPDATE open_steps SET crashes = 2 WHERE run_id = $1", run_id)
    await engine.take(Reference(run_id, "n1", "-", claim=True))
    await eventually(lambda: _stands_at(engine, run_id))
    await engine.outside.execute("UPDATE open_steps SET crashes = 2, claim_first = true WHERE run_id = $1", run_id)
    engine.mailbox.references()
    await engine.take(Reference(run_id, "n2", "-", claim=True))
    await engine.finish(run_id, seconds=60)
    assert (await output_of(database, run_id, "n2"))["status"] == 200
    assert len(provider.asked) == 2
    isolation.close()


async def _stands_at(engine: Engine, run_id: UUID) -> bool:
    found: str | None = await engine.outside.fetchval(
        "SELECT status FROM open_steps WHERE run_id = $1 AND node_id = 'n2'", run_id
    )
    return found == "ready"


def forms(secret: str) -> list[bytes]:
    return [secret.encode(), base64.b64encode(secret.encode()).rstrip(b"="), secret.encode().hex().encode()]


async def test_what_is_presented_shows_nowhere(
    api: ApiClient, engine: Engine, database: asyncpg.Connection, provider: Provider
) -> None:
    """An API sends back what it was sent: neither the answer, nor an error, nor any row has a key or a token of it."""
    provider.others.add(("X-Api-Key", "a key/of+the test"))
    static = {"base_url": f"{provider.url}/api", "name": "X-Api-Key", "value": "a key/of+the test"}
    ids = [
        await authorize(api, "header", static),
        await authorize(api, "oauth2_client_credentials", provider.credentials()),
    ]
    answers = b""
    for made in ids:
        for success in (None, [299]):
            run_id = await run(api, engine, flow(made, query={"echo": "1"}, success=success))
            answers += (await api.call("GET", f"/workflows/runs/{encode(Prefix.RUN, run_id)}")).body
    assert len(provider.seen) == 4
    assert b"[redacted]" in answers
    tables = [row[0] for row in await database.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")]
    stored = b"".join([repr(await database.fetch(f'SELECT * FROM "{table}"')).encode() for table in tables])
    for secret in ("a key/of+the test", *provider.access_tokens, "the client's secret: 7/8+9="):
        for form in forms(secret):
            assert form not in answers
            assert form not in stored


async def test_a_worker_has_what_it_needs(
    api: ApiClient, database_url: str, broker_url: str, database: asyncpg.Connection, provider: Provider
) -> None:
    """The worker process as it is configured: a run that the api accepts ends with what the API answered."""
    settings = config(database_url=database_url, broker_url=broker_url, egress_allow="127.0.0.1", grace_seconds=5.0)
    pool = await open_pool(database_url, size=4, name="worker")
    worker = await Worker.start(settings, pool)
    try:
        made = await authorize(api, "oauth2_client_credentials", provider.credentials())
        workflow_id = (await api.create(**flow(made)))["id"]
        run_ids = [await begin(api, workflow_id) for _ in range(5)]
        await eventually(lambda: _all_completed(database))
        assert [(await output_of(database, run_id, "n2"))["status"] for run_id in run_ids] == [200] * 5
        assert len(provider.asked) == 1
    finally:
        await worker.stop()
        await pool.close()


async def _all_completed(database: asyncpg.Connection) -> bool:
    return bool(await database.fetchval("SELECT bool_and(status = 'completed') FROM runs"))


async def test_a_node_is_tested_with_it(make_api: Any, provider: Provider) -> None:
    """POST /workflows/test-node presents the authorization it names, renews it if need be, and shows nothing of it."""
    api = await make_api(egress_allow="127.0.0.1")
    made = await authorize(api, "oauth2_client_credentials", provider.credentials())
    body = {"node": node("n", "api_call", method="GET", endpoint="/x", query={"echo": "1"}), "authorization_id": made}
    for _ in range(2):
        answer = await api.call("POST", "/workflows/test-node", body)
        assert answer.json["status"] == "success", answer.body
        assert answer.json["output"]["body"]["echo"]["Authorization"] == "Bearer [redacted]"
        provider.forget_access_tokens()
    assert len(provider.asked) == 2
    without = await api.call("POST", "/workflows/test-node", {"node": body["node"]})
    assert (without.status, [each["code"] for each in without.json["errors"]]) == (422, ["authorization_required"])
