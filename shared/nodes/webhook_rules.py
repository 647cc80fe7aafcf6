"""What a webhook trigger can ask of requests, and answer them with; the api enforces it before there is a run."""

import re
from collections.abc import Iterator, Mapping
from ipaddress import ip_network
from typing import Annotated, Any, Final, Literal
from uuid import UUID

import msgspec
from msgspec import Meta

from shared import jsontext
from shared.graph.suggest import ended, shown
from shared.ids import Prefix, encode
from shared.templates import TemplateSyntaxError, parse
from shared.templates.fields import Rendering, templates_in

#: The headers whose value makes a repeat, if `dedupe` does not say otherwise; the first that is there counts.
DEDUPE_HEADERS: Final = ("Idempotency-Key", "webhook-id", "X-GitHub-Delivery")
#: What templates of `dedupe` and `response` see.
REQUEST_ROOTS: Final = ("body", "webhook_payload", "headers", "query", "method", "received_at")
_VAULT_REFERENCE: Final = re.compile(r"\{\{-?\s*vault\.([A-Za-z0-9_-]+)\s*-?\}\}")
_HEADER: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")
_MEDIA_TYPE: Final = re.compile(r"[A-Za-z0-9!#$&^_.+-]+/[A-Za-z0-9!#$&^_.+-]+(; ?[A-Za-z0-9-]+=[A-Za-z0-9._-]+)*")
_NO_BODY: Final = (204, 205)
#: Fields of parts in which templates may stand, or what looks like one.
_TEMPLATED: Final = ("signature.secret", "response.body")
#: How signatures are written, for messages.
_SHORT: Final = '"signature": "github", "secret": "<name of a vault item>"'
_HMAC: Final = '{"scheme": "hmac", "secret": "<name of a vault item>", "header": "X-Signature"}'
#: Fields that only generic signatures have.
_OF_HMAC: Final = ("header", "algorithm", "encoding", "prefix")


Scheme = Literal["github", "stripe", "slack", "standard_webhooks", "hmac"]
SecretName = Annotated[str, Meta(min_length=3, max_length=100)]
PerSecond = Annotated[float, Meta(ge=0.001, le=100_000)]


