"""Errors, tokens, request ids and probes over HTTP, against a real database."""

import asyncio
import base64
import json
import time
from collections.abc import Callable
from io import BytesIO
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from tests.api_client import PUBLIC_URL, SECRET, Answer, ApiClient, token, workflow


def _is_error(answer: Answer, status: int, kind: str, code: str) -> None:
    assert (answer.status, answer.json["type"], answer.json["code"]) == (status, kind, code), answer.body
    assert set(answer.json) <= {"type", "code", "message", "doc_url", "errors"}
    assert answer.json["doc_url"] == f"{PUBLIC_URL}/errors/{code}"
    assert answer.headers["Content-Type"].startswith("application/json")
    assert answer.headers["X-Request-Id"]


async def test_unknown_paths_and_methods(api: ApiClient) -> None:
    """A path that is not served is 404; a method that is not served is 405 with Allow; both in the error's form."""
    _is_error(await api.call("GET", "/nothing"), 404, "not_found_error", "route_not_found")
    for path, allowed in (
        ("/workflows", "GET, HEAD, POST"),
        ("/workflows/fl_x", "DELETE, GET, HEAD, PUT"),
        ("/workflows/fl_x/execute", "POST"),
        ("/healthz", "GET, HEAD"),
    ):
        answer = await api.call("PATCH", path)
        _is_error(answer, 405, "invalid_request_error", "method_not_allowed")
        assert answer.headers["Allow"] == allowed


async def test_a_fixed_path_is_not_taken_for_an_id(api: ApiClient) -> None:
    """A method that a fixed path is not served with is 405, also where ``/{id}`` would take it."""
    for path, allowed in (("/workflows/validate", "POST"), ("/workflows/webhooks/x", "POST"), ("/docs", "GET, HEAD")):
        for method in ("GET", "PUT", "DELETE"):
            if method not in allowed:
                answer = await api.call(method, path)
                _is_error(answer, 405, "invalid_request_error", "method_not_allowed")
                assert answer.headers["Allow"] == allowed


@pytest.mark.parametrize(
    ("sent", "status"),
    [(b"FROBNICATE /workflows HTTP/1.1\r\nHost: x\r\n\r\n", 405), (b"\x16\x03\x01\x02", 400), (b"\x00\x01", 400)],
)
async def test_methods_nobody_knows(api: ApiClient, sent: bytes, status: int) -> None:
    """A method that HTTP does not know is 405 with those that are served, and not repeated; TLS and noise are 400."""
    assert api.http._base_url is not None
    reader, writer = await asyncio.open_connection("127.0.0.1", api.http._base_url.port)
    writer.write(sent)
    text = (await asyncio.wait_for(reader.read(), 10)).decode()
    writer.close()
    assert text.split()[1] == str(status)
    assert ("Allow: DELETE, GET, HEAD, POST, PUT\r\n" in text) is (status == 405)
    assert "FROBNICATE" not in text


async def test_a_url_that_is_too_long(api: ApiClient) -> None:
    """A URL of more than 8,000 bytes is 414 and names the limit; a shorter one is read."""
    long = await api.call("GET", "/workflows?q=" + "x" * 8000)
    _is_error(long, 414, "invalid_request_error", "uri_too_long")
    assert "8000 bytes" in long.json["message"]
    assert (await api.call("GET", "/nothing?q=" + "x" * 7900)).status == 404


async def test_the_server_names_itself_without_versions(api: ApiClient) -> None:
    """Answers, errors, and answers to what is no HTTP say the name alone."""
    for path in ("/healthz", "/nothing", "/" + "x" * 9000):
        assert (await api.call("GET", path)).headers["Server"] == "edgewise"


async def test_what_was_created_has_a_location(api: ApiClient) -> None:
    """201 says where the workflow is, at the public address; a replay says the same."""
    answers = [await api.call("POST", "/workflows", workflow(), headers={"Idempotency-Key": "k"}) for _ in range(2)]
    for answer in answers:
        assert answer.headers["Location"] == f"{PUBLIC_URL}/workflows/{answer.json['id']}"


async def test_a_key_that_stands_twice(api: ApiClient) -> None:
    """A definition that says something twice is 422 with the path, and a webhook's body is the sender's own affair."""
    made = await api.create(trigger="webhook_trigger")
    as_json = {"Content-Type": "application/json"}
    for method, path in (("POST", "/workflows"), ("POST", "/workflows/validate"), ("PUT", f"/workflows/{made['id']}")):
        answer = await api.call(method, path, data=b'{"settings": {"a": 1, "a": 2}}', headers=as_json)
        _is_error(answer, 422, "invalid_request_error", "duplicate_key")
        assert [fault["path"] for fault in answer.json["errors"]] == ["settings.a"]
    hook = made["webhook_url"].removeprefix(PUBLIC_URL)
    assert (await api.call("POST", hook, data=b'{"a": 1, "a": 2}', headers=as_json)).status == 202


