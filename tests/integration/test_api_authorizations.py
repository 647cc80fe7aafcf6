"""``/workflows/authorization``: the objects, their rules, and consents at a real OAuth2 provider."""

import asyncio
import base64
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from shared.authorizations.sealed import config_context
from shared.ids import Prefix, decode
from shared.store import authorizations
from shared.vault import parse_keys
from tests.api_client import PUBLIC_URL, Answer, ApiClient, token, workflow
from tests.engine import eventually
from tests.provider import CLIENT, SECRET, Provider, serving

PATH = "/workflows/authorization"
CALLBACK = f"{PATH}/callback"
BASE = "https://api.example.com/v1"
FIELDS = {"id", "user_id", "provider", "status", "created_at", "name", "kind", "used_by"}
STATIC: dict[str, dict[str, Any]] = {
    "bearer": {"base_url": BASE, "token": "a-bearer-token"},
    "basic": {"base_url": BASE, "username": "ada", "password": "pass:word"},
    "header": {"base_url": BASE, "name": "X-Api-Key", "value": "a-header-value"},
    "oauth2_client_credentials": {
        "base_url": BASE,
        "token_url": "https://login.example.com/token",
        "client_id": "c",
        "client_secret": "a-client-secret",
        "scope": "read write",
        "audience": "https://api.example.com",
    },
}


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    async with serving(f"{PUBLIC_URL}{CALLBACK}") as one:
        yield one


@pytest.fixture
async def outbound(make_api: Callable[..., Awaitable[ApiClient]]) -> ApiClient:
    """An api that may reach this machine."""
    return await make_api(egress_allow="127.0.0.1")


async def make(api: ApiClient, kind: str, config: dict[str, Any], **options: Any) -> Answer:
    return await api.call("POST", PATH, {"name": "One", "kind": kind, "config": config}, **options)


async def status_of(api: ApiClient, authorization_id: str) -> str:
    listed = (await api.call("GET", PATH)).json
    return next(str(each["status"]) for each in listed if each["id"] == authorization_id)


async def come_back(api: ApiClient, location: str, accept: str = "text/html") -> Answer:
    """What a browser does with the redirect of a provider."""
    parts = urlsplit(location)
    assert f"{parts.scheme}://{parts.netloc}{parts.path}" == f"{PUBLIC_URL}{CALLBACK}"
    return await api.call("GET", f"{CALLBACK}?{parts.query}", token="", headers={"Accept": accept})


@pytest.mark.parametrize("kind", STATIC)
async def test_a_kind_without_consent_is_active_at_once(api: ApiClient, kind: str) -> None:
    """201 with the object and no secret in it, the same in the list; the database has no secret in clear."""
    made = await make(api, kind, STATIC[kind])
    assert made.status == 201, made.body
    assert made.json.keys() == FIELDS
    assert made.json["id"].startswith("auth_")
    told = {name: made.json[name] for name in ("name", "kind", "status", "user_id", "used_by")}
    assert told == {"name": "One", "kind": kind, "status": "active", "user_id": None, "used_by": []}
    assert made.json["provider"] == ("login.example.com" if kind.startswith("oauth2") else None)
    listed = await api.call("GET", PATH)
    assert listed.json == [made.json]
    async with api.api.services.pool.acquire() as connection:
        stored = repr(await connection.fetch("SELECT * FROM authorizations")) + repr(
            await connection.fetch("SELECT * FROM audit")
        )
    for secret in ("a-bearer-token", "pass:word", "a-header-value", "a-client-secret"):
        assert secret not in stored
        assert secret.encode() not in listed.body


async def test_every_fault_is_told_at_once_and_no_secret(api: ApiClient) -> None:
    """Wrong, missing and unknown fields of the body and of its config, each with its path; no secret is shown."""
    config = {
        "base_url": "https://user@api.example.com",
        "token_url": "ftp://x",
        "client_secret": "gluo\nbreak",
        "scopes": ["a b"],
        "client_auth": "jwt",
        "tokn": "x",
    }
    refused = await api.call("POST", PATH, {"nam": "x", "kind": "oauth2_client_credentials", "config": config})
    assert refused.status == 422
    paths = {(fault["path"], fault["code"]) for fault in refused.json["errors"]}
    assert paths == {
        ("nam", "unknown_field"),
        ("name", "parameter_missing"),
        ("config.base_url", "invalid_value"),
        ("config.token_url", "invalid_value"),
        ("config.client_secret", "invalid_value"),
        ("config.client_id", "parameter_missing"),
        ("config.scopes", "invalid_value"),
        ("config.client_auth", "invalid_value"),
        ("config.tokn", "unknown_field"),
    }
    assert b"gluo" not in refused.body


