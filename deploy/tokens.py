"""Bearer tokens signed with the installation's own secret."""

import time
from collections.abc import Sequence

import jwt

from shared.config import Config

SCOPES = ("workflows:read", "workflows:write", "workflows:execute", "vault:read", "vault:write", "admin")


def issue(config: Config, *, workspace: str, scopes: Sequence[str], seconds: int, subject: str) -> str:
    """An HS256 token that the api of this configuration accepts.

    Args:
        config: whose secret signs, and whose issuer, audience and claim names are used.
        workspace: what the token is for.
        scopes: some of `SCOPES`.
        seconds: until it expires.
        subject: who it speaks for, in the audit trail.
    """
    now = int(time.time())
    claims: dict[str, str | int] = {
        "sub": subject,
        config.jwt_workspace_claim: workspace,
        config.jwt_scope_claim: " ".join(scopes),
        "iat": now,
        "exp": now + seconds,
    }
    if config.jwt_issuer:
        claims["iss"] = config.jwt_issuer
    if config.jwt_audience:
        claims["aud"] = config.jwt_audience
    return jwt.encode(claims, config.jwt_secret, algorithm="HS256")
