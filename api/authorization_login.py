"""Consents of OAuth2: the URL that a person is sent to, and what the provider sends back to the redirect URI.

The state in the URL is 256 random bits, kept as a hash, for one authorization, one use and ten minutes. The verifier of
PKCE is kept encrypted beside it, so that a code is worth nothing to whoever catches it.
"""

import secrets
from hashlib import sha256
from typing import Final
from uuid import UUID

import msgspec

from api.call import Call
from shared.authorizations import tokens
from shared.authorizations.kinds import AuthorizationCode, scopes_of
from shared.authorizations.provider import completed, operator_provider
from shared.authorizations.requests import challenge_of, consent_url
from shared.authorizations.sealed import open_config, seal_token, verifier_context
from shared.authorizations.tokens import Token, TokenError
from shared.db import Connection
from shared.errors import BadRequestError, NotFoundError, StepFailedError, UnavailableError
from shared.ids import Prefix, encode
from shared.store import audit, authorizations
from shared.store.authorizations import Login, NewLogin
from shared.vault import VaultError

#: The path of the redirect URI, behind ``EDGEWISE_PUBLIC_URL``.
CALLBACK: Final = "/workflows/authorization/callback"
#: Seconds that a person has.
TIME_TO_CONSENT: Final = 600.0
_KIND: Final = "oauth2_authorization_code"
_RETRY_AFTER: Final = 5
_READ_AFTER: Final = 10
_MOST: Final = 4096
_SHOWN: Final = 300


class Returned(msgspec.Struct, frozen=True):
    """What a provider sends a person back with (RFC 6749, 4.1.2)."""

    state: str = ""
    code: str = ""
    error: str = ""
    error_description: str = ""


async def begin(connection: Connection, call: Call, authorization_id: UUID, config: AuthorizationCode) -> str:
    """The URL at which a person consents, in the transaction that stores what it is for."""
    state, verifier = secrets.token_urlsafe(32), secrets.token_urlsafe(48)
    sealed = call.services.keys.encrypt(verifier.encode(), context=verifier_context(authorization_id))
    login = NewLogin(_hash(state), call.workspace_id, authorization_id, sealed)
    await authorizations.begin_login(connection, login, TIME_TO_CONSENT)
    parameters = {
        "response_type": "code",
        "client_id": config.client_id,
        "redirect_uri": _redirect_uri(call),
        "scope": " ".join(scopes_of(config)),
        "state": state,
        "code_challenge": challenge_of(verifier),
        "code_challenge_method": "S256",
    }
    audience = {} if config.audience is None else {"audience": config.audience}  # else it may be among the parameters
    return consent_url(config.authorize_url, {**config.parameters, **parameters, **audience})


async def complete(call: Call, returned: Returned) -> None:
    """Take what a provider sent, exchange the code for a token, and store that.

    The login is taken first, so that of two who come with the same state one is refused. It is put back if no fault of
    theirs kept the token away: to call the same URL again may then succeed, within the ten minutes of the login.

    Raises:
        BadRequestError: if nobody waits for this state, the person or the provider refused, or gave no token.
        NotFoundError: if the authorization was deleted meanwhile.
        UnavailableError: if the provider could not be reached, or what is stored cannot be decrypted.
    """
    state_hash = _hash(returned.state)
    async with call.writing() as connection:
        login = await authorizations.take_login(connection, state_hash)
    if login is None:
        message = "This consent was given already, took longer than ten minutes, or was not asked for. Start again."
        raise BadRequestError("consent_unknown", message)
    if returned.error or not returned.code:
        raise BadRequestError("consent_refused", f"The provider gave no consent: {_told(returned)}.")
    try:
        token = await _exchange(call, login, returned.code)
    except UnavailableError:
        async with call.writing() as connection:
            await authorizations.return_login(connection, state_hash, login)
        raise
    await _keep(call, login, token)


async def _exchange(call: Call, login: Login, code: str) -> Token:
    config, verifier = _opened(call, login)
    egress = call.services.egress.of(login.workspace_id.int)
    try:
        return await tokens.by_code(egress, config, code, verifier, _redirect_uri(call))
    except TokenError as error:
        if error.code == "token_unavailable":
            raise UnavailableError("provider_unavailable", error.message, retry_after=_RETRY_AFTER) from error
        raise BadRequestError("consent_failed", error.message) from error


def _opened(call: Call, login: Login) -> tuple[AuthorizationCode, str]:
    """The configuration of a login, and its verifier."""
    services = call.services
    try:
        stored = open_config(services.keys, login.authorization_id, _KIND, login.config)
        verifier = services.keys.decrypt(login.verifier, context=verifier_context(login.authorization_id)).decode()
        config = completed(stored, operator_provider(services.config))
    except VaultError as error:
        raise unreadable(login.authorization_id, error) from error
    except StepFailedError as error:
        raise BadRequestError("consent_failed", error.message) from error
    if not isinstance(config, AuthorizationCode):
        raise TypeError("only this kind has a consent")
    return config, verifier


def unreadable(authorization_id: UUID, error: VaultError) -> UnavailableError:
    """The refusal of what needs an authorization that can't be decrypted; steps fail with the same code."""
    message = f"The authorization {encode(Prefix.AUTHORIZATION, authorization_id)} can't be read. {error.message}"
    return UnavailableError("authorization_unreadable", message, retry_after=_READ_AFTER)


async def _keep(call: Call, login: Login, token: Token) -> None:
    blob = seal_token(call.services.keys, login.authorization_id, token)
    due_in = token.due_in(renewable=token.refresh_token is not None)
    name = encode(Prefix.AUTHORIZATION, login.authorization_id)
    async with call.writing() as connection:
        if not await authorizations.consent(connection, login.authorization_id, blob, due_in):
            raise NotFoundError("not_found", f"The authorization {name} was deleted meanwhile.")
        entry = audit.Entry(
            id=call.services.mint.uuid(),
            workspace_id=login.workspace_id,
            actor=login.user_id or "",
            action="authorization.consent",
            target=name,
            before="pending",
            after="active",
            request_id=call.request_id,
        )
        await audit.add(connection, entry)


def _told(returned: Returned) -> str:
    """What a provider says; a page shows it as text."""
    parts = [part for part in (returned.error, returned.error_description) if part]
    text = ": ".join(parts) or "it sent neither a code nor an error"
    return "".join(char if char.isprintable() else " " for char in text)[:_SHOWN].rstrip(". ")


def _hash(state: str) -> bytes:
    return sha256(state[:_MOST].encode("utf-8", "surrogatepass")).digest()


def _redirect_uri(call: Call) -> str:
    return f"{call.services.config.public_url}{CALLBACK}"