#: Kind, config, and the path of the one fault that it has.
FAULTY: list[tuple[str, dict[str, Any], str]] = [
    ("bearer", {"base_url": BASE, "token": 7_123_456}, "config.token"),
    ("bearer", {"base_url": BASE, "token": "gluo\x00rp"}, "config.token"),
    ("bearer", {"base_url": f"{BASE}?x=1", "token": "a-token-of-the-test"}, "config.base_url"),
    ("bearer", {"base_url": f"{BASE}/../x", "token": "a-token-of-the-test"}, "config.base_url"),
    ("bearer", {"base_url": f"{BASE}#x", "token": "a-token-of-the-test"}, "config.base_url"),
    ("bearer", {"base_url": "/v1", "token": "a-token-of-the-test"}, "config.base_url"),
    ("basic", {"base_url": BASE, "username": "a:b", "password": "pass:word"}, "config.username"),
    ("header", {"base_url": BASE, "name": "Host", "value": "a-header-value"}, "config.name"),
    ("header", {"base_url": BASE, "name": "X Y", "value": "a-header-value"}, "config.name"),
    ("header", {"base_url": BASE, "name": "X", "value": "gluo\r\nX-Other: rp"}, "config.value"),
    ("bearer", {"base_url": BASE, "token": "gluorp7"}, "config.token"),
    ("basic", {"base_url": BASE, "username": "ada", "password": "gluorp7"}, "config.password"),
    ("header", {"base_url": BASE, "name": "X", "value": "gluorp7"}, "config.value"),
    (
        "oauth2_client_credentials",
        {**STATIC["oauth2_client_credentials"], "client_secret": "gluorp7"},
        "config.client_secret",
    ),
    ("nosuch", {}, "kind"),
    (
        "oauth2_authorization_code",
        {**STATIC["oauth2_client_credentials"], "authorize_url": BASE, "parameters": {"state": "fixed"}},
        "config.parameters",
    ),
]


async def test_a_config_is_held_to_its_rules(api: ApiClient) -> None:
    """Each rule is told at the path of its field, and nothing is stored."""
    for kind, config, path in FAULTY:
        refused = await make(api, kind, config)
        assert (refused.status, [fault["path"] for fault in refused.json["errors"]]) == (422, [path]), config
        assert b"7123456" not in refused.body
        assert b"gluo" not in refused.body
    assert (await api.call("GET", PATH)).json == []


async def test_pages_and_other_workspaces(api: ApiClient) -> None:
    """The list is bare and newest first, by pages if that is asked for; other workspaces see and delete nothing."""
    ids = [(await make(api, "bearer", STATIC["bearer"])).json["id"] for _ in range(3)]
    newest_first = ids[::-1]
    assert [each["id"] for each in (await api.call("GET", PATH)).json] == newest_first
    page = await api.call("GET", f"{PATH}?limit=2")
    assert [each["id"] for each in page.json] == newest_first[:2]
    link = page.headers["Link"].partition(">")[0][1:].removeprefix(PUBLIC_URL)
    rest = await api.call("GET", link)
    assert ([each["id"] for each in rest.json], "Link" in rest.headers) == ([newest_first[2]], False)
    assert (await api.call("GET", PATH, token=token("other"))).json == []
    assert (await api.call("DELETE", f"{PATH}/{ids[0]}", token=token("other"))).status == 404
    assert (await api.call("GET", f"{PATH}?limit=0")).status == 400
    assert (await api.call("GET", f"{PATH}?cursor=fl_x")).status == 400


async def test_scopes(api: ApiClient) -> None:
    """Reading and writing ask for the scopes of workflows; the redirect URI asks for none."""
    reader = token(scope="workflows:read")
    assert (await api.call("GET", PATH, token=reader)).status == 200
    for method, path in (("POST", PATH), ("DELETE", f"{PATH}/auth_x"), ("POST", f"{PATH}/auth_x/consent")):
        assert (await api.call(method, path, token=reader)).status == 403
    assert (await api.call("GET", PATH, token=token(scope="vault:read"))).status == 403
    assert (await api.call("PUT", PATH)).headers["Allow"]


