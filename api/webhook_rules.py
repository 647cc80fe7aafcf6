"""The rules of one webhook, ready to be held against requests; and what templates about a request come to."""

import time
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from hashlib import sha256
from ipaddress import ip_network
from typing import Any, Final, NamedTuple

import msgspec
from aiohttp import web

from api.client_address import Network
from api.webhook_signatures import signed_content, signed_id
from shared import jsontext
from shared.log import get
from shared.metrics import WEBHOOK_TEMPLATES_FAILED
from shared.nodes.webhook_rules import DEDUPE_HEADERS, RateLimit, Response, Rules, Signature
from shared.templates import allowance, limits
from shared.templates.errors import TemplateSyntaxError
from shared.templates.fields import Rendering, renderer

_log = get(__name__)
#: Characters of a header's value that stand in a dedupe key as they are; of a longer one its digest does.
_READABLE: Final = 200
#: Seconds of processor time of all templates about one request.
_RENDER_SECONDS: Final = 0.05


class RenderTime:
    """The processor time that one request's templates have together: they are rendered on the event loop."""

    def __init__(self) -> None:
        self._left = _RENDER_SECONDS

    def rendered(self, render: Callable[[Any], Any], scope: dict[str, Any]) -> Any:
        """What a template comes to.

        Raises:
            StepFailedError: if it fails, or the time is over.
        """
        began = time.thread_time()
        allowance.begin(spent=limits.SECONDS - self._left)
        try:
            return render(scope)
        finally:
            allowance.end()
            self._left -= time.thread_time() - began


class Ready(NamedTuple):
    """Rules whose ranges and templates are parsed; None for what is not asked.

    Attributes:
        dedupes: whether repeats are looked for at all.
        dedupe_text: gives the text of the template that makes a repeat.
        response_body: gives the body of the response.
    """

    signature: Signature | None
    rate_limit: RateLimit | None
    networks: tuple[Network, ...]
    handshake: str | None
    dedupes: bool
    dedupe_text: Callable[[Any], Any] | None
    response: Response | None
    response_body: Callable[[Any], Any] | None


def ready(rules: Rules) -> Ready:
    """Make rules ready.

    Raises:
        ValueError: if they are none that could be saved.
    """
    signature, dedupe, response = rules.signature, rules.dedupe, rules.response
    implied = "slack" if signature is not None and signature.scheme == "slack" else None
    return Ready(
        signature,
        rules.rate_limit,
        tuple(ip_network(text) for text in rules.allowed_ips or ()),
        rules.handshake or implied,
        dedupe is not False,
        _template(dedupe, "dedupe", Rendering.TEXT) if isinstance(dedupe, str) else None,
        response,
        _template(response.body, "response.body", Rendering.VALUE) if response is not None else None,
    )


def _template(value: Any, path: str, rendering: Rendering) -> Callable[[Any], Any] | None:
    try:
        return renderer(value, path, rendering)
    except TemplateSyntaxError as error:  # a filter of newer code, or one that is no longer
        raise ValueError(f"{path}: {error}") from error


#: What a webhook without any configuration asks.
USUAL: Final = ready(Rules())


@lru_cache(maxsize=1024)
def parsed(text: str) -> Ready:
    """The rules that a version of a workflow keeps.

    Raises:
        ValueError: if they are none that could be saved.
    """
    return ready(msgspec.convert(jsontext.decode(text), Rules))


def dedupe_key(rules: Ready, request: web.Request, payload: str, body: bytes, time_left: RenderTime) -> str | None:
    """What a repeat of a request has in common with it; None if nothing tells.

    A template that fails, or gives nothing, tells nothing: a run too many is better than a request that is lost.
    """
    if rules.dedupe_text is not None:
        return _of_template(rules.dedupe_text, request, payload, time_left)
    if rules.signature is None:
        return _of_header(request.headers, DEDUPE_HEADERS)
    return _of_signed(rules.signature, request.headers, body)


def _of_signed(signature: Signature, headers: Mapping[str, str], body: bytes) -> str | None:
    """A key in which whoever recorded a signed request can change nothing that makes it another's repeat.

    The id of Standard Webhooks is signed. Stripe and Slack send no id beside the body, and sign every attempt afresh:
    the same signed bytes are a request that somebody sends again. GitHub's id, and any header beside a plain HMAC, is
    not signed: it counts together with the body, which is.
    """
    if signature.scheme == "standard_webhooks":
        return f"webhook-id:{_short(signed_id(headers))}"
    if signature.scheme in ("stripe", "slack"):
        return f"signed:{_digest_of(signed_content(signature, headers, body))}"
    key = _of_header(headers, ("X-GitHub-Delivery",) if signature.scheme == "github" else DEDUPE_HEADERS)
    return None if key is None else f"{key}:{_digest_of(body)}"


def _of_header(headers: Mapping[str, str], names: Sequence[str]) -> str | None:
    for name in names:
        value = headers.get(name)
        if value:
            return f"{name.lower()}:{_short(value)}"
    return None


def _of_template(render: Callable[[Any], Any], request: web.Request, payload: str, time_left: RenderTime) -> str | None:
    scope = scope_of(payload)
    # As they came: redacted, all signatures would be one.
    scope["headers"] = {name.lower(): value for name, value in request.headers.items()}
    try:
        text = str(time_left.rendered(render, scope)).strip()
    except Exception as error:  # noqa: BLE001 — no template may lose a request
        WEBHOOK_TEMPLATES_FAILED.labels("dedupe").inc()
        _log.info("a dedupe template failed; the request counts as new", error=str(error)[:200])
        return None
    return f"template:{_digest(text)}" if text else None


def scope_of(payload: str, **more: Any) -> dict[str, Any]:
    """What templates about a request see."""
    scope: dict[str, Any] = jsontext.decode(payload)
    return {**scope, "body": scope["webhook_payload"], **more}


def _short(value: str) -> str:
    return value if len(value) <= _READABLE and value.isascii() and value.isprintable() else _digest(value)


def _digest(text: str) -> str:
    return _digest_of(text.encode("utf-8", "surrogatepass"))


def _digest_of(content: bytes) -> str:
    return "sha256 " + sha256(content).hexdigest()
