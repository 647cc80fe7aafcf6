"""What webhooks ask of requests, and answer them with: over HTTP, against a real database and broker."""

import asyncio
import base64
import hmac
import json
import time
from functools import partial
from typing import Any
from uuid import UUID

import pytest
from prometheus_client import REGISTRY

from api import webhook_targets
from shared.errors import UnavailableError
from shared.ids import Prefix, decode
from shared.store.vault import secret_context
from tests.api_client import PUBLIC_URL, Answer, ApiClient, node, takes_hold

SECRET = "the secret that GitHub knows"


def definition(**data: Any) -> dict[str, Any]:
    """Nodes of a workflow whose webhook trigger has this data."""
    return {"nodes": [node("n1", "webhook_trigger", **data), node("n2", "text_transform", template="x")]}


async def hook(api: ApiClient, **data: Any) -> tuple[dict[str, Any], str]:
    """A saved workflow and the path of its webhook."""
    made = await api.create(**definition(**data))
    return made, made["webhook_url"].removeprefix(PUBLIC_URL)


async def keep_secret(api: ApiClient, name: str, secret: str) -> UUID:
    """Put a secret into the vault."""
    made = await api.call("POST", "/workflows/vault", {"name": name, "secret": secret})
    assert made.status == 201, made.body
    return decode(Prefix.VAULT, made.json["id"])


async def send(api: ApiClient, path: str, body: Any = b"{}", **headers: str) -> Answer:
    """Send a request as a stranger."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return await api.call("POST", path, token="", data=data, headers={"Content-Type": "application/json", **headers})


def told(answer: Answer) -> tuple[int, str]:
    """Status and code of a refusal."""
    return answer.status, answer.json["code"]


def github(body: bytes, secret: str = SECRET) -> str:
    """GitHub's signature."""
    return "sha256=" + hmac.new(secret.encode(), body, "sha256").hexdigest()


async def runs(api: ApiClient) -> int:
    """How many runs there are."""
    async with api.api.services.pool.acquire() as connection:
        count: int = await connection.fetchval("SELECT count(*) FROM runs")
    return count


def counted(outcome: str) -> float:
    """Requests with this outcome so far."""
    return REGISTRY.get_sample_value("edgewise_webhook_requests_total", {"outcome": outcome}) or 0.0


async def test_only_what_is_signed_starts_a_run(api: ApiClient) -> None:
    """A wrong, a missing and another body's signature are 401 with a challenge, and start none."""
    await keep_secret(api, "github_secret", SECRET)
    _, path = await hook(api, signature={"scheme": "github", "secret": "{{ vault.github_secret }}"})
    before = counted("unsigned")
    body = b'{"zen": "Keep it logically awesome."}'
    refused = await send(api, path, body, **{"X-Hub-Signature-256": github(b"{}")})
    assert told(refused) == (401, "signature_wrong")
    assert refused.headers["WWW-Authenticate"] == "Signature"
    assert told(await send(api, path, body)) == (401, "signature_missing")
    assert (await runs(api), counted("unsigned") - before) == (0, 2)
    assert (await send(api, path, body, **{"X-Hub-Signature-256": github(body)})).status == 202
    assert await runs(api) == 1


async def test_a_secret_is_read_anew_every_second(make_api: Any) -> None:
    """One that is not there is 503 with Retry-After; once it is, and once it was changed, the new one counts."""
    api: ApiClient = await make_api()
    await keep_secret(api, "github_secret", SECRET)
    _, path = await hook(api, signature={"scheme": "github", "secret": "github_secret"})
    async with api.api.services.pool.acquire() as connection:
        await connection.execute("DELETE FROM vault_items")
    answer = await send(api, path, **{"X-Hub-Signature-256": github(b"{}")})
    assert told(answer) == (503, "webhook_secret_missing")
    assert answer.headers["Retry-After"] == "60"
    item = await keep_secret(api, "github_secret", SECRET)

    async def status(secret: str) -> int:
        return (await send(api, path, **{"X-Hub-Signature-256": github(b"{}", secret)})).status

    await takes_hold(partial(status, SECRET), 202)
    services = api.api.services
    blob = services.keys.encrypt(b"another", context=secret_context(item))
    async with services.pool.acquire() as connection:
        await connection.execute("UPDATE vault_items SET secret = $1", blob)
    await takes_hold(partial(status, "another"), 202)
    assert await status(SECRET) == 401
    async with services.pool.acquire() as connection:
        await connection.execute("UPDATE vault_items SET expires_at = now()")
    await takes_hold(partial(status, "another"), 503)


