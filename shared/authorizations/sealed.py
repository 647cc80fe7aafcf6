"""How configurations and tokens are stored: under the vault's keys, bound to their row."""

from uuid import UUID

import msgspec

from shared.authorizations.kinds import Config, decode, encode
from shared.authorizations.tokens import Token
from shared.vault import KeyRing


def config_context(authorization_id: UUID) -> str:
    """What binds a configuration to its row."""
    return f"authorizations.config:{authorization_id}"


def token_context(authorization_id: UUID) -> str:
    """What binds a token to its row."""
    return f"authorizations.token:{authorization_id}"


def verifier_context(authorization_id: UUID) -> str:
    """What binds a PKCE verifier to the authorization that it is for."""
    return f"authorization_logins.verifier:{authorization_id}"


def seal_config(keys: KeyRing, authorization_id: UUID, config: Config) -> bytes:
    """A configuration as it is stored."""
    return keys.encrypt(encode(config), context=config_context(authorization_id))


def open_config(keys: KeyRing, authorization_id: UUID, kind: str, blob: bytes) -> Config:
    """A stored configuration.

    Raises:
        VaultError: see there.
    """
    return decode(kind, keys.decrypt(blob, context=config_context(authorization_id)))


def seal_token(keys: KeyRing, authorization_id: UUID, token: Token) -> bytes:
    """A token as it is stored."""
    return keys.encrypt(msgspec.json.encode(token), context=token_context(authorization_id))


def open_token(keys: KeyRing, authorization_id: UUID, blob: bytes) -> Token:
    """A stored token.

    Raises:
        VaultError: see there.
    """
    return msgspec.json.decode(keys.decrypt(blob, context=token_context(authorization_id)), type=Token)
