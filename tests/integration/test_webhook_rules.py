"""What webhooks ask of requests: signatures, keys of repeats, addresses and rates, over HTTP."""

import asyncio
import base64
import hmac
from typing import Any

import pytest

from tests.api_client import ApiClient
from tests.hooks import SECRET, counted, definition, github, hook, keep_secret, runs, send, told


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