async def test_a_form_is_signed_as_it_came(api: ApiClient) -> None:
    """The signature of a multipart body is one of its bytes, and its fields are read all the same."""
    await keep_secret(api, "the-item", SECRET)
    signature = {"scheme": "hmac", "secret": "the-item", "header": "X-Seal", "prefix": "v1="}
    _, path = await hook(api, signature=signature)
    body = (
        b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n--b\r\nContent-Disposition: form-data; name="f";'
        b' filename="x.bin"\r\nContent-Type: application/octet-stream\r\n\r\n' + b"\x00\xff" * 50_000 + b"\r\n--b--\r\n"
    )
    seal = "v1=" + hmac.new(SECRET.encode(), body, "sha256").hexdigest()
    headers = {"Content-Type": "multipart/form-data; boundary=b", "X-Seal": seal}
    answer = await api.call("POST", path, token="", data=body, headers=headers)
    assert answer.status == 202, answer.body
    payload = (await api.call("GET", f"/workflows/runs/{answer.json['run_id']}")).json["trigger_payload"]
    assert payload["webhook_payload"]["a"] == "1"
    assert len(payload["webhook_payload"]["f"]["base64"]) == 133_336
    assert payload["headers"]["x-seal"] == "[redacted]"


@pytest.mark.parametrize("header", ["Idempotency-Key", "webhook-id", "X-GitHub-Delivery"])
async def test_a_repeat_is_answered_with_the_first_run(make_api: Any, header: str) -> None:
    """By its header, whichever api process it comes to; another value and another header are no repeat."""
    one, two = await make_api(), await make_api()
    _, path = await hook(one)
    before = counted("repeated")
    first = await send(one, path, {"n": 1}, **{header: "d-1"})
    again = await send(two, path, {"n": 2}, **{header: "d-1"})
    assert (first.status, again.status, again.json) == (202, 202, first.json)
    assert counted("repeated") - before == 1
    others = [
        await send(two, path, **{header: "d-2"}),
        await send(two, path, **{header: "d-1" * 200}),
        await send(two, path, **{header: "d-1" * 201}),
        await send(two, path, **{"X-Delivery": "d-1"}),
        await send(two, path, **{header: ""}),
    ]
    assert len({answer.json["run_id"] for answer in [first, *others]}) == 6


@pytest.mark.parametrize("scheme", ["standard_webhooks", "svix", "stripe", "slack", "github", "hmac"])
async def test_no_unsigned_header_makes_a_signed_request_another(api: ApiClient, scheme: str) -> None:
    """What was recorded and is sent again under another key is a repeat where that is signed; no key is taken away."""
    secret = (
        "whsec_" + base64.b64encode(SECRET.encode()).decode() if scheme in ("standard_webhooks", "svix") else SECRET
    )
    await keep_secret(api, "the-item", secret)
    rule = {"scheme": "standard_webhooks" if scheme == "svix" else scheme, "secret": "the-item"}
    _, path = await hook(api, signature=rule if scheme != "hmac" else {**rule, "header": "X-Seal"})
    now = str(int(api.api.services.clock.time()))

    def signed(body: bytes, identity: str = "m-1") -> dict[str, str]:
        def seal(content: bytes) -> bytes:
            return hmac.new(SECRET.encode(), content, "sha256").digest()

        if scheme in ("standard_webhooks", "svix"):
            name = "webhook" if scheme == "standard_webhooks" else "svix"
            mark = base64.b64encode(seal(f"{identity}.{now}.".encode() + body)).decode()
            return {f"{name}-id": identity, f"{name}-timestamp": now, f"{name}-signature": f"v1,{mark}"}
        if scheme == "stripe":
            return {"Stripe-Signature": f"t={now},v1={seal(f'{now}.'.encode() + body).hex()}"}
        if scheme == "slack":
            mark = seal(f"v0:{now}:".encode() + body).hex()
            return {"X-Slack-Request-Timestamp": now, "X-Slack-Signature": f"v0={mark}"}
        if scheme == "github":
            return {"X-Hub-Signature-256": github(body), "X-GitHub-Delivery": identity}
        return {"X-Seal": seal(body).hex(), "X-GitHub-Delivery": identity}

    first = await send(api, path, b'{"n": 1}', **signed(b'{"n": 1}'))
    again = await send(api, path, b'{"n": 1}', **signed(b'{"n": 1}'))
    assert (first.status, again.json) == (202, first.json)
    other = await send(api, path, b'{"n": 1}', **signed(b'{"n": 1}'), **{"Idempotency-Key": "forged"})
    assert (other.json == first.json) == (scheme != "hmac")
    identity = "m-1" if scheme in ("github", "hmac") else "m-2"
    last = await send(api, path, b'{"n": 2}', **signed(b'{"n": 2}', identity), **{"Idempotency-Key": "forged"})
    assert last.json["run_id"] not in (first.json["run_id"], other.json["run_id"])


