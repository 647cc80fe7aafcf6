"""Secrets on a real installation: used wherever one may stand, echoed back in every way, and found nowhere."""

import asyncio
import hmac
import json
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import pytest
from redis.asyncio import Redis

from tests.acceptance.echo import Echo
from tests.acceptance.outside import Client, edges, node
from tests.running import Starter, Up, until
from tests.searching import found

SECRETS = {
    "awkward": 'p@ss "w/rd" \\é+&=%<!> ~',
    "token": "sk_live_9fQ2bX7LrT0cVw5ZkYh3",
    "pin": "40718253",
    "signing": "hook-4cWq8sTz1-signs",
    "pem": "-----BEGIN KEY-----\n"
    + "\n".join("MIIEv/Qf+7" * 6 + str(line) for line in range(50))
    + "\n-----END KEY-----",
}
#: What authorizations present, the last one a token of the provider's.
PRESENTED = {
    "bearer": "bearer-7Hq2xZ9pLm",
    "basic": 'b@sic "pass"/word',
    "header": "header-Kd83nfQ0",
    "client": "client-secret-5Tg",
    "access": "access-token-Yx71b",
}
#: Sent and echoed like the others, and no item of the vault: the search must find it.
CONTROL = "control-7c1f0a9e-not-a-secret"


@pytest.fixture
def echo() -> Iterator[Echo]:
    """The world outside."""
    server = Echo(PRESENTED["access"])
    yield server
    server.close()


def _call(echo: Echo, place: str, **more: Any) -> dict[str, Any]:
    """A request with secrets in every field of it that may hold one."""
    return node(
        place,
        "webhook",
        method="POST",
        url=echo.url(f"/{place}/{{{{ vault.token }}}}"),
        query={"a": "{{ vault.awkward }}", "b": "x{{ vault.token }}y"},
        headers=[
            {"key": "Authorization", "value": 'Basic {{ "me:" | append: vault.awkward | b64 }}'},
            {"key": "X-Token", "value": "{{ vault.token }}"},
            {"key": "X-Awkward", "value": '{{ vault["awkward"] }}'},
            {"key": "X-Shouted", "value": "{{ vault.token | upcase }}"},
            {"key": "X-Plain", "value": CONTROL},
        ],
        body='{"pin": {{ vault.pin | plus: 0 }}, "pem": "{{ vault.pem }}", "said": "<{{ vault.awkward }}>"}',
        continue_on_error=True,
        **more,
    )


def _nodes(echo: Echo, database: str) -> list[dict[str, Any]]:
    """Nodes for every place that may hold a secret; all of them run at once."""
    tried = {"retry": {"max_attempts": 2, "delay": 0.01, "backoff": "fixed", "on": ["5xx", "network", "timeout"]}}
    place = urlsplit(database)
    caught = {"continue_on_error": True}
    token = "{{ vault.token }}"
    headers = [{"key": "X-Token", "value": token}, {"key": "Authorization", "value": f"Bearer {token}"}]
    here = {"host": "127.0.0.1", **caught}
    return [
        _call(echo, "ok"),
        _call(echo, "fail", **tried),
        _call(echo, "flaky", **tried),
        _call(echo, "slow", timeout=1, **tried),
        _call(echo, "binary", response="binary"),
        _call(echo, "notjson", response="json"),
        _call(echo, "redirect"),
        _call(echo, "text", response="text"),
        node("graphql", "graphql_request", url=echo.url("/graphql"), query="{ a }", headers=headers, **caught),
        node("ai", "ai_text_transform", model="m", prompt="p", base_url=echo.url("/ai"), api_key=token,
             headers=[headers[0]], **caught),
        node("notify", "send_notification", service="generic", message="m", url=echo.url(f"/n/{token}"),
             headers=headers, **caught),
        node("slack", "send_notification", service="slack", message="m", url=echo.url(f"/services/{token}"), **caught),
        *(node(f"soap{login}", "soap_request", wsdl=echo.url(f"/soap/{token}"), endpoint=echo.url(f"/soap/{token}"),
               operation="GetLevel", arguments={"item": token, "warehouses": ["{{ vault.awkward }}"]}, login=login,
               soap_headers={"key": "{{ vault.pem }}"}, headers=[headers[0]], username="u", password=token, **caught)
          for login in ("basic", "username_token")),
        node("sql", "postgres_query", port=place.port, database="postgres", user="edgewise", tls="off",
             query="SELECT 1", password=token, **here),
        node("cache", "redis_command", port=echo.port, command="GET", arguments=["x"], tls="off", password=token,
             **here),
        node("ssh", "ssh_command", port=echo.port, username="u", host_key=f"SHA256:{'A' * 43}", command=["ls"],
             private_key="{{ vault.pem }}", password=token, passphrase="{{ vault.awkward }}", **here),
        node("mail", "send_email", port=echo.port, sender="a@b.test", to=["c@d.test"], subject="s", text="t",
             username="u", password=token, timeout=1, **here),
    ]  # fmt: skip


