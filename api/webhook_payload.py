"""What a webhook request becomes: the run's trigger payload, as JSON text.

A JSON body is kept as the caller wrote it, once it was read and found to be JSON, so nothing of it changes.
"""

import asyncio
import base64
import re
from functools import lru_cache
from typing import Any, Final
from urllib.parse import parse_qsl

from aiohttp import StreamReader, hdrs, web
from aiohttp.helpers import MimeType, parse_mimetype
from aiohttp.web_request import FileField

from api.bodies import check, is_json
from shared import jsontext
from shared.errors import BadRequestError, UnsupportedMediaError
from shared.graph.suggest import shown

_REDACTED: Final = "[redacted]"
_SECRET_HEADER: Final = re.compile(r"authorization|cookie|signature|hmac|token|secret|api-?key|password", re.IGNORECASE)
_MEDIA_TYPE: Final = re.compile(r"[\w.+!#$&^-]+/[\w.+!#$&^-]+", re.ASCII)
_MAX_FIELDS: Final = 1000
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
    if body and content_type.lower().startswith("multipart/form-data"):
        value = jsontext.encode(await _multipart(request, body))
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
        return jsontext.encode(_form(_decoded(kind, body)))
    if kind.type == "text" or kind.subtype in _TEXT_SUBTYPES or kind.suffix in _TEXT_SUBTYPES | {"json"}:
        return jsontext.encode(_decoded(kind, body))
    if (kind.type, kind.subtype) == ("application", "json"):
        raise UnsupportedMediaError("unsupported_media_type", "JSON must be in UTF-8.")
    return as_base64(body)


def as_base64(body: bytes) -> str:
    """Bytes as JSON text."""
    return f'"{base64.b64encode(body).decode()}"'


def _decoded(kind: MimeType, body: bytes) -> str:
    charset = kind.parameters.get("charset", "utf-8")
    try:
        return body.decode(charset)
    except UnicodeError:
        raise BadRequestError(
            "malformed_body", f"The body is not {shown(charset)}, as its content type says."
        ) from None
    except (LookupError, ValueError):
        raise UnsupportedMediaError("unsupported_media_type", f"There is no charset {shown(charset)}.") from None


def _form(text: str) -> dict[str, Any]:
    """Fields by name; one that comes several times is a list."""
    try:
        pairs = parse_qsl(text, keep_blank_values=True, max_num_fields=_MAX_FIELDS)
    except ValueError:
        raise BadRequestError("malformed_body", f"A form may have at most {_MAX_FIELDS} fields.") from None
    return _grouped(pairs)


def _grouped(pairs: Any) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    repeated: set[str] = set()
    for name, value in pairs:
        if name not in fields:
            fields[name] = value
        elif name in repeated:
            fields[name].append(value)
        else:
            repeated.add(name)
            fields[name] = [fields[name], value]
    return fields


async def _multipart(request: web.Request, body: bytes) -> dict[str, Any]:
    """The fields of a form; a file is an object with its content in base64."""
    # Its reader would pause a connection that has nothing more to say at a lower limit.
    stream = StreamReader(request.protocol, len(body) + 1, loop=asyncio.get_running_loop())
    stream.feed_data(body)
    stream.feed_eof()
    whole = request.clone(client_max_size=0)
    whole._payload = stream  # noqa: SLF001 — the body was read, for its signature is one of the bytes
    try:
        fields = await whole.post()
    except (ValueError, LookupError, RuntimeError, AssertionError, web.RequestPayloadError, web.HTTPException):
        raise BadRequestError("malformed_body", "The body is not the form that its content type says.") from None
    return _grouped((name, _field(value)) for name, value in fields.items())


def _field(value: Any) -> Any:
    if isinstance(value, FileField):
        with value.file as file:
            content = base64.b64encode(file.read()).decode()
        return {"filename": value.filename, "content_type": value.content_type, "base64": content}
    return value.decode("utf-8", "replace") if isinstance(value, bytes | bytearray) else value


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
    return jsontext.encode(_grouped(request.query.items())) if request.query_string else "{}"