async def test_bodies_that_cannot_be_read(api: ApiClient) -> None:
    """Malformed JSON is 400 with the place, another content type 415, a large body 413, no object 422."""
    kind = "invalid_request_error"
    as_json = {"Content-Type": "application/json"}
    broken = await api.call("POST", "/workflows", data=b'{"name": "x",}', headers=as_json)
    _is_error(broken, 400, kind, "malformed_json")
    assert "line 1, column 14" in broken.json["message"]
    _is_error(await api.call("POST", "/workflows", data=b"", headers=as_json), 400, kind, "malformed_json")
    form = await api.call("POST", "/workflows", data={"name": "x"})
    _is_error(form, 415, kind, "unsupported_media_type")
    large = await api.call("POST", "/workflows", data=BytesIO(b" " * (10 * 1024 * 1024 + 1)), headers=as_json)
    _is_error(large, 413, kind, "body_too_large")
    _is_error(await api.call("POST", "/workflows", [1]), 422, kind, "object_expected")


def _claims() -> dict[str, Any]:
    return {"sub": "u", "exp": int(time.time()) + 600, "workspace": "acme", "scope": "admin"}


def _unsigned() -> str:
    parts = ({"alg": "none", "typ": "JWT"}, _claims())
    return ".".join(base64.urlsafe_b64encode(json.dumps(p).encode()).decode().rstrip("=") for p in parts) + "."


def _wrong_family() -> str:
    return jwt.encode(_claims(), ec.generate_private_key(ec.SECP256R1()), algorithm="ES256")


#: Made when their test runs: what is made when tests are collected expires before a long run of them has come here.
_UNTRUSTED: dict[str, tuple[Callable[[], str], str]] = {
    "none": (lambda: "", "token_missing"),
    "garbage": (lambda: "garbage", "token_invalid"),
    "three parts of garbage": (lambda: "a.b.c", "token_invalid"),
    "unsigned": (_unsigned, "token_invalid"),
    "another family": (_wrong_family, "token_invalid"),
    "another secret": (
        lambda: jwt.encode(_claims(), "another secret of at least 32 bytes!", algorithm="HS256"),
        "token_invalid",
    ),
    "another algorithm": (lambda: jwt.encode(_claims(), SECRET + "x" * 64, algorithm="HS512"), "token_invalid"),
    "no expiry": (lambda: token(exp=None), "token_invalid"),
    "no subject": (lambda: token(sub=None), "token_invalid"),
    "a NUL in the subject": (lambda: token(sub="a\x00"), "token_invalid"),
    "early": (lambda: token(nbf=int(time.time()) + 3600), "token_invalid"),
    "expired": (lambda: token(exp=int(time.time()) - 3600), "token_expired"),
}


@pytest.mark.parametrize("case", _UNTRUSTED)
async def test_tokens_that_are_not_trusted(api: ApiClient, case: str) -> None:
    """No token, or one that is unsigned, signed otherwise, expired, early or lacking claims, is 401."""
    make, code = _UNTRUSTED[case]
    bearer = make()
    answer = await api.call("GET", "/workflows", token=bearer)
    _is_error(answer, 401, "authentication_error", code)
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    if len(bearer) > 20:
        assert bearer not in answer.body.decode()


async def test_a_token_that_never_expires_in_any_calendar(api: ApiClient) -> None:
    """An expiry with hundreds of digits is a number like others."""
    assert (await api.call("GET", "/workflows", token=token(exp=10**400))).status == 200


async def test_codings_that_cannot_be_undone(api: ApiClient, caplog: pytest.LogCaptureFixture) -> None:
    """A coding nobody reads is 415 and says which are; gzip that is none is 400, and no fault of the service."""
    headers = {"Content-Type": "application/json", "Content-Encoding": "br"}
    unknown = await api.call("POST", "/workflows", data=b"x", headers=headers)
    _is_error(unknown, 415, "invalid_request_error", "unsupported_media_type")
    assert "gzip" in unknown.json["message"]
    broken = await api.call("POST", "/workflows", data=b"x" * 99, headers=headers | {"Content-Encoding": "gzip"})
    _is_error(broken, 400, "invalid_request_error", "bad_request")
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


async def test_what_is_not_http_is_400_without_its_bytes(api: ApiClient, caplog: pytest.LogCaptureFixture) -> None:
    """A header that is too long is 400 in the error's form; neither answer nor log repeat it."""
    answer = await api.call("GET", "/workflows", token="secret" * 2000)
    _is_error(answer, 400, "invalid_request_error", "bad_request")
    assert b"secret" not in answer.body
    assert "secretsecret" not in caplog.text