async def test_one_that_is_used_is_deleted(api: ApiClient) -> None:
    """It goes with its secrets and is 404; its workflows name it still, and saving them with it names the fault."""
    one = (await make(api, "bearer", STATIC["bearer"])).json["id"]
    first = await api.create(authorization_id=one, name="Alpha")
    second = await api.create(authorization_id=one, name="Beta")
    assert (await api.call("GET", PATH)).json[0]["used_by"] == [first["id"], second["id"]]
    assert (await api.call("DELETE", f"{PATH}/{one}")).status == 204
    assert (await api.call("DELETE", f"{PATH}/{one}")).status == 404
    assert (await api.call("GET", PATH)).json == []
    async with api.api.services.pool.acquire() as connection:
        assert await connection.fetchval("SELECT count(*) FROM authorizations") == 0
    path = f"/workflows/{first['id']}"
    shown = (await api.call("GET", path)).json
    assert shown["authorization_id"] == one
    for body in (shown, {"nodes": shown["nodes"]}, {"authorization_id": one}):
        refused = await api.call("PUT", path, body)
        (fault,) = refused.json["errors"]
        told = (refused.status, fault["path"], fault["code"], one in fault["message"])
        assert told == (422, "authorization_id", "unknown_authorization", True)
    renamed = await api.call("PUT", path, {"name": "Gamma"})
    assert (renamed.status, renamed.json["version"], renamed.json["authorization_id"]) == (200, 1, one)
    assert (await api.call("DELETE", path)).status == 204
    other = (await make(api, "bearer", STATIC["bearer"])).json["id"]
    assert (await api.call("PUT", f"/workflows/{second['id']}", {"authorization_id": other})).json["version"] == 2
    assert (await api.call("POST", "/workflows", workflow(authorization_id=one))).status == 422


async def test_deleted_while_it_is_saved(api: ApiClient) -> None:
    """A workflow that is saved meanwhile was saved before or is refused: no error of the database."""
    for _ in range(5):
        one = (await make(api, "bearer", STATIC["bearer"])).json["id"]
        saved, deleted = await asyncio.gather(
            api.call("POST", "/workflows", workflow(authorization_id=one)), api.call("DELETE", f"{PATH}/{one}")
        )
        assert (saved.status, deleted.status) in ((201, 204), (422, 204))


async def test_a_repeat_gives_the_first_answer(api: ApiClient) -> None:
    """With an Idempotency-Key one authorization is made; the link of its consent is kept encrypted."""
    config = {**STATIC["oauth2_client_credentials"], "authorize_url": "https://login.example.com/authorize"}
    key = {"headers": {"Idempotency-Key": "k"}}
    first = await make(api, "oauth2_authorization_code", config, **key)
    again = await make(api, "oauth2_authorization_code", config, **key)
    assert (again.body, again.headers["Idempotency-Replayed"]) == (first.body, "true")
    assert len((await api.call("GET", PATH)).json) == 1
    state = parse_qs(urlsplit(first.json["authorization_url"]).query)["state"][0]
    async with api.api.services.pool.acquire() as connection:
        kept = b"".join([row["body"] for row in await connection.fetch("SELECT body FROM idempotency")])
    assert state.encode() not in kept


async def test_the_url_of_a_consent(api: ApiClient) -> None:
    """It asks for a code with PKCE, this service's redirect URI, the scopes, the audience and the parameters given."""
    config = {
        **STATIC["oauth2_client_credentials"],
        "authorize_url": "https://login.example.com/authorize?tenant=7",
        "parameters": {"access_type": "offline"},
        "provider": "example",
    }
    made = (await make(api, "oauth2_authorization_code", config)).json
    assert made.keys() == FIELDS | {"authorization_url"}
    assert (made["status"], made["user_id"], made["provider"]) == ("pending", "user-1", "example")
    parts = urlsplit(made["authorization_url"])
    query = {name: values[0] for name, values in parse_qs(parts.query).items()}
    assert f"{parts.scheme}://{parts.netloc}{parts.path}" == "https://login.example.com/authorize"
    assert len(base64.urlsafe_b64decode(query.pop("code_challenge") + "=")) == 32
    assert len(query.pop("state")) >= 43
    assert query == {
        "tenant": "7",
        "access_type": "offline",
        "response_type": "code",
        "client_id": "c",
        "redirect_uri": f"{PUBLIC_URL}{CALLBACK}",
        "scope": "read write",
        "code_challenge_method": "S256",
        "audience": "https://api.example.com",
    }
    assert "authorization_url" not in (await api.call("GET", PATH)).json[0]
    without = {**config, "parameters": {"audience": "theirs"}, "audience": None}
    made = (await make(api, "oauth2_authorization_code", without)).json
    assert parse_qs(urlsplit(made["authorization_url"]).query)["audience"] == ["theirs"]