async def test_a_template_tells_what_is_a_repeat(api: ApiClient) -> None:
    """Its text does; where it fails or is empty the request is new. Headers are not redacted for it."""
    _, path = await hook(api, dedupe="{{ body.id }}/{{ headers.x-signature | default: '' }}")
    same = [await send(api, path, {"id": 1, "n": n}, **{"Idempotency-Key": str(n)}) for n in range(2)]
    others = [
        await send(api, path, {"id": 2}),
        await send(api, path, {"id": 1}, **{"X-Signature": "a"}),
        await send(api, path, {"id": 1}, **{"X-Signature": "b"}),
        await send(api, path, {"none": 1}),
        await send(api, path, {"none": 1}),
    ]
    assert same[0].json == same[1].json
    assert len({answer.json["run_id"] for answer in [same[0], *others]}) == 6
    async with api.api.services.pool.acquire() as connection:
        keys = [row["key"] for row in await connection.fetch("SELECT key FROM dedupe")]
    assert all(key.startswith("template:sha256 ") for key in keys)


async def test_dedupe_can_be_switched_off(api: ApiClient) -> None:
    """Then every request makes a run."""
    _, path = await hook(api, dedupe=False)
    answers = [await send(api, path, **{"Idempotency-Key": "same"}) for _ in range(3)]
    assert len({answer.json["run_id"] for answer in answers}) == 3


async def test_only_listed_addresses_may_come(make_api: Any) -> None:
    """Others are 403 before anything is read; a header that says another address is not believed, a proxy's is."""
    api: ApiClient = await make_api()
    _, here = await hook(api, allowed_ips=["127.0.0.1", "2001:db8::/32"])
    _, elsewhere = await hook(api, allowed_ips=["203.0.113.0/24"])
    assert (await send(api, here)).status == 202
    forwarded = {"X-Forwarded-For": "203.0.113.9"}
    assert told(await send(api, elsewhere, **forwarded)) == (403, "address_not_allowed")
    proxied: ApiClient = await make_api(trusted_proxies="127.0.0.0/8")
    assert (await send(proxied, elsewhere, **forwarded)).status == 202
    assert told(await send(proxied, here, **forwarded)) == (403, "address_not_allowed")
    assert told(await send(proxied, elsewhere, **{"X-Forwarded-For": "203.0.113.9, 192.0.2.1"}))[0] == 403


async def test_a_rate_holds_over_all_processes(make_api: Any) -> None:
    """The burst is taken, what comes after it is 429 with Retry-After, at two processes as at one."""
    apis = [await make_api(), await make_api()]
    _, path = await hook(apis[0], rate_limit={"per_second": 0.1, "burst": 8})
    _, free = await hook(apis[0])
    answers = await asyncio.gather(*(send(apis[n % 2], path) for n in range(24)))
    assert sorted(answer.status for answer in answers) == [202] * 8 + [429] * 16
    refused = next(answer for answer in answers if answer.status == 429)
    assert told(refused) == (429, "webhook_rate_limit")
    assert 1 <= int(refused.headers["Retry-After"]) <= 10
    assert (await send(apis[0], free)).status == 202


async def test_a_rate_holds_without_redis(make_api: Any) -> None:
    """Each process keeps it by itself, and 202 is 202."""
    api: ApiClient = await make_api(broker_url="redis://127.0.0.1:1/0")
    _, path = await hook(api, rate_limit={"per_second": 0.1, "burst": 3})
    answers = [await send(api, path) for _ in range(5)]
    assert [answer.status for answer in answers] == [202] * 3 + [429] * 2


