"""What a webhook request becomes: the run's trigger payload, as JSON text.

A JSON body is kept as the caller wrote it, once it was read and found to be JSON, so nothing of it changes.
"""

import base64
import re
from functools import lru_cache
from typing import Any, Final
from urllib.parse import parse_qsl

from aiohttp import hdrs, web
from aiohttp.helpers import parse_mimetype

from api.bodies import check, is_json
from api.webhook_forms import MAX_FIELDS, decoded, fields_of, grouped
from shared import jsontext
from shared.errors import BadRequestError, UnsupportedMediaError
from shared.graph.suggest import shown

_REDACTED: Final = "[redacted]"
_SECRET_HEADER: Final = re.compile(r"authorization|cookie|signature|hmac|token|secret|api-?key|password", re.IGNORECASE)
_MEDIA_TYPE: Final = re.compile(r"[\w.+!#$&^-]+/[\w.+!#$&^-]+", re.ASCII)
_FORM: Final = re.compile(r"multipart/form-data\s*(;|$)", re.IGNORECASE)
_TEXT_SUBTYPES: Final = frozenset({"xml", "yaml", "x-yaml", "javascript", "x-ndjson", "graphql", "sql"})


async def compose(request: web.Request, body: bytes, received_at: str, *, secret_header: str = "") -> str:
    """The trigger payload ``{webhook_payload, headers, query, method, received_at}`` of a request.

    Args:
        request: whose body was read.
        body: what it was.
        received_at: when it came, as the contract writes times.
        secret_header: the name of one whose value is redacted, besides those whose names tell.

    Raises:
        BadRequestError, UnsupportedMediaError: if the body is not what its content type says, or that says nothing that
            can be understood.
    """
    content_type = request.headers.get(hdrs.CONTENT_TYPE, "application/json")
    if body and _FORM.match(content_type):
        value = jsontext.encode(await fields_of(request.headers, request.protocol, body))
    else:
        value = _body_text(content_type, body)
    return in_full(request, value, received_at, secret_header=secret_header)


def in_full(request: web.Request, value: str, received_at: str, *, secret_header: str = "") -> str:
    """The trigger payload of a request whose body has this value, as JSON text."""
    return (
        f'{{"webhook_payload":{value},"headers":{_headers(request, secret_header.lower())},"query":{_query(request)},'
        f'"method":"{request.method}","received_at":"{received_at}"}}'
    )


def _body_text(content_type: str, body: bytes) -> str:
    """The body as JSON text; no body at all is null, whatever its content type."""
    if not body:
        return "null"
    if is_json(content_type):
        check(body)
        return body.decode()
    if not _MEDIA_TYPE.match(content_type):
        raise UnsupportedMediaError("unsupported_media_type", f"{shown(content_type)} is no media type.")
    kind = parse_mimetype(content_type)
    if (kind.type, kind.subtype) == ("application", "x-www-form-urlencoded"):
        return jsontext.encode(_form(decoded(body, kind.parameters.get("charset", "utf-8"))))
    if kind.type == "text" or kind.subtype in _TEXT_SUBTYPES or kind.suffix in _TEXT_SUBTYPES | {"json"}:
        return jsontext.encode(decoded(body, kind.parameters.get("charset", "utf-8")))
    if (kind.type, kind.subtype) == ("application", "json"):
        raise UnsupportedMediaError("unsupported_media_type", "JSON must be in UTF-8.")
    return as_base64(body)


def as_base64(body: bytes) -> str:
    """Bytes as JSON text."""
    return f'"{base64.b64encode(body).decode()}"'


def _form(text: str) -> dict[str, Any]:
    """Fields by name; one that comes several times is a list."""
    try:
        pairs = parse_qsl(text, keep_blank_values=True, max_num_fields=MAX_FIELDS)
    except ValueError:
        raise BadRequestError("malformed_body", f"A form may have at most {MAX_FIELDS} fields.") from None
    return grouped(pairs)


def _headers(request: web.Request, secret_header: str) -> str:
    """The headers by lower-case name, those that may hold a secret redacted."""
    headers: dict[str, str] = {}
    for name, value in request.headers.items():
        key, secret = _header(name)
        if secret or key == secret_header:
            headers[key] = _REDACTED
        elif key in headers:
            headers[key] = f"{headers[key]}, {value}"
        else:
            headers[key] = value
    return jsontext.encode(headers)


@lru_cache(maxsize=1024)
def _header(name: str) -> tuple[str, bool]:
    """The lower-case name of a header, and whether it may hold a secret."""
    return name.lower(), _SECRET_HEADER.search(name) is not None


def _query(request: web.Request) -> str:
    return jsontext.encode(grouped(request.query.items())) if request.query_string else "{}"