async def _stored(url: str) -> str:
    """Everything in every column of every table, whatever its type."""
    connection = await asyncpg.connect(url)
    try:
        columns = await connection.fetch(
            "SELECT format('%I.%I', n.nspname, c.relname) AS place, quote_ident(a.attname) AS name,"
            " a.atttypid = 'bytea'::regtype AS raw FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid"
            " JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind = 'r' AND a.attnum > 0"
            " AND NOT a.attisdropped AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast')"
        )
        texts = []
        for place, name, raw in columns:
            cast = "" if raw else "::text"
            for (value,) in await connection.fetch(f"SELECT {name}{cast} FROM {place} WHERE {name} IS NOT NULL"):
                texts.append(value.decode("latin-1") if raw else value)
        return "\n".join(texts)
    finally:
        await connection.close()


async def _broker(url: str) -> str:
    """Every key of the broker with its value, as it would be dumped."""
    async with Redis.from_url(url) as redis:
        found = []
        async for key in redis.scan_iter():
            kind = (await redis.type(key)).decode()
            read = {
                "string": redis.get(key),
                "list": redis.lrange(key, 0, -1),
                "set": redis.smembers(key),
                "hash": redis.hgetall(key),
                "zset": redis.zrange(key, 0, -1),
            }
            found.append(f"{key!r} {await read.pop(kind)!r}")
            for other in read.values():
                other.close()
        return "\n".join(found)


