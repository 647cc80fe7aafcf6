"""Secrets on a real installation: used wherever one may stand, echoed back in every way, and found nowhere."""

import asyncio
import base64
import json
import threading
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import quote, quote_plus, urlsplit

import asyncpg
import pytest
from redis.asyncio import Redis

from tests.acceptance.outside import Client, edges, node
from tests.running import Starter, Up, until

SECRETS = {
    "awkward": 'p@ss "w/rd" \\é+&=%<!> ~',
    "token": "sk_live_9fQ2bX7LrT0cVw5ZkYh3",
    "pin": "40718253",
    "pem": "-----BEGIN KEY-----\n"
    + "\n".join("MIIEv/Qf+7" * 6 + str(line) for line in range(50))
    + "\n-----END KEY-----",
}
#: Sent and echoed like the others, and no item of the vault: the search must find it.
CONTROL = "control-7c1f0a9e-not-a-secret"


class _Server(ThreadingHTTPServer):
    """Callers that give up are no error of the server."""

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass


class Echo:
    """Gives back what it is sent: in bodies, keys, headers and reasons, as text, JSON and bytes, well and failing."""

    def __init__(self) -> None:
        echo = self
        self.paths: list[str] = []
        self.stopping = threading.Event()

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                echo.answer(self)

            do_GET = do_POST  # noqa: N815

            def log_message(self, *_: object) -> None:
                pass

        self._server = _Server(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def url(self, path: str) -> str:
        """The URL of a path."""
        return f"http://127.0.0.1:{self.port}{path}"

    def close(self) -> None:
        """Stop."""
        self.stopping.set()
        self._server.shutdown()
        self._server.server_close()

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        """Echo one request, as its path says."""
        body = request.rfile.read(int(request.headers.get("Content-Length", 0)))
        place = urlsplit(request.path).path.split("/")[1]
        tries = self.paths.count(place)
        self.paths.append(place)
        if place == "slow":
            self.stopping.wait(20)
        headers = {name: value.encode("latin-1").decode("utf-8", "replace") for name, value in request.headers.items()}
        said = {"path": request.path, "headers": headers, "body": body.decode("utf-8", "replace")}
        said |= dict.fromkeys(headers.values(), 1)
        said["coded"] = base64.b64encode(body).decode()
        with suppress(ValueError):
            said["json"] = json.loads(body)
        status = {"fail": 500, "flaky": 503 if tries == 0 else 200, "redirect": 302}.get(place, 200)
        text = json.dumps(said).encode()
        request.send_response(status, f"Said {headers.get('X-Token', '')}")
        request.send_header("Content-Type", "application/octet-stream" if place == "binary" else "application/json")
        request.send_header("X-Echo", request.headers.get("Authorization", ""))
        if place == "redirect":
            request.send_header("Location", f"/ok/again?token={headers.get('X-Token')}")
        text = b"no json: " + text if place == "notjson" else text
        request.send_header("Content-Length", str(len(text)))
        request.end_headers()
        request.wfile.write(text)


@pytest.fixture
def echo() -> Iterator[Echo]:
    """The world outside."""
    server = Echo()
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
        node("ai", "ai_text_transform", model="m", prompt="p", base_url=echo.url("/ai"), api_key=token, **caught),
        node("notify", "send_notification", service="generic", message="m", url=echo.url(f"/n/{token}"),
             headers=headers, **caught),
        node("slack", "send_notification", service="slack", message="m", url=echo.url(f"/services/{token}"), **caught),
        node("soap", "soap_request", wsdl=echo.url("/soap"), operation="x", username="u", password=token,
             headers=headers, **caught),
        node("sql", "postgres_query", port=place.port, database="postgres", user="edgewise", tls="off",
             query="SELECT 1", password=token, **here),
        node("cache", "redis_command", port=echo.port, command="GET", arguments=["x"], tls="off", password=token,
             **here),
        node("ssh", "ssh_command", port=echo.port, username="u", host_key=f"SHA256:{'A' * 43}", command=["ls"],
             private_key="{{ vault.pem }}", password=token, passphrase="{{ vault.awkward }}", **here),
        node("mail", "send_email", port=echo.port, sender="a@b.test", to=["c@d.test"], subject="s", text="t",
             username="u", password=token, timeout=1, **here),
    ]  # fmt: skip