async def test_the_response_is_the_author_s(api: ApiClient) -> None:
    """Status, body and type, with what the request and the run are; no browser takes it for a page."""
    body = {"ok": True, "run": "{{ run_id }}", "echo": "{{ body.n }}", "how": "{{ method }}"}
    _, path = await hook(api, response={"status": 200, "body": body})
    answer = await send(api, path, {"n": [1, 2]})
    assert answer.status == 200
    assert answer.json == {"ok": True, "run": answer.json["run"], "echo": [1, 2], "how": "POST"}
    assert answer.json["run"].startswith("fl_run_")
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    _, text = await hook(api, response={"status": 201, "body": "<b>{{ query.q }}</b>", "content_type": "text/html"})
    answer = await send(api, f"{text}?q=%00%F0%9F%98%80")
    assert (answer.status, answer.body) == (201, b"<b>\x00\xf0\x9f\x98\x80</b>")
    assert answer.headers["Content-Type"] == "text/html"
    assert "sandbox" in answer.headers["Content-Security-Policy"]
    _, empty = await hook(api, response={"status": 204})
    answer = await send(api, empty)
    assert (answer.status, answer.body) == (204, b"")


async def test_a_response_that_fails_leaves_the_run_as_it_is(api: ApiClient) -> None:
    """The caller gets the usual answer, for the run is there."""
    _, path = await hook(api, response={"body": "{{ body.n.m }}"})
    answer = await send(api, path, {"n": 1})
    assert (answer.status, await runs(api)) == (202, 1)
    assert set(answer.json) == {"run_id"}


async def test_slow_templates_hold_up_nobody(api: ApiClient) -> None:
    """All of a request's together have 50 ms; then it counts as new, and is told of its run in the usual way."""
    slow = "{% for a in (1..300) %}{% for b in (1..300) %}{% if body.n == 2 %}{% endif %}{% endfor %}{% endfor %}"
    _, path = await hook(api, dedupe=f"{slow}{{{{ body.n }}}}", response={"body": [f"{slow}{{{{ run_id }}}}"] * 100})
    failed = [_failed("dedupe"), _failed("response")]
    began = time.thread_time()
    answers = [await send(api, path, {"n": 1}) for _ in range(2)]
    assert time.thread_time() - began < 0.7
    assert [answer.status for answer in answers] == [202, 202]
    assert answers[0].json["run_id"] != answers[1].json["run_id"]
    assert [_failed("dedupe") - failed[0], _failed("response") - failed[1]] == [2, 2]


async def test_a_response_has_a_largest_size(api: ApiClient) -> None:
    """However often it names the request's body."""
    _, path = await hook(api, response={"body": ["{{ body }}"] * 100})
    assert (await send(api, path, {"text": "x" * 1_000})).status == 200
    answer = await send(api, path, {"text": "x" * 20_000})
    assert (answer.status, set(answer.json)) == (202, {"run_id"})


def _failed(operation: str) -> float:
    return REGISTRY.get_sample_value("edgewise_webhook_templates_failed_total", {"operation": operation}) or 0.0


async def test_slack_s_challenge_is_answered_when_it_is_signed(api: ApiClient) -> None:
    """It starts no run; an unsigned one is 401, and an event of Slack's starts one."""
    await keep_secret(api, "the-item", SECRET)
    _, path = await hook(api, signature={"scheme": "slack", "secret": "the-item"})
    now = str(int(api.api.services.clock.time()))

    async def ask(value: Any, secret: str = SECRET) -> Answer:
        body = json.dumps(value).encode()
        signature = hmac.new(secret.encode(), b"v0:" + now.encode() + b":" + body, "sha256").hexdigest()
        headers = {"X-Slack-Request-Timestamp": now, "X-Slack-Signature": f"v0={signature}"}
        return await send(api, path, body, **headers)

    asked = {"type": "url_verification", "token": "x", "challenge": "<3eZbrw1a>"}
    answer = await ask(asked)
    assert (answer.status, answer.json) == (200, {"challenge": "<3eZbrw1a>"})
    assert answer.headers["Content-Type"] == "application/json"
    assert told(await ask(asked, "wrong")) == (401, "signature_wrong")
    assert told(await ask({**asked, "challenge": "x" * 5000})) == (400, "handshake_invalid")
    assert await runs(api) == 0
    assert (await ask({"type": "event_callback"})).status == 202
    assert (await ask(["url_verification"])).status == 202


