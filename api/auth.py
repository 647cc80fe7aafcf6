"""Bearer tokens: JWTs with HS256, verified once and remembered for a minute; and API keys, looked up twice a second."""

import time
from collections.abc import Callable, Mapping
from typing import Any, Final
from uuid import UUID

import asyncpg
import jwt
from aiohttp import hdrs

from api.access import Principal, Scope
from api.api_keys import API_KEY_HEADER, KEY_PREFIX, ApiKeys, not_allowed, refused
from api.bounded import BoundedCache
from api.database import writing
from api.text import storable
from shared.config import Config
from shared.errors import AuthenticationError, PermissionDeniedError
from shared.ids import Mint
from shared.store import workspaces

_ALGORITHMS: Final = ["HS256"]
_LEEWAY: Final = 60.0
#: The year 9999, past which an `exp` is cut: JSON has integers that no clock can be compared with.
_LATEST: Final = 253_402_300_799
_REMEMBERED: Final = 60.0
_CLAIM_CHARACTERS: Final = 128
_LONGEST_TOKEN: Final = 8192


class Gatekeeper:
    """Tells who is calling from the ``Authorization`` or ``X-Api-Key`` header.

    Args:
        pool: where the workspace of a claim is looked up, or made at its first valid token.
        clock: unix time in seconds.
    """

    def __init__(self, config: Config, pool: asyncpg.Pool, mint: Mint, clock: Callable[[], float] = time.time) -> None:
        self._config = config
        self._pool = pool
        self._mint = mint
        self._clock = clock
        self._known: BoundedCache[str, Principal] = BoundedCache(4096, _REMEMBERED)
        self._workspaces: BoundedCache[str, UUID] = BoundedCache(4096, 3600)
        self._keys = ApiKeys(pool)

    async def admit(self, headers: Mapping[str, str], needed: Scope, *, api_key: bool) -> Principal:
        """Who is calling, if they may.

        Args:
            headers: of the request. ``Authorization`` counts before ``X-Api-Key``.
            needed: the scope of the route.
            api_key: whether the route lets API keys in.

        Raises:
            AuthenticationError: ``token_missing``, ``token_expired`` or ``token_invalid``.
            PermissionDeniedError: ``workspace_missing``, ``scope_missing`` or ``api_key_not_allowed``.
        """
        token = _token(headers)
        if token.startswith(KEY_PREFIX):
            principal = await self._keys.principal(token)
            if not api_key:
                raise not_allowed()
        else:
            principal = self._known.get(token) or await self._verify(token)
        principal.require(needed)
        return principal

    async def _verify(self, token: str) -> Principal:
        claims = self._claims(token)
        subject = claims["sub"]
        if not storable(subject):
            raise AuthenticationError("token_invalid", "The token is not valid: its sub is not a text to be stored.")
        workspace_id = await self._workspace(claims)
        principal = Principal(subject, workspace_id, _scopes(claims.get(self._config.jwt_scope_claim)))
        left = min(int(claims["exp"]), _LATEST) + _LEEWAY - self._clock()
        self._known.put(token, principal, seconds=left)
        return principal

    def _claims(self, token: str) -> Mapping[str, Any]:
        config = self._config
        try:
            claims: dict[str, Any] = jwt.decode(
                token,
                config.jwt_secret,
                algorithms=_ALGORITHMS,
                issuer=config.jwt_issuer or None,
                audience=config.jwt_audience or None,
                leeway=_LEEWAY,
                options={"require": ["exp", "sub"], "verify_aud": bool(config.jwt_audience), "verify_iat": False},
            )
        except jwt.ExpiredSignatureError:
            raise AuthenticationError("token_expired", "The token has expired; get a new one.") from None
        except (jwt.PyJWTError, ValueError, TypeError, OverflowError, RecursionError) as error:
            raise AuthenticationError("token_invalid", f"The token is not valid: {_reason(error)}.") from None
        return claims

    async def _workspace(self, claims: Mapping[str, Any]) -> UUID:
        name = self._config.jwt_workspace_claim
        claim = claims.get(name)
        if not isinstance(claim, str) or not 1 <= len(claim) <= _CLAIM_CHARACTERS or not storable(claim):
            rule = f"a text of 1 to {_CLAIM_CHARACTERS} characters"
            raise PermissionDeniedError(
                "workspace_missing", f"The token must name its workspace in the claim {name!r}, {rule}."
            )
        known = self._workspaces.get(claim)
        if known is None:
            async with writing(self._pool) as connection:
                known = await workspaces.find_or_add(connection, claim, self._mint.uuid())
            self._workspaces.put(claim, known)
        return known


def _token(headers: Mapping[str, str]) -> str:
    """What a request brings: a JWT or an API key."""
    key = headers.get(API_KEY_HEADER)
    if key is not None and hdrs.AUTHORIZATION not in headers:
        if not key.startswith(KEY_PREFIX) or len(key) > _LONGEST_TOKEN or not key.isascii():
            raise refused()
        return key
    return _bearer(headers.get(hdrs.AUTHORIZATION))


def _bearer(header: str | None) -> str:
    scheme, _, token = (header or "").partition(" ")
    token = token.strip()
    if scheme.lower() != "bearer" or not token:
        raise AuthenticationError("token_missing", "This needs a token: Authorization: Bearer <JWT or API key>.")
    if len(token) > _LONGEST_TOKEN or not token.isascii():
        raise AuthenticationError("token_invalid", "The token is not valid: it is not a JWT.")
    return token


def _scopes(claim: Any) -> frozenset[str]:
    """The scopes of a claim that is a text of words or a list of them; anything else holds none."""
    if isinstance(claim, str):
        return frozenset(claim.split())
    if isinstance(claim, list):
        return frozenset(scope for scope in claim if isinstance(scope, str))
    return frozenset()


_REASONS: Final[Mapping[type[Exception], str]] = {
    jwt.InvalidSignatureError: "its signature does not match",
    jwt.InvalidAlgorithmError: "its algorithm must be HS256",
    jwt.InvalidIssuerError: "its issuer is not the one that is trusted here",
    jwt.InvalidAudienceError: "its audience is not this service",
    jwt.ImmatureSignatureError: "it is not valid yet",
    jwt.exceptions.InvalidSubjectError: "its sub must be a text",
}


def _reason(error: Exception) -> str:
    if isinstance(error, jwt.MissingRequiredClaimError):
        return f"it lacks the claim {error.claim}"
    return next((reason for kind, reason in _REASONS.items() if isinstance(error, kind)), "it is not a JWT")