def _told(secret: str) -> set[str]:
    """What tells a secret to who finds it; written apart from what blanks it."""
    raw = secret.encode()
    coded = {raw.hex(), raw.hex().upper(), quote(secret), quote(secret, safe=""), quote_plus(secret)}
    for before in range(3):
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            text = encode(bytes(before) + raw).decode().rstrip("=")
            coded.add(text[-(-before * 8 // 6) : (before + len(raw)) * 8 // 6])
    for text in (json.dumps(secret), json.dumps(secret, ensure_ascii=False)):
        coded |= {text[1:-1], json.dumps(text)[3:-3]}
    return {secret, *coded}


def _found(text: str, secrets: set[str]) -> set[str]:
    return {secret for secret in secrets if any(form in text for form in _told(secret))}


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


def _read(url: str, token: str) -> str:
    """The body of an answer, whatever its status; of a stream what comes at once."""
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            text: bytes = answer.read()
    except urllib.error.HTTPError as error:
        with error:
            text = error.read()
    return text.decode()


def _shown(up: Up, workflows: list[str], runs: list[str], items: list[str]) -> dict[str, str]:
    """What every route answers."""
    told = up.told()
    paths = [
        "",
        "/vault",
        "/runs",
        "/runs?status=failed",
        "/callable",
        "/node-types",
        "/authorization",
        "/audit",
        "/logs/recent",
    ]
    paths += [
        f"/{each}{part}"
        for each in workflows
        for part in (
            "",
            "/executions",
            "/logs",
            "/logs/stats",
            "/versions",
            "/versions/1",
            "/export",
            "/deliveries",
            "/schedule",
        )
    ]
    paths += [f"/runs/{each}" for each in runs]
    paths += [f"/vault/{each}" for each in items]
    shown = {path: _read(f"{told['url']}/workflows{path}", told["token"]) for path in paths}
    urls = [told["metrics"]["api"], told["metrics"]["scheduler"], *told["metrics"]["workers"]]
    urls += [f"{told['url']}/openapi.json", f"{told['url']}/docs", f"{told['url']}/readyz"]
    return shown | {url: _read(url, told["token"]) for url in urls}


def test_no_form_of_a_secret_is_found_anywhere(start: Starter, echo: Echo) -> None:
    """After a run that used secrets in all allowed places, failed, was retried, timed out and had them echoed back.

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
    calls = _nodes(echo, told["database_url"])
    names = [each["id"] for each in calls]
    behind = [
        node("mapped", "data_mapper", mapping={"all": "{{ ok }}", "error": "{{ fail }}", "coded": "{{ binary.body }}"}),
        node("each", "iterator", items=["{{ ok.body }}", "{{ ok.headers }}"]),
        node("item", "text_transform", template="{{ each.item | json }}"),
        node("child", "trigger_workflow", workflow_id=called["id"], wait=True, context={"said": "{{ ok.body }}"}),
        node("ask", "approval", text="{{ ok.body.body }}", timeout=600),
        node("end", "terminate", status="failed", message="{{ ok.body.path }}", output={"all": "{{ mapped }}"}),
    ]
    wires = edges(
        *(("t", name) for name in names),
        *((name, "mapped", *handle) for name in names for handle in ((), ("error",))),
        ("mapped", "each"), ("each", "item", "item"), ("each", "child", "done"), ("mapped", "ask"),
        ("child", "end"),
    )  # fmt: skip
    workflow = client.create(
        [node("t", "manual_trigger"), *calls, *behind], wires, settings={"error_workflow_id": handler["id"]}
    )
    assert {name for item in items for name in client("GET", f"/workflows/vault/{item}")["used_by"]} == {workflow["id"]}
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
    tries = Counter(log["node_id"] for log in run["logs"])
    assert (tries["fail"], tries["flaky"], tries["slow"]) == (2, 2, 2)

    secrets = {*SECRETS.values(), SECRETS["token"].upper(), key["secret"]}
    shown = _shown(up, [workflow["id"], handler["id"], called["id"]], [run_id], items)
    database, broker = asyncio.run(_stored(told["database_url"])), asyncio.run(_broker(told["broker_url"]))
    up.stop()
    logs = up.output()
    assert _found(database, {CONTROL}), "the search of the database finds what is there"
    assert [path for path, text in shown.items() if _found(text, {CONTROL})], "and that of the answers"
    assert '"service":"worker"' in logs.replace(" ", "")
    assert {path: found for path, text in shown.items() if (found := _found(text, secrets))} == {}
    assert _found(database, secrets) == set()
    assert _found(logs, secrets) == set()
    assert _found(meanwhile + broker, secrets) == set()