async def test_leeway_is_a_minute(api: ApiClient) -> None:
    """Clocks may differ by up to 60 seconds, either way."""
    late = token(exp=int(time.time()) - 30)
    early = token(nbf=int(time.time()) + 30)
    for bearer in (late, early):
        assert (await api.call("GET", "/workflows", token=bearer)).status == 200


async def test_issuer_and_audience_are_checked_if_configured(make_api: Any) -> None:
    """With an issuer and an audience configured only tokens that carry both are taken."""
    api: ApiClient = await make_api(jwt_issuer="me", jwt_audience="edgewise")
    for claims, status in (
        ({"iss": "me", "aud": "edgewise"}, 200),
        ({"iss": "me", "aud": ["x", "edgewise"]}, 200),
        ({"iss": "you", "aud": "edgewise"}, 401),
        ({"iss": "me", "aud": "other"}, 401),
        ({"iss": "me"}, 401),
        ({"aud": "edgewise"}, 401),
    ):
        assert (await api.call("GET", "/workflows", token=token(**claims))).status == status, claims


async def test_an_unasked_audience_is_no_obstacle(api: ApiClient) -> None:
    """Without a configured audience a token may carry any."""
    assert (await api.call("GET", "/workflows", token=token(aud="x", iss="y"))).status == 200


@pytest.mark.parametrize("claim", [None, "", 5, "x" * 129, "a\x00b"])
async def test_a_token_without_workspace_is_403(api: ApiClient, claim: Any) -> None:
    """A valid token whose workspace claim is missing or not a text of 1-128 characters is 403."""
    answer = await api.call("GET", "/workflows", token=token(claim))
    _is_error(answer, 403, "permission_error", "workspace_missing")


async def test_workspaces_are_made_at_their_first_token(api: ApiClient) -> None:
    """Each value of the claim gets one row, however often it comes."""
    for name in ("acme", "x" * 128, "acme", "ünï"):
        assert (await api.call("GET", "/workflows", token=token(name, jti=name))).status == 200
    async with api.api.services.pool.acquire() as connection:
        rows = await connection.fetch("SELECT claim FROM workspaces ORDER BY id")
    assert [row["claim"] for row in rows] == ["acme", "x" * 128, "ünï"]


@pytest.mark.parametrize(
    ("scope", "allowed"),
    [
        ("workflows:read", {"read"}),
        (["workflows:write"], {"write"}),
        ("workflows:execute", {"execute"}),
        ("workflows:read workflows:write", {"read", "write"}),
        ("admin", {"read", "write", "execute"}),
        (["admin"], {"read", "write", "execute"}),
        ("vault:read vault:write", set()),
        ("workflows:reader", set()),
        (None, set()),
        ({"workflows:read": True}, set()),
    ],
)
async def test_scopes_open_their_routes_only(api: ApiClient, scope: Any, allowed: set[str]) -> None:
    """A token may do what its scopes say, given as text or as a list, and nothing else."""
    made = await api.create()
    calls = {
        "read": ("GET", f"/workflows/{made['id']}", None),
        "write": ("PUT", f"/workflows/{made['id']}", {}),
        "execute": ("POST", f"/workflows/{made['id']}/execute", None),
    }
    for name, (method, path, body) in calls.items():
        answer = await api.call(method, path, body, token=token(scope=scope))
        assert (answer.status == 403) == (name not in allowed), name
        if answer.status == 403:
            _is_error(answer, 403, "permission_error", "scope_missing")


async def test_request_ids_follow(api: ApiClient) -> None:
    """A caller's fit X-Request-Id comes back, an unfit one is replaced, and every answer has one."""
    assert (await api.call("GET", "/x", headers={"X-Request-Id": "a.B-9:/+=@_"})).headers[
        "X-Request-Id"
    ] == "a.B-9:/+=@_"
    for unfit in ("", "a b", "x" * 129, "ä"):
        minted = (await api.call("GET", "/workflows", headers={"X-Request-Id": unfit})).headers["X-Request-Id"]
        assert minted.startswith("req_")


async def test_traceparent_follows_the_run(api: ApiClient) -> None:
    """A valid traceparent is stored with the run; one that is not is left out."""
    made = await api.create()
    valid = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    for text in (valid, "00-" + "0" * 32 + "-00f067aa0ba902b7-01", "x"):
        await api.call("POST", f"/workflows/{made['id']}/execute", headers={"traceparent": text})
    async with api.api.services.pool.acquire() as connection:
        rows = await connection.fetch("SELECT traceparent FROM runs ORDER BY id")
    assert [row["traceparent"] for row in rows] == [valid, None, None]