class Signature(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How requests are signed.

    Attributes:
        secret: the name of the vault item that holds the secret, or ``{{ vault.name }}``.
        tolerance: seconds by which a signed timestamp may differ from now; for `stripe`, `slack`, `standard_webhooks`.
        header, algorithm, encoding, prefix: of `hmac`: where the signature of the body stands, and how.
    """

    scheme: Scheme
    secret: SecretName
    tolerance: Annotated[int, Meta(ge=1, le=86_400)] = 300
    header: Annotated[str, Meta(max_length=100)] = ""
    algorithm: Literal["sha1", "sha256", "sha384", "sha512"] = "sha256"
    encoding: Literal["hex", "base64"] = "hex"
    prefix: Annotated[str, Meta(max_length=50)] = ""

    @property
    def secret_name(self) -> str:
        """The name of the vault item."""
        return secret_name(self.secret)


class RateLimit(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How many requests are taken.

    Attributes:
        per_second: in the long run.
        burst: at once, after a while without any; by default what comes in one second.
    """

    per_second: PerSecond
    burst: Annotated[int, Meta(ge=1, le=1_000_000)] | None = None

    @property
    def most_at_once(self) -> int:
        """The burst, whether given or not."""
        return self.burst or max(1, int(self.per_second))


class Response(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What an accepted request is answered with; templates in the body see the request and ``run_id``."""

    status: Annotated[int, Meta(ge=200, le=299)] = 200
    body: Any = None
    content_type: Annotated[str, Meta(max_length=100)] | None = None


class _Asked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is written as it is kept.

    Attributes:
        dedupe: whether a repeat is known by one of `DEDUPE_HEADERS`, or a template whose text makes it one.
        allowed_ips: addresses and ranges that requests may come from; empty for any.
        response: None for 202 with the run's id.
        handshake: whose question for the URL's owner is answered; that of Slack goes with its signature.
    """

    dedupe: bool | Annotated[str, Meta(max_length=10_000)] = True
    allowed_ips: Annotated[list[str], Meta(max_length=200)] | None = None
    response: Response | None = None
    handshake: Literal["slack", "microsoft_graph"] | None = None


class Rules(_Asked, frozen=True, forbid_unknown_fields=True):
    """What a version keeps of a webhook trigger.

    Attributes:
        signature: how requests must be signed; None for no signature.
        rate_limit: None for none.
    """

    signature: Signature | None = None
    rate_limit: RateLimit | None = None


class Written(_Asked, frozen=True, forbid_unknown_fields=True):
    """Configuration of a webhook trigger.

    Attributes:
        signature: how requests must be signed, or the name of the scheme, with `secret` beside it; None for no
            signature.
        secret: with the name of a scheme as `signature`: the name of the vault item that holds the secret, or
            ``{{ vault.name }}``.
        rate_limit: how many requests are taken, or a number of them per second; None for no limit.
    """

    signature: Signature | Scheme | None = None
    secret: SecretName | None = None
    rate_limit: RateLimit | PerSecond | None = None


def secret_name(text: str) -> str:
    """The name of the vault item that a ``secret`` means: the text itself, or that of ``{{ vault.name }}``."""
    reference = _VAULT_REFERENCE.fullmatch(text.strip())
    return reference.group(1) if reference else text


def stored(data: Mapping[str, Any]) -> str | None:
    """The rules among a node's ``data`` as JSON text, short forms written out; None if there are none."""
    given = {name: data[name] for name in Rules.__struct_fields__ if data.get(name) is not None}
    if isinstance(given.get("signature"), str):
        given["signature"] = {"scheme": given["signature"], "secret": data["secret"]}
    if isinstance(given.get("rate_limit"), (int, float)):
        given["rate_limit"] = {"per_second": given["rate_limit"]}
    return jsontext.encode(given) if given else None


def secret_of(data: Mapping[str, Any]) -> tuple[str, str] | None:
    """Where the name of the vault item stands that signatures are checked with, and the name; None if there is none."""
    signature = data.get("signature")
    if isinstance(signature, str):
        return "secret", secret_name(data["secret"])
    return None if signature is None else ("signature.secret", secret_name(signature["secret"]))


def replayed(request: str, delivery_id: UUID) -> str:
    """The payload of a run that a delivery is replayed in: what the request was, and ``replay_of``."""
    return f'{request.rstrip().removesuffix("}")},"replay_of":"{encode(Prefix.DELIVERY, delivery_id)}"}}'


def faults(data: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What is wrong with rules whose fields have the right types each, as (path, message)."""
    for part in ("signature", "rate_limit", "response"):
        yield from _premature(data.get(part), part)
    yield from _signature_faults(data)
    yield from _address_faults(data.get("allowed_ips"))
    yield from _response_faults(data.get("response"))
    yield from _template_faults(data)


def _premature(value: Any, part: str) -> Iterator[tuple[str, str]]:
    """Templates where what stands there must be known when the workflow is saved."""
    parts = {f"{part}.{name}": item for name, item in value.items()} if isinstance(value, dict) else {part: value}
    for path, item in parts.items():
        if path not in _TEMPLATED and next(templates_in(item, path, Rendering.VALUE), None) is not None:
            yield path, "It takes no template: it is settled when the workflow is saved."


def _signature_faults(data: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    signature = data.get("signature")
    scheme = signature.get("scheme") if isinstance(signature, dict) else signature
    yield from _handshake_faults(data.get("handshake"), scheme)
    if isinstance(signature, str):
        yield from _short_faults(signature, data.get("secret"))
    elif data.get("secret") is not None:
        yield "secret", f"It goes with the name of a scheme as signature: {_SHORT}."
    if isinstance(signature, dict):
        yield from _long_faults(signature)


def _handshake_faults(handshake: Any, scheme: Any) -> Iterator[tuple[str, str]]:
    if handshake == "slack" and scheme != "slack":
        yield "handshake", "Slack's challenge is answered only when its signature is checked: set signature to slack's."
    if handshake not in (None, "slack", "microsoft_graph"):
        yield "handshake", f'It must be "slack" or "microsoft_graph", not {shown(handshake)}.'


def _short_faults(scheme: str, secret: Any) -> Iterator[tuple[str, str]]:
    """Of a signature that is the name of a scheme."""
    if scheme == "hmac":
        yield "signature", f"hmac needs more than its name: {_HMAC}."
    elif secret is None and "{{" not in scheme:
        yield "secret", f"{shown(scheme)} needs the name of the vault item that holds its secret: {_SHORT}."
    yield from _secret_faults(secret, "secret")


def _long_faults(signature: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    scheme = signature.get("scheme")
    if scheme == "hmac" and not _HEADER.fullmatch(str(signature.get("header", ""))):
        yield "signature.header", "hmac needs the name of the header that the signature stands in."
    for name in _OF_HMAC:
        if scheme != "hmac" and name in signature:
            yield f"signature.{name}", f"{shown(scheme)} says this by itself; only hmac takes it."
    yield from _secret_faults(signature.get("secret"), "signature.secret")


def _secret_faults(secret: Any, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(secret, str) and "{{" in secret and not _VAULT_REFERENCE.fullmatch(secret.strip()):
        yield path, "It must be the name of a vault item, or {{ vault.name }} and nothing else."


def _address_faults(networks: Any) -> Iterator[tuple[str, str]]:
    if not isinstance(networks, list):
        if networks is not None:
            yield "allowed_ips", "It must be a list of addresses and ranges."
        return
    if not networks:
        yield "allowed_ips", "An empty list would let nobody in; leave it out to let everybody in."
    for index, text in enumerate(networks):
        try:
            ip_network(text)
        except ValueError as error:
            yield f"allowed_ips[{index}]", f"{shown(text)} is no address and no range such as 192.0.2.0/24: {error}."


def _response_faults(response: Any) -> Iterator[tuple[str, str]]:
    if not isinstance(response, dict):
        return
    if response.get("status") in _NO_BODY and response.get("body") is not None:
        yield "response.body", f"A response with status {response['status']} has no body."
    kind = response.get("content_type")
    if isinstance(kind, str) and not _MEDIA_TYPE.fullmatch(kind):
        yield "response.content_type", f"{shown(kind)} is no media type such as text/plain; charset=utf-8."


def _template_faults(data: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Templates that cannot be read, or name what there is not when a request comes."""
    dedupe = data.get("dedupe")
    if isinstance(dedupe, str) and next(templates_in(dedupe, "dedupe", Rendering.TEXT), None) is None:
        yield (
            "dedupe",
            "It must be true, false or a template such as {{ body.id }}: a constant makes all requests repeats.",
        )
    response = data.get("response")
    body = response.get("body") if isinstance(response, dict) else None
    for value, path, roots in (
        (dedupe, "dedupe", REQUEST_ROOTS),
        (body, "response.body", (*REQUEST_ROOTS, "run_id")),
    ):
        try:
            for place, source in templates_in(value, path, Rendering.VALUE):
                wrong = sorted(parse(source).roots - set(roots))
                if wrong:
                    yield place, f"There is no {shown(wrong[0])} here; there are {', '.join(roots)}."
        except TemplateSyntaxError as error:
            yield path, ended(f"The template cannot be read: {error}")