@pytest.mark.parametrize("auth", ["basic", "post", "none"])
async def test_a_consent_is_taken(outbound: ApiClient, provider: Provider, auth: str) -> None:
    """The code is exchanged with the verifier, the token stored encrypted; a client shows its secret in each way."""
    provider.client.auth_method = "none" if auth == "none" else f"client_secret_{auth}"
    changes = {"client_secret": None} if auth == "none" else {"client_auth": auth}
    made = (await make(outbound, "oauth2_authorization_code", provider.config(**changes))).json
    page = await come_back(outbound, await provider.consent(made["authorization_url"]))
    assert (page.status, b"Authorized" in page.body) == (200, True), page.body
    assert page.headers["Referrer-Policy"] == "no-referrer"
    assert page.headers["Cache-Control"] == "no-store"
    assert await status_of(outbound, made["id"]) == "active"
    (access_token,) = provider.access_tokens
    async with outbound.api.services.pool.acquire() as connection:
        rows = repr(await connection.fetch("SELECT * FROM authorizations"))
        actions = [row["action"] for row in await connection.fetch("SELECT action FROM audit ORDER BY id")]
        assert await connection.fetchval("SELECT count(*) FROM authorization_logins") == 0
    assert access_token not in rows
    assert actions == ["authorization.create", "authorization.consent"]
    place = outbound.api.services.authorizer.of(*await _row(outbound, made["id"]))
    grant = await place.grant()
    assert grant.header == ("Authorization", f"Bearer {access_token}")
    assert access_token not in repr(grant)


async def _row(api: ApiClient, authorization_id: str) -> tuple[Any, Any]:
    raw = decode(Prefix.AUTHORIZATION, authorization_id)
    async with api.api.services.pool.acquire() as connection:
        return await connection.fetchval("SELECT workspace_id FROM authorizations WHERE id = $1", raw), raw


async def test_a_consent_is_taken_once(outbound: ApiClient, provider: Provider) -> None:
    """A state that is wrong, missing, repeated, used or too old is refused, and no code of it reaches the provider."""
    made = (await make(outbound, "oauth2_authorization_code", provider.config())).json
    location = await provider.consent(made["authorization_url"])
    for query in ("", "state=x&code=y", "state=x&state=y&code=z", f"code=y&state={'s' * 9000}"):
        answer = await outbound.call("GET", f"{CALLBACK}?{query}", token="")
        assert answer.status in (400, 414), query
    query = urlsplit(location).query
    assert (await outbound.call("HEAD", f"{CALLBACK}?{query}", token="")).status == 200
    assert provider.asked == []
    both = await asyncio.gather(*(come_back(outbound, location, "application/json") for _ in range(2)))
    assert sorted(answer.status for answer in both) == [200, 400]
    assert next(answer for answer in both if answer.status == 400).json["code"] == "consent_unknown"
    assert len(provider.asked) == 1


async def test_a_consent_that_comes_too_late_is_refused(outbound: ApiClient, provider: Provider) -> None:
    """After ten minutes by Postgres's clock nobody waits for it; what never came is removed with the next."""
    made = (await make(outbound, "oauth2_authorization_code", provider.config())).json
    location = await provider.consent(made["authorization_url"])
    async with outbound.api.services.pool.acquire() as connection:
        await connection.execute("UPDATE authorization_logins SET expires_at = now() - interval '1 second'")
    await make(outbound, "oauth2_authorization_code", provider.config())
    async with outbound.api.services.pool.acquire() as connection:
        assert await connection.fetchval("SELECT count(*) FROM authorization_logins") == 1
    assert (await come_back(outbound, location)).status == 400
    assert await status_of(outbound, made["id"]) == "pending"


async def test_a_refusal_is_shown_as_text(outbound: ApiClient, provider: Provider) -> None:
    """What the provider says stands on the page as text, whatever it is; as JSON for who asks for no page."""
    provider.consents = False
    made = (await make(outbound, "oauth2_authorization_code", provider.config())).json
    page = await come_back(outbound, await provider.consent(made["authorization_url"]))
    assert (page.status, b"access_denied" in page.body) == (400, True)
    again = await outbound.call("POST", f"{PATH}/{made['id']}/consent")
    state = parse_qs(urlsplit(again.json["authorization_url"]).query)["state"][0]
    query = f"state={state}&error=x&error_description=%3Cscript%3Ealert(1)%3C/script%3E"
    hostile = await outbound.call("GET", f"{CALLBACK}?{query}", token="", headers={"Accept": "text/html"})
    assert (hostile.status, b"<script" in hostile.body, b"&lt;script" in hostile.body) == (400, False, True)
    assert "default-src 'none'" in hostile.headers["Content-Security-Policy"]


