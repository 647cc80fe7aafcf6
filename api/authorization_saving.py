"""Making and deleting authorizations, each write with its audit row in the caller's transaction."""

from uuid import UUID

import msgspec

from api import authorization_login
from api.auditing import note
from api.authorization_draft import Draft
from api.call import Call, found
from shared.authorizations.kinds import AuthorizationCode, Config, provider_of
from shared.authorizations.provider import NEEDED, operator_provider, without_secret
from shared.authorizations.sealed import open_config, seal_config
from shared.db import Connection
from shared.errors import ConflictError, InvalidError
from shared.ids import Prefix, encode
from shared.store import authorizations
from shared.store.authorizations import AuthorizationRow, Seen
from shared.vault import VaultError


def of_the_operator(call: Call) -> Draft:
    """What is made without a body: a consent at the operator's own provider.

    Raises:
        InvalidError: if there is none, naming the settings.
    """
    provider = operator_provider(call.services.config)
    if provider is None:
        message = (
            f"There is no provider for an authorization without a body. Set {', '.join(NEEDED[:-1])} and {NEEDED[-1]} "
            "(and EDGEWISE_OAUTH2_CLIENT_SECRET if the client has one), or send name, kind and config."
        )
        raise InvalidError("provider_not_configured", message)
    return Draft(provider.provider or "", "oauth2_authorization_code", without_secret(provider))


async def create(connection: Connection, call: Call, made: Draft) -> tuple[AuthorizationRow, str | None]:
    """Store a new authorization; with the URL of the consent that it waits for, if it does."""
    waits = isinstance(made.config, AuthorizationCode)
    row = AuthorizationRow(
        id=call.services.mint.uuid(),
        name=made.name,
        kind=made.kind,
        provider=provider_of(made.config),
        user_id=call.principal.subject if waits else None,
        status="pending" if waits else "active",
        created_at=call.services.clock.now(),
        used_by=[],
    )
    config = seal_config(call.services.keys, row.id, made.config)
    row = await authorizations.add(connection, call.workspace_id, row, config)
    url = None
    if isinstance(made.config, AuthorizationCode):
        url = await authorization_login.begin(connection, call, row.id, made.config)
    await note(connection, call, "authorization.create", _name(row), before=None, after=_digested(row))
    return row, url


async def consent_again(connection: Connection, call: Call, authorization_id: UUID) -> str:
    """The URL of another consent for an authorization that is there; what it has stays until that is given.

    Raises:
        NotFoundError: if the workspace has no such authorization.
        ConflictError: if its kind has no consent.
        UnavailableError: if it can't be decrypted.
    """
    row = found(await authorizations.lock(connection, call.workspace_id, authorization_id), "authorization", call)
    seen = await authorizations.look(connection, call.workspace_id, authorization_id)
    config = None if seen is None else _opened(call, row, seen)
    if not isinstance(config, AuthorizationCode):
        message = f"An authorization of the kind {row.kind} needs no consent; make another one instead."
        raise ConflictError("no_consent", message)
    url = await authorization_login.begin(connection, call, row.id, config)
    seen_as = _digested(row)
    await note(connection, call, "authorization.consent_again", _name(row), before=seen_as, after=seen_as)
    return url


async def delete(connection: Connection, call: Call, authorization_id: UUID) -> None:
    """Delete an authorization with its tokens, used or not: steps that present it fail with ``authorization_revoked``.

    Raises:
        NotFoundError: if the workspace has no such authorization.
    """
    row = found(await authorizations.lock(connection, call.workspace_id, authorization_id), "authorization", call)
    await authorizations.remove(connection, row.id)
    await note(connection, call, "authorization.delete", _name(row), before=_digested(row), after=None)


def _opened(call: Call, row: AuthorizationRow, seen: Seen) -> Config | None:
    try:
        return None if seen.config is None else open_config(call.services.keys, row.id, row.kind, seen.config)
    except VaultError as error:
        raise authorization_login.unreadable(row.id, error) from error


def _name(row: AuthorizationRow) -> str:
    return encode(Prefix.AUTHORIZATION, row.id)


def _digested(row: AuthorizationRow) -> str:
    """What the audit keeps a digest of; secrets are no part of it, since a digest of a short one could be guessed."""
    parts = msgspec.structs.asdict(row)
    for passing in ("created_at", "used_by"):
        del parts[passing]
    return msgspec.json.encode(parts).decode()