def _read(url: str, token: str, body: Any = None, *, expect: int = 200, headers: dict[str, str] | None = None) -> str:
    """The body of an answer that has the expected status; what is not there would be clean for nothing."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(
        url, data, {"Authorization": f"Bearer {token}", "Content-Type": "application/json", **(headers or {})}
    )
    try:
        with urllib.request.urlopen(request, timeout=15) as answer:
            status, text = answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            status, text = error.code, error.read()
    assert status == expect, (url, status, text[:500])
    return str(text.decode())


def _shown(up: Up, workflows: list[str], runs: list[str], items: list[str], scheduled: str) -> dict[str, str]:
    """What every route answers that reads."""
    told = up.told()
    paths = ["", "/vault", "/runs", "/runs?status=failed", "/callable", "/node-types", "/authorization"]
    paths += [f"/{each}{part}" for each in workflows for part in ("", "/executions")]
    paths += [f"/{scheduled}/schedule"]
    paths += [f"/runs/{each}" for each in runs]
    paths += [f"/vault/{each}" for each in items]
    shown = {path: _read(f"{told['url']}/workflows{path}", told["token"]) for path in paths}
    urls = [told["metrics"]["api"], told["metrics"]["scheduler"], *told["metrics"]["workers"]]
    urls += [f"{told['url']}/openapi.json", f"{told['url']}/docs"]
    return shown | {url: _read(url, told["token"]) for url in urls}


def _authorized(client: Client, echo: Echo) -> list[dict[str, Any]]:
    """A workflow for each kind of authorization that needs no person."""
    base = {"base_url": echo.url("/api")}
    configs = {
        "bearer": {"token": PRESENTED["bearer"]},
        "basic": {"username": "me", "password": PRESENTED["basic"]},
        "header": {"name": "X-Key", "value": PRESENTED["header"]},
        "oauth2_client_credentials": {
            "token_url": echo.url("/token"), "client_id": "c", "client_secret": PRESENTED["client"],
        },
    }  # fmt: skip
    made = []
    for kind, config in configs.items():
        authorization = {"name": kind, "kind": kind, "config": {**base, **config}}
        given = client("POST", "/workflows/authorization", authorization, 201)
        call = node("call", "api_call", method="POST", endpoint="/x", body={"plain": CONTROL})
        nodes = [node("t", "manual_trigger"), call, node("x", "data_mapper", mapping={"said": "{{ call.body }}"})]
        made.append(client.create(nodes, edges(("t", "call"), ("call", "x")), authorization_id=given["id"]))
    return made


def _hooked(client: Client, url: str) -> dict[str, str]:
    """What is shown of requests to a webhook that is signed; those that start no run are sent the secret as well."""
    signature = {"scheme": "github", "secret": "signing"}
    hook = client.create(
        [node("t", "webhook_trigger", signature=signature), node("x", "text_transform", template="x")],
        edges(("t", "x")),
    )
    path = f"{url}{urlsplit(hook['webhook_url']).path}"
    told = {"secret": SECRETS["signing"], "plain": CONTROL}
    good = "sha256=" + hmac.new(SECRETS["signing"].encode(), b'{"a": 1}', "sha256").hexdigest()
    started = {"X-Hub-Signature-256": good, "X-GitHub-Delivery": "d"}
    shown = {
        "hook": _read(path, "", {"a": 1}, expect=202, headers=started),
        "forged": _read(
            path, "", told, expect=401, headers={"X-Hub-Signature-256": good, "X-Told": SECRETS["signing"]}
        ),
        "again": _read(path, "", {"a": 1}, expect=202, headers={**started, "X-Told": SECRETS["signing"]}),
    }
    until(lambda: len(client("GET", f"/workflows/{hook['id']}/deliveries")) == len(shown))
    listed = client("GET", f"/workflows/{hook['id']}/deliveries")
    return shown | {"deliveries": json.dumps(listed), "hook itself": json.dumps(hook)}


def _asked(client: Client, up: Up, echo: Echo) -> dict[str, str]:
    """A page for people, and what it answers them."""
    nodes = [
        node("t", "manual_trigger"),
        _call(echo, "ok"),
        node("link", "text_transform", template="{{ run.links.ask }}"),
        node("ask", "approval", text="{{ ok.body.body }} {{ ok.body.headers | json }}"),
    ]
    asking = client.create(nodes, edges(("t", "ok"), ("ok", "link"), ("link", "ask")))
    run_id = client.execute(asking)
    until(lambda: client.run(run_id)["status"] == "awaiting_ui_interaction", 60)
    run = client.run(run_id)
    link = next(log["output"] for log in run["logs"] if log["node_id"] == "link")
    url = up.told()["url"] + urlsplit(link if isinstance(link, str) else link["text"]).path
    page, question = _read(url, "", headers={"Accept": "text/html"}), _read(url, "")
    answer = _read(url, "", {"outcome": "approved"}, expect=202)
    until(client.has_ended(run_id), 60)
    return {"page": page, "question": question, "answer": answer, "asked": json.dumps(client.run(run_id))}


def _answered(client: Client, told: dict[str, Any], echo: Echo) -> str:
    """What a request is answered that waits for its run."""
    nodes = [
        node("t", "sync_request_trigger"),
        _call(echo, "ok"),
        node("x", "text_transform", template="{{ ok.body | json }} {{ ok.headers | json }}", is_response=True),
    ]
    waited = client.create(nodes, edges(("t", "ok"), ("ok", "x")))
    return _read(f"{told['url']}/workflows/sync/{waited['id']}", told["token"], {"a": 1})


def test_no_form_of_a_secret_is_found_anywhere(start: Starter, echo: Echo) -> None:
    """After runs that used secrets in all allowed places, failed, were retried, timed out and had them echoed back.

    Authorizations present theirs, a webhook is sent the one it is signed with, a page shows one, nodes are tested.

    Searched are the whole database, the broker, the logs of all processes, /metrics and what the API answers.
    """
    up = start(env={"EDGEWISE_EGRESS_ALLOW": "127.0.0.0/8", "EDGEWISE_LOG_LEVEL": "debug"}).ready()
    told = up.told()
    client = Client(told["url"], told["token"])
    items = [client("POST", "/workflows/vault", {"name": name, "secret": SECRETS[name]}, 201)["id"] for name in SECRETS]
    key = client("POST", "/workflows/vault", {"name": "api-key:ci"}, 201)

    handler = client.create(
        [node("t", "error_trigger"), node("x", "text_transform", template="{{ t.error.message }}")], edges(("t", "x"))
    )
    called = client.create(
        [node("t", "workflow_trigger"), node("x", "data_mapper", mapping={"was": "{{ t.payload }}"})], edges(("t", "x"))
    )
    heard = client.create(
        [node("t", "event_trigger", event="said"), node("x", "data_mapper", mapping={"was": "{{ t.payload }}"})],
        edges(("t", "x")),
    )
    calls = _nodes(echo, told["database_url"])
    names = [each["id"] for each in calls]
    behind = [
        node("mapped", "data_mapper", mapping={"all": "{{ ok }}", "error": "{{ fail }}", "coded": "{{ binary.body }}"}),
        node("each", "iterator", items=["{{ ok.body }}", "{{ ok.headers }}"]),
        node("item", "text_transform", template="{{ each.item | json }}"),
        node("child", "trigger_workflow", workflow_id=called["id"], wait=True, context={"said": "{{ ok.body }}"}),
        node("tell", "publish_event", event="said", payload={"said": "{{ ok.body }}"}),
        node("ask", "approval", text="{{ ok.body.body }}", timeout=600),
        node("end", "terminate", status="failed", message="{{ ok.body.path }}", output={"all": "{{ mapped }}"}),
    ]
    wires = edges(
        *(("t", name) for name in names),
        *((name, "mapped", *handle) for name in names for handle in ((), ("error",))),
        ("mapped", "each"), ("each", "item", "item"), ("each", "child", "done"), ("mapped", "ask"),
        ("mapped", "tell"),
        ("child", "end"),
    )  # fmt: skip
    workflow = client.create(
        [node("t", "manual_trigger"), *calls, *behind], wires, settings={"error_workflow_id": handler["id"]}
    )
    used_by = [set(client("GET", f"/workflows/vault/{item}")["used_by"]) for item in items]
    assert set().union(*used_by) == {workflow["id"]}
    authorized = _authorized(client, echo)
    presenting = [client.execute(each) for each in authorized]
    by_key = Client(told["url"], key["secret"])
    run_id = by_key.execute(workflow)
    until(lambda: "slow" in echo.paths, 60)
    meanwhile = asyncio.run(_broker(told["broker_url"]))
    until(client.has_ended(run_id), 90)
    until(lambda: len(client("GET", f"/workflows/{handler['id']}/executions")["data"]) == 1)

    run = client.run(run_id)
    ended = {log["node_id"]: log["status"] for log in run["logs"]}
    assert run["status"] == "failed"
    assert "[redacted]" in run["error_message"]
    assert (
        ended["ok"]
        == ended["flaky"]
        == ended["binary"]
        == ended["mapped"]
        == ended["item"]
        == ended["child"]
        == "success"
    )
    failed = {step["node_id"]: step["status"] for step in run["steps"]}
    assert {failed[name] for name in ("fail", "slow", "notjson", "sql", "cache", "ssh", "mail")} == {"failed"}
    assert echo.paths.count("soap") >= 4, "two descriptions and two messages"
    tries = Counter(log["node_id"] for log in run["logs"])
    assert (tries["fail"], tries["flaky"], tries["slow"]) == (2, 2, 2)

    secrets = {*SECRETS.values(), SECRETS["token"].upper(), key["secret"]}
    for each in presenting:
        until(client.has_ended(each))
        assert client.run(each)["status"] == "completed"
    secrets |= {*PRESENTED.values()}
    scheduled = client.create(
        [
            node("t", "scheduled_trigger", schedule_type="cron", schedule_value="0 3 * * *"),
            node("x", "delay", duration=1),
        ],
        edges(("t", "x")),
    )
    workflows = [workflow, handler, called, heard, scheduled, *authorized]
    shown = _shown(up, [each["id"] for each in workflows], [run_id, *presenting], items, scheduled["id"])
    shown |= _hooked(client, told["url"]) | _asked(client, up, echo)
    test = {"node": _call(echo, "ok"), "context": {}}
    failing = {"node": _call(echo, "fail"), "context": {}}
    shown["test-node that fails"] = _read(f"{told['url']}/workflows/test-node", told["token"], failing)
    assert json.loads(shown["test-node that fails"])["status"] == "error"
    shown["rerun"] = _read(f"{told['url']}/workflows/runs/{run_id}/rerun", told["token"], {}, expect=202)
    shown["sync"] = _answered(client, told, echo)
    shown["test-node"] = _read(f"{told['url']}/workflows/test-node", told["token"], test)
    assert json.loads(shown["test-node"])["status"] == "success"
    database, broker = asyncio.run(_stored(told["database_url"])), asyncio.run(_broker(told["broker_url"]))
    up.stop()
    logs = up.output()
    assert found(database, {CONTROL}), "the search of the database finds what is there"
    plain = {path for path, text in shown.items() if found(text, {CONTROL})}
    runs = {f"/runs/{each}" for each in (run_id, *presenting)}
    assert plain >= {"page", "question", "asked", "test-node", "sync", "deliveries", *runs}, "and that of the answers"
    assert '"service":"worker"' in logs.replace(" ", "")
    assert {path: those for path, text in shown.items() if (those := found(text, secrets))} == {}
    assert found(database, secrets) == set()
    assert found(logs, secrets) == set()
    assert found(meanwhile + broker, secrets) == set()