async def test_a_replayed_code_gives_no_token(outbound: ApiClient, provider: Provider) -> None:
    """A code that was used, put behind another state, is the provider's to refuse; the page says what it said."""
    first = (await make(outbound, "oauth2_authorization_code", provider.config())).json
    location = await provider.consent(first["authorization_url"])
    assert (await come_back(outbound, location)).status == 200
    second = (await make(outbound, "oauth2_authorization_code", provider.config())).json
    code = parse_qs(urlsplit(location).query)["code"][0]
    state = parse_qs(urlsplit(second["authorization_url"]).query)["state"][0]
    refused = await come_back(outbound, f"{PUBLIC_URL}{CALLBACK}?code={code}&state={state}", "application/json")
    assert (refused.status, refused.json["code"]) == (400, "consent_failed")
    assert "invalid_grant" in refused.json["message"]


async def test_a_stolen_code_is_worth_nothing_elsewhere(outbound: ApiClient, provider: Provider) -> None:
    """A fresh code that was asked for with one verifier gives no token behind another state: PKCE binds it."""
    urls = [
        (await make(outbound, "oauth2_authorization_code", provider.config())).json["authorization_url"]
        for _ in range(2)
    ]
    code = parse_qs(urlsplit(await provider.consent(urls[0])).query)["code"][0]
    state = parse_qs(urlsplit(urls[1]).query)["state"][0]
    refused = await come_back(outbound, f"{PUBLIC_URL}{CALLBACK}?code={code}&state={state}", "application/json")
    assert (refused.status, provider.granted.total()) == (400, 0)


async def test_a_provider_that_is_away(outbound: ApiClient, provider: Provider) -> None:
    """503 with Retry-After while its token endpoint fails; the same URL, loaded again, gives the consent, once."""
    made = (await make(outbound, "oauth2_authorization_code", provider.config())).json
    location = await provider.consent(made["authorization_url"])
    provider.answers += [(503, {}), (429, {"error": "slow_down"})]
    for _ in range(2):
        away = await come_back(outbound, location)
        assert (away.status, away.headers["Retry-After"]) == (503, "5")
        assert await status_of(outbound, made["id"]) == "pending"
    both = await asyncio.gather(*(come_back(outbound, location) for _ in range(2)))
    assert sorted(answer.status for answer in both) == [200, 400]
    assert await status_of(outbound, made["id"]) == "active"
    assert (await come_back(outbound, location)).status == 400
    assert len({form["code_verifier"] for form in provider.asked}) == 1
    assert len(provider.asked) == 3


async def test_a_provider_that_is_away_for_too_long(outbound: ApiClient, provider: Provider) -> None:
    """A consent that is asked for again has the time that it had left, and none once its authorization is gone."""
    made = (await make(outbound, "oauth2_authorization_code", provider.config())).json
    location = await provider.consent(made["authorization_url"])
    provider.answers.append((503, {}))
    pool = outbound.api.services.pool
    before = await pool.fetchrow("SELECT * FROM authorization_logins")
    assert (await come_back(outbound, location)).status == 503
    assert await pool.fetchrow("SELECT * FROM authorization_logins") == before
    async with pool.acquire() as connection:
        login = await authorizations.take_login(connection, before["state_hash"])
        assert login is not None
        await authorizations.remove(connection, login.authorization_id)
        await authorizations.return_login(connection, before["state_hash"], login)
        assert await connection.fetchval("SELECT count(*) FROM authorization_logins") == 0
    assert (await come_back(outbound, location)).status == 400


