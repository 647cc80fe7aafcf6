"""Authorizations: what a workflow presents to the APIs it calls.

What has to do with tokens takes a pool as well as a connection: each of these statements stands for itself, and none of
them waits for the world outside.
"""

from datetime import datetime
from typing import Final, NamedTuple
from uuid import UUID

import msgspec

from shared.db import Connection, Executes
from shared.queries import load

_SQL = load("authorizations")
#: What a list gives when no limit is asked for: everything.
_NO_LIMIT: Final = 2**31 - 1


class AuthorizationRow(msgspec.Struct, frozen=True, kw_only=True):
    """An authorization as it is listed, without its secrets.

    Attributes:
        status: ``pending`` (nobody has consented yet), ``active`` or ``revoked``.
        used_by: the workflows that use it.
    """

    id: UUID
    name: str | None
    kind: str
    provider: str | None
    user_id: str | None
    status: str
    created_at: datetime
    used_by: list[UUID]


class Seen(msgspec.Struct, frozen=True):
    """What a call must know of an authorization.

    Attributes:
        config, token: encrypted; see `shared.authorizations.sealed`.
        generation: rises with every token that is stored.
        due: the token is to be renewed before it is used.
        may_retry: it is revoked, and may be tried again by now.
        revoked_because: a sentence, if it is revoked.
    """

    kind: str
    status: str
    config: bytes | None
    token: bytes | None
    generation: int
    due: bool
    may_retry: bool
    revoked_because: str | None


class NewLogin(NamedTuple):
    """A consent to ask for.

    Attributes:
        state_hash: SHA-256 of the state.
        verifier: of PKCE, encrypted.
    """

    state_hash: bytes
    workspace_id: UUID
    authorization_id: UUID
    verifier: bytes


class Login(NamedTuple):
    """A consent that was asked for.

    Attributes:
        verifier, config: encrypted.
        expires_at: until when it may be given.
    """

    workspace_id: UUID
    authorization_id: UUID
    verifier: bytes
    config: bytes
    user_id: str | None
    expires_at: datetime


async def exists(connection: Connection, workspace_id: UUID, authorization_id: UUID) -> bool:
    """Whether the workspace has this authorization."""
    return bool(await connection.fetchval(_SQL["exists"], authorization_id, workspace_id))


async def hold(connection: Connection, workspace_id: UUID, authorization_id: UUID) -> bool:
    """Whether the workspace has this authorization, which then stays until the transaction ends."""
    return await connection.fetchval(_SQL["hold"], authorization_id, workspace_id) is not None


async def add(connection: Connection, workspace_id: UUID, row: AuthorizationRow, config: bytes) -> AuthorizationRow:
    """Store a new authorization; gives it back with the time Postgres gave it."""
    created_at = await connection.fetchval(
        _SQL["add"], row.id, workspace_id, row.name, row.kind, row.provider, row.user_id, row.status, config
    )
    return msgspec.structs.replace(row, created_at=created_at)


async def list_all(
    connection: Connection, workspace_id: UUID, before: UUID | None, limit: int | None
) -> list[AuthorizationRow]:
    """The authorizations of a workspace, newest first; those older than ``before``, at most ``limit``."""
    most = _NO_LIMIT if limit is None else limit
    return [AuthorizationRow(**record) for record in await connection.fetch(_SQL["list"], workspace_id, before, most)]


async def lock(connection: Connection, workspace_id: UUID, authorization_id: UUID) -> AuthorizationRow | None:
    """An authorization of a workspace; no workflow begins to use it before the transaction ends."""
    record = await connection.fetchrow(_SQL["lock"], authorization_id, workspace_id)
    return None if record is None else AuthorizationRow(**record)


async def remove(connection: Connection, authorization_id: UUID) -> None:
    """Delete a locked authorization; workflows and their versions go on naming it."""
    await connection.execute(_SQL["remove"], authorization_id)


async def look(connection: Executes, workspace_id: UUID, authorization_id: UUID) -> Seen | None:
    """What a call must know; None if the workspace has no such authorization (any more)."""
    records = await connection.fetch(_SQL["look"], authorization_id, workspace_id)
    return Seen(**records[0]) if records else None


async def lease(
    connection: Executes, authorization_id: UUID, generation: int, refresh_id: UUID, seconds: float
) -> bool | None:
    """Become the one who renews the token of a generation, for so long.

    Returns:
        None if another does, the generation is over, or it was revoked meanwhile; else whether a renewal of it was
        begun before and never ended.
    """
    records = await connection.fetch(_SQL["lease"], authorization_id, generation, refresh_id, seconds)
    return bool(records[0]["cut_off"]) if records else None


async def release(connection: Executes, authorization_id: UUID, refresh_id: UUID) -> None:
    """Give a lease back, so that another may try."""
    await connection.execute(_SQL["release"], authorization_id, refresh_id)


async def store(
    connection: Executes, authorization_id: UUID, generation: int, token: bytes, due_in: float | None
) -> bool:
    """Keep the token that follows a generation; False if another one follows it already.

    Args:
        connection: or a pool.
        authorization_id: whose token it is.
        generation: of the token before it.
        token: encrypted.
        due_in: seconds until it should be renewed; None if that cannot be told.
    """
    return bool(await connection.fetch(_SQL["store"], authorization_id, generation, token, due_in))


async def revoke(
    connection: Executes, authorization_id: UUID, generation: int, because: str, retry_in: float | None
) -> None:
    """Mark what a generation leads to as refused, unless another generation follows it by now.

    Args:
        connection: or a pool.
        authorization_id: which one.
        generation: of the token that was refused.
        because: a sentence for people.
        retry_in: seconds until it may be tried again; None: not before somebody consents anew.
    """
    await connection.execute(_SQL["revoke"], authorization_id, generation, because, retry_in)


async def retry(connection: Executes, authorization_id: UUID, generation: int) -> None:
    """Let the token of a revoked authorization be tried again, if it may be."""
    await connection.execute(_SQL["retry"], authorization_id, generation)


async def consent(connection: Connection, authorization_id: UUID, token: bytes, due_in: float | None) -> bool:
    """Keep the token of a consent, whatever was before; False if the authorization is gone."""
    return await connection.fetchval(_SQL["consent"], authorization_id, token, due_in) is not None


async def begin_login(connection: Connection, login: NewLogin, seconds: float) -> None:
    """Ask for a consent, which must come within so many seconds; those that never came are forgotten."""
    await connection.execute(_SQL["forget_logins"])
    await connection.execute(_SQL["begin_login"], *login, seconds)


async def take_login(connection: Connection, state_hash: bytes) -> Login | None:
    """The consent that is asked for by a state; it is asked for no more. None if it is not, or its time is over."""
    record = await connection.fetchrow(_SQL["take_login"], state_hash)
    return None if record is None else Login(*record)


async def return_login(connection: Connection, state_hash: bytes, login: Login) -> None:
    """Ask for a consent again that was taken and came to nothing; nothing if its authorization is gone."""
    await connection.execute(_SQL["return_login"], state_hash, login.authorization_id, login.verifier, login.expires_at)
