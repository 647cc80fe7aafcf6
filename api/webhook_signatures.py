"""Who sent a webhook request: the signature of its raw body, in the schemes of those who send many.

Sources: GitHub "Validating webhook deliveries"; Stripe "Verify webhook signatures manually"; Slack "Verifying requests
from Slack"; Standard Webhooks 1.0.0. Tests hold them against signatures that their own libraries make.
"""

import base64
import binascii
import hmac
from collections.abc import Callable, Iterable, Mapping
from typing import Final, NamedTuple

from shared.errors import SignatureError, UnavailableError
from shared.nodes.webhook_rules import Signature

#: Signatures of one request that are looked at; a sender gives two while it changes its secret.
_MOST: Final = 16
_MOST_DIGITS: Final = 15
_RETRY_AFTER: Final = 60


class Signed(NamedTuple):
    """What a request says about its signature.

    Attributes:
        content: the bytes that are signed.
        candidates: the signatures it brings; one right one is enough.
        timestamp: unix seconds, if the scheme has it.
    """

    content: bytes
    candidates: list[bytes]
    timestamp: int | None = None


_Headers = Mapping[str, str]


def verify(rule: Signature, headers: _Headers, body: bytes, secrets: Iterable[str], now: float) -> None:
    """Let a request pass that is signed with one of the secrets.

    Args:
        rule: the webhook's.
        headers: of the request, found whatever their case.
        body: as it came.
        secrets: of the vault; none if there is no such item, or it has expired.
        now: unix seconds, of Postgres's clock.

    Raises:
        SignatureError: ``signature_missing``, ``signature_expired`` or ``signature_wrong``.
        UnavailableError: ``webhook_secret_missing``, if there is no usable secret to check it with.
    """
    keys = [_key(rule, secret) for secret in secrets if secret.strip()]
    if not keys:
        raise _no_secret("there is no vault item of that name, or it is blank or has expired")
    signed = _SCHEMES[rule.scheme](rule, headers, body)
    if signed is None or not signed.candidates:
        raise SignatureError(
            "signature_missing", f"The request has no signature that can be read; {_WHERE[rule.scheme]}."
        )
    if signed.timestamp is not None and abs(now - signed.timestamp) > rule.tolerance:
        raise SignatureError(
            "signature_expired",
            f"The signature's timestamp differs by more than {rule.tolerance} seconds from now; sign it afresh.",
        )
    expected = [hmac.digest(key, signed.content, rule.algorithm) for key in keys]
    # All of them, always: how long it takes says nothing about which one was right, or how far.
    matches = [hmac.compare_digest(one, given) for one in expected for given in signed.candidates[:_MOST]]
    if not any(matches):
        raise SignatureError("signature_wrong", "The signature of the request does not fit its body and the secret.")


def signed_id(headers: _Headers) -> str:
    """The id that a request of Standard Webhooks, or of Svix, is signed with."""
    return headers.get(f"{_family(headers)}-id", "")


def signed_content(rule: Signature, headers: _Headers, body: bytes) -> bytes:
    """The bytes that a request which was verified is signed over."""
    signed = _SCHEMES[rule.scheme](rule, headers, body)
    return body if signed is None else signed.content


def _family(headers: _Headers) -> str:
    return "webhook" if "webhook-id" in headers else "svix"


def _key(rule: Signature, secret: str) -> bytes:
    if rule.scheme != "standard_webhooks":
        return secret.encode("utf-8", "surrogatepass")
    key = _base64(secret.removeprefix("whsec_"))
    if not key:
        raise _no_secret("the vault item is not whsec_ and base64, as Standard Webhooks has it")
    return key


def _no_secret(reason: str) -> UnavailableError:
    return UnavailableError(
        "webhook_secret_missing", f"The request's signature can't be checked: {reason}.", retry_after=_RETRY_AFTER
    )


def _github(_: Signature, headers: _Headers, body: bytes) -> Signed | None:
    """``X-Hub-Signature-256: sha256=<hex>``."""
    return Signed(body, _prefixed(headers.get("X-Hub-Signature-256"), "sha256=", _hex))


def _stripe(_: Signature, headers: _Headers, body: bytes) -> Signed | None:
    """``Stripe-Signature: t=<seconds>,v1=<hex>,v1=<hex>`` over ``<seconds>.<body>``."""
    parts = [part.strip().partition("=") for part in headers.get("Stripe-Signature", "").split(",")]
    stamps = [value for name, _, value in parts if name == "t"]
    timestamp = _seconds(stamps[0]) if stamps else None
    if timestamp is None:
        return None
    return Signed(stamps[0].encode() + b"." + body, _decoded([v for n, _, v in parts if n == "v1"], _hex), timestamp)


def _slack(_: Signature, headers: _Headers, body: bytes) -> Signed | None:
    """``X-Slack-Signature: v0=<hex>`` over ``v0:<X-Slack-Request-Timestamp>:<body>``."""
    stamp = headers.get("X-Slack-Request-Timestamp", "").strip()
    timestamp = _seconds(stamp)
    if timestamp is None:
        return None
    candidates = _prefixed(headers.get("X-Slack-Signature"), "v0=", _hex)
    return Signed(b"v0:" + stamp.encode() + b":" + body, candidates, timestamp)


def _standard(_: Signature, headers: _Headers, body: bytes) -> Signed | None:
    """``webhook-signature: v1,<base64> v1,<base64>`` over ``<webhook-id>.<webhook-timestamp>.<body>``."""
    name = _family(headers)
    identity, stamp = signed_id(headers), headers.get(f"{name}-timestamp", "").strip()
    timestamp = _seconds(stamp)
    if timestamp is None or not identity:
        return None
    parts = [part.partition(",") for part in headers.get(f"{name}-signature", "").split()]
    content = f"{identity}.{stamp}.".encode("utf-8", "surrogateescape") + body
    return Signed(content, _decoded([value for version, _, value in parts if version == "v1"], _base64), timestamp)


def _hmac(rule: Signature, headers: _Headers, body: bytes) -> Signed | None:
    """The header that the rule names, with its prefix and in its encoding."""
    return Signed(body, _prefixed(headers.get(rule.header), rule.prefix, _hex if rule.encoding == "hex" else _base64))


_SCHEMES: Final[Mapping[str, Callable[[Signature, _Headers, bytes], Signed | None]]] = {
    "github": _github,
    "stripe": _stripe,
    "slack": _slack,
    "standard_webhooks": _standard,
    "hmac": _hmac,
}
_WHERE: Final[Mapping[str, str]] = {
    "github": "GitHub's stands in X-Hub-Signature-256",
    "stripe": "Stripe's stands in Stripe-Signature",
    "slack": "Slack's stands in X-Slack-Signature, beside X-Slack-Request-Timestamp",
    "standard_webhooks": "it stands in webhook-signature, beside webhook-id and webhook-timestamp",
    "hmac": "it stands in the header that the webhook names, behind its prefix",
}


def _prefixed(header: str | None, prefix: str, decode: Callable[[str], bytes]) -> list[bytes]:
    """The signatures of a header that holds one, or several between commas."""
    values = [value.strip() for value in (header or "").split(",")]
    return _decoded([value[len(prefix) :] for value in values if value.startswith(prefix)], decode)


def _decoded(values: list[str], decode: Callable[[str], bytes]) -> list[bytes]:
    return [value for text in values[:_MOST] if (value := decode(text))]


def _hex(text: str) -> bytes:
    """The bytes; none if the text is not their hexadecimal form."""
    try:
        return binascii.unhexlify(text)
    except (binascii.Error, ValueError):
        return b""


def _base64(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return b""


def _seconds(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS else None