async def test_microsoft_graph_gets_its_token_back(api: ApiClient) -> None:
    """As plain text that no browser makes a page of, within limits; a notification starts a run."""
    _, path = await hook(api, handshake="microsoft_graph")
    asked = "Validation: Testing client application reachability for subscription Request-Id: 1-2"
    answer = await api.call("POST", path, token="", params={"validationToken": asked})
    assert (answer.status, answer.body.decode()) == (200, asked)
    assert answer.headers["Content-Type"].startswith("text/plain")
    answer = await api.call("POST", path, token="", params={"validationToken": "<script>alert(1)</script>"})
    assert b"<" not in answer.body
    for token in ("", "x" * 1025, "a\r\nb"):
        answer = await api.call("POST", path, token="", params={"validationToken": token})
        assert told(answer) == (400, "handshake_invalid")
    assert await runs(api) == 0
    assert (await send(api, path, {"value": []})).status == 202
    _, plain = await hook(api)
    assert (await api.call("POST", plain, token="", params={"validationToken": "x"})).status == 202


async def test_rules_are_checked_when_they_are_saved(api: ApiClient) -> None:
    """Every fault at once, each with its path."""
    data = {
        "signature": {"scheme": "hmac", "secret": "ab", "colour": 1},
        "dedupe": "{{ n2.x }}",
        "rate_limit": {"per_second": -1},
        "response": {"status": 302},
        "handshake": "paypal",
    }
    answer = await api.call("POST", "/workflows/validate", {"name": "x", "edges": [], **definition(**data)})
    paths = {fault["path"].removeprefix("nodes[0].data.") for fault in answer.json["details"]}
    assert paths >= {"signature.secret", "signature.colour", "rate_limit.per_second", "response.status", "handshake"}
    for bad, path in (
        ({"signature": {"scheme": "hmac", "secret": "abc"}}, "signature.header"),
        ({"signature": {"scheme": "stripe", "secret": "abc", "algorithm": "sha1"}}, "signature.algorithm"),
        ({"signature": {"scheme": "stripe", "secret": "{{ body.x }}"}}, "signature.secret"),
        ({"signature": "{{ body.x }}"}, "signature"),
        ({"signature": "github"}, "secret"),
        ({"signature": "hmac", "secret": "abc"}, "signature"),
        ({"signature": "gitlab", "secret": "abc"}, "signature"),
        ({"signature": "github", "secret": "{{ body.x }}"}, "secret"),
        ({"signature": {"scheme": "github", "secret": "abc"}, "secret": "abc"}, "secret"),
        ({"secret": "abc"}, "secret"),
        ({"rate_limit": 0}, "rate_limit"),
        ({"dedupe": "constant"}, "dedupe"),
        ({"dedupe": "{{ n2.x }}"}, "dedupe"),
        ({"dedupe": "{{ body"}, "dedupe"),
        ({"response": {"body": {"a": ["{{ vault.x }}"]}}}, "response.body.a[0]"),
        ({"response": {"status": "{{ body.x }}"}}, "response.status"),
        ({"response": {"status": 204, "body": "x"}}, "response.body"),
        ({"response": {"content_type": "text/plain\r\nX: y"}}, "response.content_type"),
        ({"allowed_ips": ["10.0.0.1/8"]}, "allowed_ips[0]"),
        ({"allowed_ips": []}, "allowed_ips"),
        ({"handshake": "slack"}, "handshake"),
    ):
        answer = await api.call("POST", "/workflows", {"name": "x", "edges": [], **definition(**bad)})
        assert answer.status == 422
        told_of = [fault["path"] for fault in answer.json["errors"] if "n2" not in fault["message"] or path == "dedupe"]
        assert f"nodes[0].data.{path}" in told_of, answer.body


async def test_short_forms(api: ApiClient) -> None:
    """A scheme by its name with the secret beside it, and a rate as a number, ask what the long forms do."""
    await keep_secret(api, "github_secret", SECRET)
    for secret in ("github_secret", "{{ vault.github_secret }}"):
        made, path = await hook(api, signature="github", secret=secret, rate_limit=2)
        assert made["nodes"][0]["data"]["signature"] == "github"
        assert told(await send(api, path, b"{}")) == (401, "signature_missing")
        assert told(await send(api, path, b"{}", **{"X-Hub-Signature-256": github(b"{ }")})) == (401, "signature_wrong")
        signed = [await send(api, path, b"{}", **{"X-Hub-Signature-256": github(b"{}")}) for _ in range(9)]
        assert [answer.status for answer in signed[:2]] == [202, 202]
        assert 429 in [answer.status for answer in signed[2:]]


