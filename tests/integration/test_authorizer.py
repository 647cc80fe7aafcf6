"""Tokens stay fresh: presented while they are good, renewed before they end, and given up when a provider says so."""

import asyncio
import base64
import json
from collections.abc import Callable
from typing import Any
from urllib.parse import quote, quote_plus
from uuid import UUID

import asyncpg
import pytest

from shared.authorizations.authorizer import Authorizer
from shared.authorizations.requests import basic_header
from shared.authorizations.tokens import Token
from shared.store import authorizations
from tests.presenting import add, consented, mint
from tests.provider import CLIENT, SECRET, Provider
from tests.renewing import expired, failure, known, placed, status


async def test_a_token_that_is_not_due_is_used(
    database: asyncpg.Connection, provider: Provider, workers: list[Authorizer]
) -> None:
    """Nobody asks the provider; what is presented stands in no text that a log could show."""
    first, _ = await placed(database, provider, workers)
    grant = await first.grant()
    assert grant.header == ("Authorization", "Bearer access-first")
    assert grant.secrets == ("access-first",)
    assert "access-first" not in repr(grant)
    assert "access-first" not in repr(known(provider))
    assert provider.asked == []


async def test_a_refusal_is_answered_with_one_newer_token(
    database: asyncpg.Connection, provider: Provider, workers: list[Authorizer]
) -> None:
    """Who was refused gets a newer token, also one that another worker fetched; the second refusal is the last."""
    first, second = await placed(database, provider, workers)
    old = await first.grant()
    renewed = await first.grant(old)
    assert (renewed.generation, renewed.renewed) == (old.generation + 1, True)
    assert await second.grant(old) == renewed
    assert len(provider.asked) == 1
    error = await failure(first, renewed)
    assert (error.code, error.category) == ("authorization_revoked", "authorization")
    assert (await failure(second)).code == "authorization_revoked"
    assert len(provider.asked) == 1
    assert await status(database) == "revoked"


async def test_what_an_api_refused_is_tried_again_after_a_minute(
    database: asyncpg.Connection, provider: Provider, workers: list[Authorizer]
) -> None:
    """Within the minute steps fail at once; after it one asks for a token, and with that it is active again."""
    first, second = await placed(database, provider, workers)
    renewed = await first.grant(await first.grant())
    assert (await failure(first, renewed)).code == "authorization_revoked"
    assert await database.fetchval("SELECT retry_at - now() > interval '50 seconds' FROM authorizations")
    await expired(database)
    grants = await asyncio.gather(first.grant(), second.grant(), first.grant())
    assert len(set(grants)) == 1
    assert (await status(database), len(provider.asked)) == ("active", 2)


async def test_a_refresh_token_that_is_over(
    database: asyncpg.Connection, provider: Provider, workers: list[Authorizer]
) -> None:
    """invalid_grant revokes for good: no later step asks the provider, whatever the time, until somebody consents."""
    first, second = await placed(database, provider, workers, due_in=0.0)
    provider.refresh_tokens.clear()
    errors = await asyncio.gather(failure(first), failure(second))
    assert [error.code for error in errors] == ["authorization_revoked"] * 2
    assert "invalid_grant" in errors[0].message
    assert len(provider.asked) == 1
    await expired(database)
    assert (await failure(second)).code == "authorization_revoked"
    assert len(provider.asked) == 1
    await consented(database, first.authorization_id, known(provider))
    assert (await second.grant()).header[1] == "Bearer access-first"


#: What a provider answers, and how the step fails.
TROUBLE: list[tuple[tuple[int, object], str, str]] = [
    ((503, {}), "token_unavailable", "5xx"),
    ((429, {"error": "slow_down"}), "token_unavailable", "429"),
    ((400, {"error": "invalid_scope", "error_description": "no refresh-first here"}), "token_refused", "error"),
    ((200, {"error": "bad_verification_code"}), "token_refused", "error"),
    ((200, {"access_token": "a\nb"}), "token_refused", "error"),
    ((200, {"access_token": "x", "token_type": "mac"}), "token_refused", "error"),
    ((200, []), "token_refused", "error"),
    ((302, {}), "token_refused", "error"),
]


async def test_a_provider_in_trouble(
    database: asyncpg.Connection, provider: Provider, workers: list[Authorizer]
) -> None:
    """The step fails in a way that says whether to try again, the lease is free at once, and nothing is revoked."""
    first, _ = await placed(database, provider, workers, due_in=0.0)
    for answer, code, category in TROUBLE:
        provider.answers.append(answer)
        error = await failure(first)
        assert (error.code, error.category) == (code, category), answer
        assert "refresh-first" not in error.message
        assert await status(database) == "active"
    assert (await first.grant()).generation == 2


@pytest.mark.parametrize("said", [10**400, "1e400", -1, [], True])
async def test_a_strange_lifetime(
    database: asyncpg.Connection, provider: Provider, workers: list[Authorizer], said: Any
) -> None:
    """A token is used whatever its provider says of how long it lives."""
    first, _ = await placed(database, provider, workers, due_in=0.0)
    provider.answers.append((200, {"access_token": "given-anew", "token_type": "bearer", "expires_in": said}))
    assert (await first.grant()).header == ("Authorization", "Bearer given-anew")


