"""The fields of an authorization as callers send and receive them."""

from typing import Annotated, Any, Final

import msgspec
from msgspec import UNSET, Meta, UnsetType

from shared.authorizations.kinds import KINDS, Kind

_Name = Annotated[str, Meta(min_length=1, max_length=255, description="a text of 1 to 255 characters")]
_Kind = Annotated[Kind, Meta(description=f"one of {', '.join(KINDS)}")]
_Config = Annotated[
    dict[str, Any],
    Meta(
        description=(
            "an object of what its kind needs: base_url; token (bearer), username and password (basic), name and value "
            "(header); token_url, client_id, client_secret, scopes, audience, client_auth, provider (both kinds of "
            "oauth2); authorize_url and parameters besides (oauth2_authorization_code)"
        )
    ),
]


class NewAuthorization(msgspec.Struct, frozen=True):
    """What an authorization is made of; without a body it is one of the operator's own provider."""

    name: _Name
    kind: _Kind
    config: _Config


#: Fields of the object that bodies may repeat and that mean nothing there.
READ_ONLY: Final = frozenset({"id", "user_id", "provider", "status", "created_at", "used_by", "authorization_url"})


class Authorization(msgspec.Struct, frozen=True, kw_only=True):
    """The authorization object: never a token.

    Attributes:
        user_id: who asked for the consent, where there is one.
        provider: the name of an OAuth2 provider.
        status: ``pending``, ``active`` or ``revoked``.
        used_by: the ids of the workflows that use it.
        authorization_url: where a person consents; only in the answer that made it.
    """

    id: str
    user_id: str | None
    provider: str | None
    status: str
    created_at: str
    name: str | None
    kind: str
    used_by: list[str]
    authorization_url: str | UnsetType = UNSET


class AuthorizationUrl(msgspec.Struct, frozen=True):
    """Where a person consents, once and for ten minutes."""

    authorization_url: str