async def test_a_consent_that_cannot_be_decrypted(outbound: ApiClient, provider: Provider) -> None:
    """503 `authorization_unreadable` names the key that the ring lacks; another consent cannot be asked for either."""
    made = (await make(outbound, "oauth2_authorization_code", provider.config())).json
    location = await provider.consent(made["authorization_url"])
    foreign = parse_keys(f"gone:{base64.b64encode(bytes(32)).decode()}")
    sealed = foreign.encrypt(b"{}", context=config_context(decode(Prefix.AUTHORIZATION, made["id"])))
    pool = outbound.api.services.pool
    config = await pool.fetchval("SELECT config FROM authorizations")
    await pool.execute("UPDATE authorizations SET config = $1", sealed)
    unread = await come_back(outbound, location, "application/json")
    again = await outbound.call("POST", f"{PATH}/{made['id']}/consent")
    for answer in (unread, again):
        assert (answer.status, answer.json["code"]) == (503, "authorization_unreadable")
        assert made["id"] in answer.json["message"]
        assert "'gone'" in answer.json["message"]
    await pool.execute("UPDATE authorizations SET config = $1", config)
    assert (await come_back(outbound, location)).status == 200


async def test_a_private_provider_needs_leave(api: ApiClient, provider: Provider) -> None:
    """The token endpoint is reached through the egress client: an internal address is refused by default."""
    made = (await make(api, "oauth2_authorization_code", provider.config())).json
    refused = await come_back(api, await provider.consent(made["authorization_url"]), "application/json")
    assert (refused.status, refused.json["code"], provider.asked) == (400, "consent_failed", [])


async def test_one_that_was_deleted_meanwhile(outbound: ApiClient, provider: Provider) -> None:
    """The consent for an authorization that is gone is refused, and stores nothing."""
    made = (await make(outbound, "oauth2_authorization_code", provider.config())).json
    location = await provider.consent(made["authorization_url"])
    provider.gate.clear()
    coming = asyncio.create_task(come_back(outbound, location))
    await eventually(lambda: provider.granted)
    assert (await outbound.call("DELETE", f"{PATH}/{made['id']}")).status == 204
    provider.gate.set()
    assert (await coming).status == 404


async def test_another_consent(outbound: ApiClient, provider: Provider) -> None:
    """A revoked authorization keeps its id and is active again after another consent; kinds without one are 409."""
    made = (await make(outbound, "oauth2_authorization_code", provider.config())).json
    _, raw = await _row(outbound, made["id"])
    assert (await come_back(outbound, await provider.consent(made["authorization_url"]))).status == 200
    await authorizations.revoke(outbound.api.services.pool, raw, 1, "It was.", None)
    assert await status_of(outbound, made["id"]) == "revoked"
    again = await outbound.call("POST", f"{PATH}/{made['id']}/consent")
    assert again.status == 200
    assert await status_of(outbound, made["id"]) == "revoked"
    assert (await come_back(outbound, await provider.consent(again.json["authorization_url"]))).status == 200
    assert await status_of(outbound, made["id"]) == "active"
    other = (await make(outbound, "bearer", STATIC["bearer"])).json["id"]
    assert (await outbound.call("POST", f"{PATH}/{other}/consent")).json["code"] == "no_consent"
    assert (await outbound.call("POST", f"{PATH}/{PATH[1:3]}/consent")).status == 404


async def test_without_a_body_and_without_a_provider(api: ApiClient) -> None:
    """422 names the settings that there must be."""
    refused = await api.call("POST", PATH)
    assert (refused.status, refused.json["code"]) == (422, "provider_not_configured")
    for name in ("AUTHORIZE_URL", "TOKEN_URL", "CLIENT_ID", "BASE_URL"):
        assert f"EDGEWISE_OAUTH2_{name}" in refused.json["message"]


@pytest.mark.parametrize("body", [None, {}])
async def test_without_a_body(
    make_api: Callable[..., Awaitable[ApiClient]], provider: Provider, body: dict[str, Any] | None
) -> None:
    """200 with a URL at the operator's own provider, as the original answers; its secret is stored nowhere."""
    settings = {
        "oauth2_provider": "altostrat",
        "oauth2_base_url": f"{provider.url}/api",
        "oauth2_authorize_url": f"{provider.url}/authorize",
        "oauth2_token_url": f"{provider.url}/token",
        "oauth2_client_id": CLIENT,
        "oauth2_client_secret": SECRET,
        "oauth2_scopes": "read",
    }
    api = await make_api(egress_allow="127.0.0.1", **settings)
    made = await api.call("POST", PATH, body)
    assert (made.status, made.json["provider"], made.json["status"]) == (200, "altostrat", "pending")
    assert (await come_back(api, await provider.consent(made.json["authorization_url"]))).status == 200
    assert provider.granted == {"authorization_code": 1}
    place = api.api.services.authorizer.of(*await _row(api, made.json["id"]))
    assert (await place.grant()).base_url == f"{provider.url}/api"
