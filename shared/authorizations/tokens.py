"""Asking a provider for tokens, through the client for everything that leaves."""

import asyncio
import math
from collections.abc import Mapping
from typing import Any, Final, Literal, NamedTuple
from urllib.parse import parse_qs, quote, quote_plus

import msgspec

from shared import jsontext
from shared.authorizations.kinds import AuthorizationCode, ClientCredentials, OAuth2, scopes_of
from shared.authorizations.requests import basic_header, token_form
from shared.egress.interface import Egress, EgressResponse
from shared.errors import StepFailedError
from shared.redaction import BLANK, Redactor
from shared.secret_forms import LEAST

#: Seconds a provider has for its answer.
PATIENCE: Final = 15.0
_MAX_BYTES: Final = 256 * 1024
#: A token is renewed at most so many seconds before it ends.
_LEEWAY: Final = 60.0
_LEAST: Final = 5.0
_MOST: Final = 10 * 365 * 86_400.0
#: Errors after which the same request cannot succeed: what it shows is not valid (RFC 6749, 5.2).
_REFUSED: Final = frozenset({"invalid_grant", "invalid_client", "unauthorized_client"})
_SHOWN: Final = 300
_LEAST_SECRET: Final = 4

Outcome = Literal["ok", "revoked", "refused", "unavailable"]