async def test_a_database_that_is_away_is_503(api: ApiClient) -> None:
    """Without the database every route that needs it says when to come back; readiness names what is missing."""
    made = await api.create(trigger="webhook_trigger")
    hook = made["webhook_url"].removeprefix(PUBLIC_URL)
    await api.api.services.pool.close()
    for method, path, body in (
        ("GET", "/workflows", None),
        ("POST", "/workflows", workflow()),
        ("POST", f"/workflows/{made['id']}/execute", None),
        ("POST", hook, {}),
    ):
        answer = await api.call(method, path, body)
        _is_error(answer, 503, "api_error", "database_unavailable")
        assert int(answer.headers["Retry-After"]) >= 1
    ready = await api.call("GET", "/readyz")
    assert (ready.status, set(ready.json["missing"])) == (503, {"database", "partitions"})
    assert (await api.call("GET", "/healthz")).status == 200


async def test_what_breaks_unexpectedly_is_500(api: ApiClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault of the service is 500 with the request id, and tells nothing of its inside."""

    async def broken(*_: Any) -> None:
        raise ZeroDivisionError("the inside")

    monkeypatch.setattr("shared.store.workflows.list_all", broken)
    answer = await api.call("GET", "/workflows", headers={"X-Request-Id": "find-me"})
    _is_error(answer, 500, "api_error", "internal_error")
    assert "find-me" in answer.json["message"]
    assert "inside" not in answer.body.decode()


async def test_ready_tells_about_the_broker_and_needs_partitions(make_api: Any) -> None:
    """With the broker away the api is ready and says so; without partitions ahead it is not ready."""
    api: ApiClient = await make_api()
    assert (await api.call("GET", "/readyz")).json == {"status": "ready"}
    away: ApiClient = await make_api(broker_url="redis://127.0.0.1:1/0")
    ready = await away.call("GET", "/readyz")
    assert (ready.status, set(ready.json["degraded"])) == (200, {"broker"})
    async with api.api.services.pool.acquire() as connection:
        await _drop_partition_of_tomorrow(connection)
    unready = await api.call("GET", "/readyz")
    assert (unready.status, set(unready.json["missing"])) == (503, {"partitions"})


async def _drop_partition_of_tomorrow(connection: Any) -> None:
    name: str = await connection.fetchval(
        "SELECT 'steps_' || to_char((now() AT TIME ZONE 'UTC')::date + 1, 'YYYYMMDD')"
    )
    await connection.execute(f"DROP TABLE {name}")


async def test_a_broker_that_is_away_holds_nobody(make_api: Any) -> None:
    """Without the broker triggers are still 202, and the run is in the database."""
    api: ApiClient = await make_api(broker_url="redis://127.0.0.1:1/0")
    made = await api.create()
    assert (await api.call("POST", f"/workflows/{made['id']}/execute")).status == 202
    async with api.api.services.pool.acquire() as connection:
        assert await connection.fetchval("SELECT count(*) FROM runs") == 1


async def test_every_doc_url_has_a_page(api: ApiClient) -> None:
    """doc_url leads to a page that names the code; an unknown code is 404; the pages need nothing from elsewhere."""
    code = (await api.call("GET", "/nothing")).json["code"]
    page = await api.call("GET", f"/errors/{code}", token="")
    assert page.status == 200
    assert page.headers["Content-Type"].startswith("text/html")
    assert code in page.body.decode()
    assert (await api.call("GET", "/errors/never")).status == 404
    docs = (await api.call("GET", "/docs", token="")).body.decode()
    assert "/workflows/webhooks/{token}" in docs
    for text in (page.body.decode(), docs):
        assert "src=" not in text
        assert "@import" not in text


async def test_metrics_are_served(api: ApiClient) -> None:
    """The metrics page has the webhook route's series and how many connections are in use."""
    page = (await api.call("GET", "/metrics", token="")).body.decode()
    assert "edgewise_webhook_requests_total" in page
    assert "edgewise_database_pool_in_use 0.0" in page


async def test_head_is_get_without_a_body(api: ApiClient) -> None:
    """HEAD answers as GET does, headers included, without the body."""
    made = await api.create()
    path = f"/workflows/{made['id']}"
    got, head = await api.call("GET", path), await api.call("HEAD", path)
    assert (head.status, head.headers["ETag"], head.body) == (200, got.headers["ETag"], b"")
    assert (await api.call("HEAD", path, token="")).status == 401


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("/workflows/test-node", "node"),
        ("/workflows/test-node", "context"),
        ("/workflows", "nodes"),
        ("/workflows", "is_active"),
        ("/workflows", "settings"),
        ("/workflows/authorization", "config"),
    ],
)
async def test_half_of_a_surrogate_pair_where_no_text_should_be(api: ApiClient, path: str, field: str) -> None:
    """It is a fault of the request like any other wrong type."""
    answer = await api.call(
        "POST", path, data=f'{{"{field}": "\\ud800"}}', headers={"Content-Type": "application/json"}
    )
    assert answer.status == 422
    assert field in {fault["path"] for fault in answer.json["errors"]}