async def test_rules_that_are_changed_count_at_once_here(make_api: Any) -> None:
    """In the process that saved them, and everywhere within a second; runs of before keep theirs."""
    one, two = await make_api(), await make_api()
    made, path = await hook(one)
    assert (await send(one, path)).status == (await send(two, path)).status == 202
    changed = definition(allowed_ips=["203.0.113.0/24"])["nodes"]
    saved = await one.call("PUT", f"/workflows/{made['id']}", {"nodes": changed})
    assert saved.json["nodes"] == changed
    assert (await send(one, path)).status == 403

    async def there() -> int:
        return (await send(two, path)).status

    await takes_hold(there, 403)


async def test_what_is_remembered_is_no_older_than_a_second(api: ApiClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """The time of the look-up counts, and what is changed here while one is under way is not remembered."""
    _, path = await hook(api)
    token = path.rpartition("/")[2]
    token_hash = webhook_targets.hash_token(token)
    now, takes = [100.0], [0.4]
    services = api.api.services
    targets = webhook_targets.WebhookTargets(services.pool, services.keys, lambda: now[0])
    known = webhook_targets.workflows.by_tokens
    changed: list[bytes] = []

    async def by_tokens(connection: Any, hashes: Any) -> Any:
        rows = await known(connection, hashes)
        now[0] += takes[0]
        for each in changed:
            targets.forget(each)
        return rows

    monkeypatch.setattr(webhook_targets.workflows, "by_tokens", by_tokens)
    found = await targets.find(token, token_hash)
    assert targets.remembered(token_hash) == found
    now[0] = 100.99
    assert targets.remembered(token_hash) == found
    now[0] = 101.0
    assert targets.remembered(token_hash) is None
    changed.append(token_hash)
    assert await targets.find(token, token_hash) == found
    assert targets.remembered(token_hash) is None
    changed.clear()
    takes[0] = 1.0
    assert await targets.find(token, token_hash) == found
    assert targets.remembered(token_hash) is None
    takes[0] = 0.4
    assert await targets.find(token, token_hash) == targets.remembered(token_hash)


@pytest.mark.parametrize(
    "rules", ['{"dedupe": "{{ body | shout }}"}', '{"response": {"body": "{{"}}', '{"rate_limit": 1}']
)
async def test_rules_that_cannot_be_read_are_one_webhook_s_own(api: ApiClient, rules: str) -> None:
    """What other code saved, and this can't parse, is 503; tokens that are looked up with it work."""
    made, unreadable = await hook(api, dedupe=False)
    _, readable = await hook(api)
    workflow_id = decode(Prefix.WORKFLOW, made["id"])
    async with api.api.services.pool.acquire() as connection:
        await connection.execute("UPDATE workflow_versions SET webhook = $2 WHERE workflow_id = $1", workflow_id, rules)
    targets = webhook_targets.WebhookTargets(api.api.services.pool, api.api.services.keys)
    tokens = [path.rpartition("/")[2] for path in (unreadable, readable)]
    asked = (targets.find(token, webhook_targets.hash_token(token)) for token in tokens)
    refused, found = await asyncio.gather(*asked, return_exceptions=True)
    assert isinstance(refused, UnavailableError)
    assert (refused.code, isinstance(found, webhook_targets.Hook)) == ("webhook_unreadable", True)
    assert told(await send(api, unreadable)) == (503, "webhook_unreadable")
    assert (await send(api, readable)).status == 202


async def test_unknown_tokens_cost_few_queries(api: ApiClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that nobody has share look-ups and are remembered; a token that is given out works at once."""
    looked: list[int] = []
    known = webhook_targets.workflows.by_tokens

    async def by_tokens(connection: Any, hashes: Any) -> Any:
        looked.append(len(hashes))
        return await known(connection, hashes)

    monkeypatch.setattr(webhook_targets.workflows, "by_tokens", by_tokens)
    targets = api.api.services.webhooks
    for clocked in (targets, targets._known, targets._unknown):  # no second is over before all were sent twice
        monkeypatch.setattr(clocked, "_clock", lambda: 0.0)
    paths = [f"/workflows/webhooks/whsec_{number:043}" for number in range(100)]
    for _ in range(2):
        answers = await asyncio.gather(*(send(api, path) for path in paths))
        assert {told(answer) for answer in answers} == {(404, "webhook_not_found")}
    assert sum(looked) == 100
    assert len(looked) < 60
    looked.clear()
    assert (await send(api, "/workflows/webhooks/" + "x" * 300)).status == 404
    assert looked == []
    for _ in range(3):
        _, path = await hook(api)
        assert (await send(api, path)).status == 202
