"""The requests of OAuth2 as texts: the URL of a consent, the form and the headers of a token request. Pure."""

import base64
from collections.abc import Mapping
from hashlib import sha256
from typing import Final
from urllib.parse import quote, urlencode

#: Names of the consent's query that the flow sets itself.
OWN_PARAMETERS: Final = frozenset(
    ("response_type", "client_id", "redirect_uri", "scope", "state", "code_challenge", "code_challenge_method")
)


def consent_url(authorize_url: str, parameters: Mapping[str, str | None]) -> str:
    """The URL at which a person consents (RFC 6749, 4.1.1). Its own query is kept, empty parameters are not."""
    given = {name: value for name, value in parameters.items() if value}
    return f"{authorize_url}{'&' if '?' in authorize_url else '?'}{urlencode(given)}"


def challenge_of(verifier: str) -> str:
    """The S256 challenge of a PKCE verifier (RFC 7636, 4.2)."""
    return base64.urlsafe_b64encode(sha256(verifier.encode("ascii")).digest()).rstrip(b"=").decode()


def token_form(fields: Mapping[str, str | None]) -> bytes:
    """The form of a token request (RFC 6749, 4.1.3, 4.4.2 and 6), without fields that are empty."""
    return urlencode({name: value for name, value in fields.items() if value}).encode()


def basic_header(client_id: str, client_secret: str) -> str:
    """The header by which a client shows who it is; both parts are form-encoded first (RFC 6749, 2.3.1).

    A blank becomes %20 and not a plus sign: all servers that decode read that, and not all read the other.
    """
    text = f"{quote(client_id, safe='')}:{quote(client_secret, safe='')}"
    return f"Basic {base64.b64encode(text.encode()).decode()}"
