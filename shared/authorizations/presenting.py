"""What is put into a request: one header, of whichever kind."""

import base64
from typing import Final, TypeAlias

from shared.authorizations.kinds import Basic, Bearer, OAuth2, Static
from shared.authorizations.tokens import Token
from shared.nodes.base import Grant

_AUTHORIZATION: Final = "Authorization"
Secrets: TypeAlias = tuple[str, ...]


def of_static(config: Static) -> Grant:
    """The grant of a configuration that holds the secret itself."""
    header, secrets = _static_header(config)
    return Grant(_base(config.base_url), header, secrets)


def of_token(config: OAuth2, token: Token, generation: int, *, renewed: bool) -> Grant:
    """The grant of a token."""
    return Grant(
        _base(config.base_url),
        (_AUTHORIZATION, f"Bearer {token.access_token}"),
        (token.access_token,),
        renewable=True,
        generation=generation,
        renewed=renewed,
    )


def _static_header(config: Static) -> tuple[tuple[str, str], Secrets]:
    if isinstance(config, Bearer):
        return (_AUTHORIZATION, f"Bearer {config.token}"), (config.token,)
    if isinstance(config, Basic):
        pair = base64.b64encode(f"{config.username}:{config.password}".encode()).decode()
        return (_AUTHORIZATION, f"Basic {pair}"), (config.password, pair)
    return (config.name, config.value), (config.value,)


def _base(url: str) -> str:
    return url.rstrip("/")
