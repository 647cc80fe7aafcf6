"""The request that a ``webhook`` node sends: its URL, headers and body in bytes."""

from collections.abc import Iterator
from typing import Any, Final, Protocol
from urllib.parse import urlencode

import msgspec

from shared import jsontext
from shared.errors import StepFailedError
from shared.templates.values import text_of

Headers = list[tuple[str, str]]
_CONTENT_TYPES: Final = {
    "json": "application/json",
    "form": "application/x-www-form-urlencoded",
    "text": "text/plain; charset=utf-8",
}
#: Never shown in a log entry.
_SECRET: Final = frozenset({"authorization", "proxy-authorization", "cookie", "x-api-key", "x-auth-token", "api-key"})
_SHOWN: Final = 2048


class Config(Protocol):
    """What is taken of the node's rendered data."""

    method: Any
    url: str
    headers: Any
    query: Any
    body: Any
    body_type: Any


class Request(msgspec.Struct, frozen=True):
    """One request, ready to be sent."""

    method: str
    url: str
    headers: Headers
    body: bytes | None

    def logged(self) -> dict[str, Any]:
        """What a log entry shows: without credentials, at most 2 KB of the URL and of the body."""
        return {
            "method": self.method,
            "url": _shortened(_without_credentials(self.url)),
            "headers": {name: "[redacted]" if name.lower() in _SECRET else value for name, value in self.headers},
            "body": None if self.body is None else self.body[:_SHOWN].decode("utf-8", "replace"),
        }


def request_of(data: Config, idempotency_key: str) -> Request:
    """The request of a node's rendered data; with its own ``Content-Type`` and ``Idempotency-Key`` unless it has them.

    Raises:
        StepFailedError: ``invalid_data`` if the body has no such form.
    """
    body = _body(data.body, data.body_type)
    headers = [(name, value) for _, name, value in headers_of(data.headers)]
    given = {name.lower() for name, _ in headers}
    if body is not None and "content-type" not in given:
        headers.append(("Content-Type", _CONTENT_TYPES[data.body_type]))
    if "idempotency-key" not in given:
        headers.append(("Idempotency-Key", idempotency_key))
    return Request(data.method, _with_query(data.url, data.query), headers, body)


def headers_of(headers: Any) -> Iterator[tuple[str, str, str]]:
    """Each header as (place within ``headers``, name, value), whichever way they were given."""
    if isinstance(headers, dict):
        for name, value in headers.items():
            yield f".{name}", name, text_of(value)
        return
    for index, pair in enumerate(headers):
        key, value = (pair["key"], pair["value"]) if isinstance(pair, dict) else (pair.key, pair.value)
        yield f"[{index}]", key, text_of(value)


def json_body_fault(text: str) -> str | None:
    """What is wrong with a constant body that should be JSON."""
    try:
        jsontext.decode(text)
    except (ValueError, RecursionError) as error:
        return f'The body is no JSON document ({error}); set "body_type" to "text" or "form" to send something else.'
    return None


def _body(body: Any, body_type: str) -> bytes | None:
    if body is None or body == "":
        return None
    if body_type == "json":
        return jsontext.to_bytes(body if isinstance(body, str) else jsontext.encode(body))
    if isinstance(body, str):
        return body.encode("utf-8", "replace")
    if body_type == "form" and isinstance(body, dict):
        return _encoded(body.items()).encode()
    raise StepFailedError("invalid_data", f"data.body: {type(body).__name__} cannot be sent as {body_type}.")


def _with_query(url: str, query: Any) -> str:
    if not query:
        return url
    pairs = query.items() if isinstance(query, dict) else [(pair.key, pair.value) for pair in query]
    added = _encoded(pairs)
    if not added:
        return url
    address, mark, fragment = url.partition("#")
    return f"{address}{'&' if '?' in address else '?'}{added}{mark}{fragment}"


def _encoded(pairs: Any) -> str:
    flat = [(name, text_of(item)) for name, value in pairs for item in (value if isinstance(value, list) else [value])]
    return urlencode(flat, errors="replace")


def _shortened(url: str) -> str:
    return url if len(url) <= _SHOWN else f"{url[:_SHOWN]}..."


def _without_credentials(url: str) -> str:
    scheme, separator, rest = url.partition("://")
    authority, slash, path = rest.partition("/")
    return f"{scheme}{separator}{authority.rpartition('@')[2]}{slash}{path}" if separator else url
