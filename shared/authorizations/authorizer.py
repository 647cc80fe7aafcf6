"""Grants of authorizations: read where they are stored, renewed by one process at a time.

Nothing is kept in memory but what is under way: Postgres is asked for each call, so what one process renews or finds
revoked every other one knows.

A renewal goes like this. Whoever finds the token due, or was refused with it, tries to write a *lease* into the row
(one statement, no transaction stays open). The one who gets it asks the provider, for 15 seconds at most, and stores
the answer as the next *generation*; the others look at the row until there is one, or the lease is free again. A lease
lasts 30 seconds by Postgres's clock: a worker that dies in between holds nobody up for longer. What is stored is
guarded by the generation, so a late answer never replaces a later token.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple, TypeVar
from uuid import UUID

import asyncpg
import structlog

from shared.authorizations import tokens
from shared.authorizations.kinds import AuthorizationCode, Config, OAuth2
from shared.authorizations.presenting import of_static, of_token
from shared.authorizations.provider import OperatorProvider, completed
from shared.authorizations.sealed import open_config, open_token, seal_token
from shared.authorizations.tokens import Token, TokenError
from shared.db import CONNECTION_ERRORS, PASSING_ERRORS
from shared.egress.client import EgressClient
from shared.errors import StepFailedError
from shared.ids import Prefix, encode
from shared.metrics import TOKEN_RENEWALS
from shared.nodes.base import Grant
from shared.store import authorizations as store
from shared.store.authorizations import Seen
from shared.vault import KeyRing, VaultError

_log = structlog.get_logger(__name__)

#: Seconds for which one process may renew a token: twice what its provider has for the answer.
LEASE: Final = 2 * tokens.PATIENCE
#: Seconds after which what was refused may be tried again, where nobody's consent is needed for that.
RETRY_IN: Final = 60.0
#: Seconds between looks at a row that somebody else renews: at first, and at most.
_LOOK: Final = 0.05
_LOOK_MOST: Final = 0.5
#: Seconds between attempts to reach Postgres, and for how long an answer that could not be stored is kept for it.
_AGAIN: Final = 0.5
_KEEP: Final = 120.0

_T = TypeVar("_T")


class Place(NamedTuple):
    """An authorization of a workspace; implements `shared.nodes.base.Authorization` with its `Authorizer`."""

    authorizer: "Authorizer"
    workspace_id: UUID
    authorization_id: UUID

    async def grant(self, refused: Grant | None = None) -> Grant:
        """See `shared.nodes.base.Authorization.grant`."""
        return await self.authorizer.grant(self, refused)

    @property
    def name(self) -> str:
        """The id as callers know it."""
        return encode(Prefix.AUTHORIZATION, self.authorization_id)


class Authorizer:
    """Gives grants. Belongs to the event loop it is used on.

    Args:
        pool: of connections.
        keys: under which configurations and tokens are stored.
        egress: the client that reaches providers.
        new_id: makes the ids of leases.
        provider: the operator's own, if there is one.
    """

    def __init__(
        self,
        pool: asyncpg.Pool,
        keys: KeyRing,
        egress: EgressClient,
        new_id: Callable[[], UUID],
        provider: OperatorProvider | None = None,
    ) -> None:
        self._pool = pool
        self._keys = keys
        self._egress = egress
        self._new_id = new_id
        self._provider = provider
        self._renewals: dict[tuple[UUID, int], asyncio.Task[None]] = {}

    def of(self, workspace_id: UUID, authorization_id: UUID) -> Place:
        """An authorization of a workspace; whether there is one shows with its first grant."""
        return Place(self, workspace_id, authorization_id)

    async def aclose(self, seconds: float) -> None:
        """Wait for renewals that are under way, so that no token is lost that a provider has given; at most so long."""
        if self._renewals:
            await asyncio.wait(list(self._renewals.values()), timeout=seconds)
        for task in self._renewals.values():
            task.cancel()

    async def grant(self, place: Place, refused: Grant | None = None) -> Grant:
        """See `shared.nodes.base.Authorization.grant`."""
        while True:
            seen = await self._look(place)
            config = self._config(place, seen)
            if not isinstance(config, OAuth2):
                return of_static(config)
            token = self._token(place, seen)
            is_stale = refused is not None and refused.generation >= seen.generation
            if refused is not None and is_stale and refused.renewed:
                await self._refuse(place, seen, "The API refused a token that was just renewed (401).")
            elif token is not None and not seen.due and not is_stale and seen.status == "active":
                return of_token(config, token, seen.generation, renewed=refused is not None)
            else:
                await self._renewed(place, seen, config, token)

    async def _look(self, place: Place) -> Seen:
        """The authorization, if anything may be presented.

        Raises:
            StepFailedError: if not.
        """
        seen = await _patiently(lambda: store.look(self._pool, place.workspace_id, place.authorization_id))
        if seen is None or seen.config is None:
            raise revoked(place, "It was deleted.")
        if seen.status == "pending":
            message = f"Nobody has consented to the authorization {place.name} yet; open its authorization_url."
            raise StepFailedError("authorization_pending", message)
        if seen.status == "revoked" and not seen.may_retry:
            raise revoked(place, seen.revoked_because or "")
        return seen

    def _config(self, place: Place, seen: Seen) -> Config:
        try:
            config = open_config(self._keys, place.authorization_id, seen.kind, seen.config or b"")
        except VaultError as error:
            raise _unreadable(place, error) from None
        return completed(config, self._provider)

    def _token(self, place: Place, seen: Seen) -> Token | None:
        try:
            return None if seen.token is None else open_token(self._keys, place.authorization_id, seen.token)
        except VaultError as error:
            raise _unreadable(place, error) from None

    async def _refuse(self, place: Place, seen: Seen, because: str, retry_in: float | None = RETRY_IN) -> None:
        TOKEN_RENEWALS.labels("revoked").inc()
        await _patiently(lambda: store.revoke(self._pool, place.authorization_id, seen.generation, because, retry_in))

    async def _renewed(self, place: Place, seen: Seen, config: OAuth2, token: Token | None) -> None:
        """Wait until the row tells something else than was seen.

        Raises:
            StepFailedError: if there is no other token.
        """
        if isinstance(config, AuthorizationCode) and (token is None or token.refresh_token is None):
            await self._without_renewal(place, seen)
            return
        key = (place.authorization_id, seen.generation)
        task = self._renewals.get(key)
        if task is None:
            refresh_token = None if token is None else token.refresh_token
            task = self._renewals[key] = asyncio.create_task(self._renewal(place, seen, config, refresh_token))
            task.add_done_callback(lambda done: self._ended(key, done))
        await asyncio.shield(task)  # it goes on when a step is aborted: the provider may have changed the token already

    def _ended(self, key: tuple[UUID, int], task: "asyncio.Task[None]") -> None:
        self._renewals.pop(key, None)
        if not task.cancelled():
            task.exception()  # those who wait for it raise it; perhaps nobody does any more

    async def _without_renewal(self, place: Place, seen: Seen) -> None:
        """A token that cannot be renewed is over, or was refused; one that was refused a while ago is tried again."""
        if seen.status == "revoked":
            await _patiently(lambda: store.retry(self._pool, place.authorization_id, seen.generation))
        elif seen.due or seen.token is None:
            await self._refuse(place, seen, "Its token is over, and the provider gave none to renew it with.", None)
        else:
            because = "The API refused its token (401), and the provider gave none to renew it with."
            await self._refuse(place, seen, because)

    async def _renewal(self, place: Place, seen: Seen, config: OAuth2, refresh_token: str | None) -> None:
        """Renew the token, or wait until somebody has."""
        lease_id, pause = self._new_id(), _LOOK
        while True:
            asked = time.monotonic()
            cut_off = await _patiently(
                lambda: store.lease(self._pool, place.authorization_id, seen.generation, lease_id, LEASE)
            )
            if cut_off is not None and time.monotonic() - asked < LEASE - tokens.PATIENCE:
                await self._renew(place, seen, config, refresh_token, lease_id, cut_off=cut_off)
                return
            if cut_off is not None:  # the answer took so long that others may take over while the provider is asked
                await _patiently(lambda: store.release(self._pool, place.authorization_id, lease_id))
                return
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, _LOOK_MOST)
            now = await _patiently(lambda: store.look(self._pool, place.workspace_id, place.authorization_id))
            if now is None or _is_news(seen, now):
                return

    async def _renew(
        self,
        place: Place,
        seen: Seen,
        config: OAuth2,
        refresh_token: str | None,
        lease_id: UUID,
        *,
        cut_off: bool,
    ) -> None:
        try:
            token = await self._ask(place, config, refresh_token)
        except TokenError as error:
            if error.code == "authorization_revoked":
                because = error.message + (_CUT_OFF if cut_off and refresh_token else "")
                # A client's own credentials may be put right by its provider; a consent that ended is given anew.
                final = error.error == "invalid_grant" and refresh_token is not None
                await self._refuse(place, seen, because, None if final else RETRY_IN)
                return
            TOKEN_RENEWALS.labels("refused" if error.code == "token_refused" else "unavailable").inc()
            await _patiently(lambda: store.release(self._pool, place.authorization_id, lease_id))
            raise
        await self._keep(place, seen, token)

    async def _ask(self, place: Place, config: OAuth2, refresh_token: str | None) -> Token:
        egress = self._egress.of(place.workspace_id.int)
        if isinstance(config, AuthorizationCode):
            return await tokens.by_refresh(egress, config, refresh_token or "")
        return await tokens.by_client(egress, config)

    async def _keep(self, place: Place, seen: Seen, token: Token) -> None:
        """Store a token. Until that has happened nobody has it but this process."""
        blob = seal_token(self._keys, place.authorization_id, token)
        due_in = token.due_in(renewable=True)
        async with asyncio.timeout(_KEEP):
            kept = await _patiently(
                lambda: store.store(self._pool, place.authorization_id, seen.generation, blob, due_in)
            )
        TOKEN_RENEWALS.labels("ok").inc()
        if not kept:
            _log.info("a token was renewed while another one was stored", authorization=place.name)


_CUT_OFF: Final = (
    " A renewal before this one was cut off: if the provider had answered it, the token of that answer is lost."
)


def _is_news(seen: Seen, now: Seen) -> bool:
    return (seen.generation, seen.status, seen.may_retry) != (now.generation, now.status, now.may_retry)


def revoked(place: Place, because: str) -> StepFailedError:
    """The failure of a step whose authorization can't be used any more."""
    message = f"The authorization {place.name} is revoked. {because}".rstrip()
    return StepFailedError("authorization_revoked", message, category="authorization")


def _unreadable(place: Place, error: VaultError) -> StepFailedError:
    return StepFailedError("authorization_unreadable", f"The authorization {place.name} can't be read. {error.message}")


async def _patiently(work: Callable[[], Awaitable[_T]]) -> _T:
    """Do something with Postgres, again and again while it is away; a step's own timeout ends that."""
    while True:
        try:
            return await work()
        except (*CONNECTION_ERRORS, *PASSING_ERRORS) as error:
            _log.warning("the database did not answer; trying again", reason=type(error).__name__)
            await asyncio.sleep(_AGAIN)