class Token(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a provider gave.

    Attributes:
        expires_in: seconds, as the provider said; None if it did not.
    """

    access_token: str
    refresh_token: str | None = None
    expires_in: float | None = None

    def due_in(self, *, renewable: bool) -> float | None:
        """Seconds until it should be renewed; None if that cannot be told.

        Ahead of its end by a minute, or by a tenth of its time if that is less; one that cannot be renewed is used to
        its end. Never at once, whatever a provider says.
        """
        if self.expires_in is None:
            return None
        leeway = min(_LEEWAY, self.expires_in / 10) if renewable else 0.0
        return max(self.expires_in - leeway, _LEAST)

    def __repr__(self) -> str:
        """Nothing of it."""
        return "Token(...)"


class TokenError(StepFailedError):
    """A provider gave no token.

    Codes: ``authorization_revoked`` (what was shown is not valid any more), ``token_refused`` (the request is wrong),
    ``token_unavailable`` (the provider was not reached, or is in trouble).

    Attributes:
        error: the provider's code, if it gave one.
    """

    error: str | None = None


async def by_code(egress: Egress, config: AuthorizationCode, code: str, verifier: str, redirect_uri: str) -> Token:
    """The token of a consent.

    Raises:
        TokenError: if there is none.
    """
    fields = {
        "grant_type": "authorization_code",
        "code": code,
        "redirect_uri": redirect_uri,
        "code_verifier": verifier,
    }
    return await _ask(egress, config, fields)


async def by_refresh(egress: Egress, config: AuthorizationCode, refresh_token: str) -> Token:
    """The token after this one; it has the same refresh token unless the provider gave another.

    Raises:
        TokenError: if there is none.
    """
    token = await _ask(egress, config, {"grant_type": "refresh_token", "refresh_token": refresh_token})
    return msgspec.structs.replace(token, refresh_token=token.refresh_token or refresh_token)


async def by_client(egress: Egress, config: ClientCredentials) -> Token:
    """A token of a client that acts for itself.

    Raises:
        TokenError: if there is none.
    """
    fields = {"grant_type": "client_credentials", "scope": " ".join(scopes_of(config)), "audience": config.audience}
    return msgspec.structs.replace(await _ask(egress, config, fields), refresh_token=None)


async def _ask(egress: Egress, config: OAuth2, fields: Mapping[str, str | None]) -> Token:
    headers = [("Content-Type", "application/x-www-form-urlencoded"), ("Accept", "application/json")]
    form = dict(fields)
    if config.client_secret is None:
        form["client_id"] = config.client_id
    elif config.client_auth == "post":
        form |= {"client_id": config.client_id, "client_secret": config.client_secret}
    else:
        headers.append(("Authorization", basic_header(config.client_id, config.client_secret)))
    try:
        response = await egress.request(
            "POST",
            config.token_url,
            headers=headers,
            body=token_form(form),
            timeout=PATIENCE,
            follow_redirects=False,  # credentials stand in the form
            max_bytes=_MAX_BYTES,
        )
    except StepFailedError as error:
        raise _unreached(error) from None
    answer = _fields(response)
    if not 200 <= response.status < 300 or "error" in answer or "access_token" not in answer:
        # In a thread: the forms of a long secret take a tenth of a second.
        raise await asyncio.to_thread(_refusal, response.status, answer, _Hidden.of(config, fields))
    return _token(answer)


class _Hidden(NamedTuple):
    """What a provider was shown and nobody else may see.

    Attributes:
        texts: as they are kept.
        coded: as the request had them.
    """

    texts: list[str]
    coded: list[str]

    @classmethod
    def of(cls, config: OAuth2, fields: Mapping[str, str | None]) -> "_Hidden":
        """That of a token request."""
        given = (config.client_secret, *(fields.get(name) for name in ("refresh_token", "code", "code_verifier")))
        texts = [text for text in given if text]
        coded = [*(quote_plus(text) for text in texts), *(quote(text, safe="") for text in texts)]
        if config.client_secret:
            coded.append(basic_header(config.client_id, config.client_secret).removeprefix("Basic "))
        return cls(texts, coded)

    def blanked(self, text: str) -> str:
        """The text without them, in whatever form; of very short ones only in those of the request."""
        text = Redactor(self.texts, self.coded).text(text)
        for short in (*self.texts, *self.coded):
            if _LEAST_SECRET <= len(short) < LEAST:
                text = text.replace(short, BLANK)
        return text


def _unreached(error: StepFailedError) -> TokenError:
    passing = error.category in ("network", "timeout")
    code = "token_unavailable" if passing else "token_refused"
    message = f"The provider gave no token. {error.message}"
    return TokenError(code, message, category=error.category, retry_in=error.retry_in)


def _token(answer: Mapping[str, Any]) -> Token:
    access_token, kind = answer["access_token"], answer.get("token_type", "bearer")
    if not _is_secret(access_token):
        raise TokenError("token_refused", "The provider's access_token is no text that fits into a header.")
    if str(kind).lower() != "bearer":
        raise TokenError("token_refused", "The provider gave a token of another type than bearer.")
    refresh_token = answer.get("refresh_token")
    return Token(access_token, refresh_token if _is_secret(refresh_token) else None, _seconds(answer.get("expires_in")))


def _is_secret(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value) <= 65_536 and value.isprintable() and value.isascii()


def _seconds(value: Any) -> float | None:
    """The time that a token lives, also where it came as text."""
    try:
        seconds = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return min(max(seconds, 0.0), _MOST) if math.isfinite(seconds) else None


def _fields(response: EgressResponse) -> dict[str, Any]:
    """The answer's fields: a JSON object, or a form, which some providers still send."""
    try:
        value = jsontext.decode(response.body)
    except (ValueError, RecursionError):
        text = response.body.decode("utf-8", "replace")
        try:
            return {name: values[0] for name, values in parse_qs(text, max_num_fields=50).items()}
        except ValueError:
            return {}
    return value if isinstance(value, dict) else {}


def _refusal(status: int, answer: Mapping[str, Any], hidden: _Hidden) -> TokenError:
    told, more = (_clean(answer.get(name), hidden) for name in ("error", "error_description"))
    what = f"{told} ({more})" if told and more else told or f"status {status}"
    message = f"The provider gave no token: {what}."
    if told in _REFUSED:
        error = TokenError("authorization_revoked", message, http_status=status)
    elif status == 429 or status >= 500:
        category = "429" if status == 429 else "5xx"
        error = TokenError("token_unavailable", message, category=category, http_status=status)
    else:
        error = TokenError("token_refused", message, http_status=status)
    error.error = told or None
    return error


def _clean(value: Any, hidden: _Hidden) -> str:
    """What a provider says, fit to be shown: short, printable, without what was sent to it in any form."""
    if not isinstance(value, str):
        return ""
    return "".join(char if char.isprintable() else " " for char in hidden.blanked(value))[:_SHOWN].strip().rstrip(".")
