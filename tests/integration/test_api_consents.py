"""Consents: a person sends a browser to a real OAuth2 provider, and it comes back with a code or a refusal."""

import asyncio
import base64
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from shared.authorizations.sealed import config_context
from shared.ids import Prefix, decode
from shared.store import authorizations
from shared.vault import parse_keys
from tests.api_client import PUBLIC_URL, ApiClient
from tests.authorizing import CALLBACK, FIELDS, PATH, STATIC, come_back, make, status_of
from tests.engine import eventually
from tests.provider import CLIENT, SECRET, Provider


@pytest.fixture
async def outbound(make_api: Callable[..., Awaitable[ApiClient]]) -> ApiClient:
    """An api that may reach this machine."""
    return await make_api(egress_allow="127.0.0.1")


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