#: How a provider may write down what it was sent.
TELLING: dict[str, Callable[[str], str]] = {
    "as it is": str,
    "form-encoded": quote_plus,
    "URL-encoded": lambda text: quote(text, safe=""),
    "for JSON": lambda text: json.dumps(text)[1:-1],
    "base64": lambda text: base64.b64encode(text.encode()).decode(),
    "Basic": lambda text: basic_header(CLIENT, text),
    "hex": lambda text: text.encode().hex(),
}


@pytest.mark.parametrize("how", TELLING)
async def test_a_provider_that_tells_what_it_was_sent(
    database: asyncpg.Connection, provider: Provider, workers: list[Authorizer], how: str
) -> None:
    """Its error shows neither the client's secret nor a refresh token, as the request had them or otherwise."""
    first, _ = await placed(database, provider, workers, due_in=0.0)
    told = {secret: TELLING[how](secret) for secret in (SECRET, "refresh-first")}
    said = f"had {' and '.join(told.values())}"
    provider.answers.append((400, {"error": "invalid_scope", "error_description": said}))
    message = (await failure(first)).message
    assert message.startswith("The provider gave no token: invalid_scope (had ")
    assert message.count("[redacted]") == 2
    for secret, text in told.items():
        assert secret not in message
        assert text.removeprefix("Basic ") not in message


async def test_a_provider_that_is_not_there(
    database: asyncpg.Connection, provider: Provider, workers: list[Authorizer]
) -> None:
    """A connection that fails is a network fault; an address that is not allowed is refused for good."""
    workspace_id = mint.uuid()
    for url, code, category in (
        ("http://127.0.0.1:9/token", "token_unavailable", "network"),
        ("http://127.0.0.2:9/token", "token_refused", "error"),
    ):
        made = await add(database, workspace_id, "oauth2_client_credentials", provider.credentials(token_url=url))
        error = await failure(workers[0].of(workspace_id, made))
        assert (error.code, error.category) == (code, category)


@pytest.mark.parametrize("auth", ["basic", "post"])
async def test_client_credentials(
    database: asyncpg.Connection, provider: Provider, workers: list[Authorizer], auth: str
) -> None:
    """The first step of all workers fetches a token, with scopes and audience; a client that is disabled is revoked."""
    provider.client.auth_method = f"client_secret_{auth}"
    workspace_id = mint.uuid()
    config = provider.credentials(client_auth=auth, audience="https://api")
    made = await add(database, workspace_id, "oauth2_client_credentials", config)
    places = [worker.of(workspace_id, made) for worker in workers]
    grants = await asyncio.gather(*(place.grant() for place in places for _ in range(3)))
    assert len(set(grants)) == 1
    (form,) = provider.asked
    assert (form["grant_type"], form["scope"], form["audience"]) == ("client_credentials", "read write", "https://api")
    provider.client.enabled = False
    assert (await failure(places[0], grants[0])).code == "authorization_revoked"
    assert (await failure(places[1])).code == "authorization_revoked"
    assert len(provider.asked) == 2
    provider.client.enabled = True
    await expired(database)
    assert (await places[1].grant()).generation == 2


async def test_a_token_that_cannot_be_renewed(
    database: asyncpg.Connection, provider: Provider, workers: list[Authorizer]
) -> None:
    """It is used to its end and is revoked then; refused before, it is tried again after a minute."""
    workspace_id = mint.uuid()
    made = await add(database, workspace_id, "oauth2_authorization_code", provider.config())
    await consented(database, made, Token("only", None, 3600.0))
    place = workers[0].of(workspace_id, made)
    grant = await place.grant()
    assert (await failure(place, grant)).code == "authorization_revoked"
    await database.execute("UPDATE authorizations SET retry_at = now()")
    assert (await place.grant()).header == grant.header
    await expired(database)
    assert "over" in (await failure(place)).message
    assert provider.asked == []


async def test_nothing_is_presented_that_is_not_there(
    database: asyncpg.Connection, provider: Provider, workers: list[Authorizer]
) -> None:
    """A deleted authorization, one of another workspace, and one that nobody has consented to yet."""
    first, _ = await placed(database, provider, workers)
    stranger = workers[0].of(mint.uuid(), first.authorization_id)
    assert (await failure(stranger)).code == "authorization_revoked"
    await database.execute("UPDATE authorizations SET status = 'pending'")
    assert (await failure(first)).code == "authorization_pending"
    await authorizations.remove(database, first.authorization_id)
    error = await failure(first)
    assert (error.code, "deleted" in error.message) == ("authorization_revoked", True)


async def test_a_config_is_bound_to_its_row(
    database: asyncpg.Connection, provider: Provider, workers: list[Authorizer]
) -> None:
    """What is copied into another row can't be read there, and the step says so without showing anything."""
    workspace_id = mint.uuid()
    ids: list[UUID] = []
    for key in ("one-key-of-ada", "two-key-of-ada"):
        config = {"base_url": provider.url, "token": key}
        ids.append(await add(database, workspace_id, "bearer", config))
    await database.execute(
        "UPDATE authorizations a SET config = b.config FROM authorizations b WHERE a.id = $1 AND b.id = $2", *ids
    )
    error = await failure(workers[0].of(workspace_id, ids[0]))
    assert error.code == "authorization_unreadable"
    assert "ada" not in error.message
