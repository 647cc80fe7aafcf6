"""What a webhook request becomes: the run's trigger payload, as JSON text.

A JSON body is kept as the caller wrote it, once it was read and found to be JSON, so nothing of it changes.
"""

import base64
import re
from functools import lru_cache
from typing import Any, Final
from urllib.parse import parse_qsl

from aiohttp import hdrs, web
from aiohttp.helpers import MimeType, parse_mimetype
from aiohttp.web_request import FileField

from api.bodies import in_time, is_json, parse, read
from shared import jsontext
from shared.errors import BadRequestError, TooLargeError, UnsupportedMediaError
from shared.graph.suggest import shown

_REDACTED: Final = "[redacted]"
_SECRET_HEADER: Final = re.compile(r"authorization|cookie|signature|token|secret|api-?key|password", re.IGNORECASE)
_MEDIA_TYPE: Final = re.compile(r"[\w.+!#$&^-]+/[\w.+!#$&^-]+", re.ASCII)
_MAX_FIELDS: Final = 1000
_TEXT_SUBTYPES: Final = frozenset({"xml", "yaml", "x-yaml", "javascript", "x-ndjson", "graphql", "sql"})


async def read_payload(request: web.Request, limit: int, received_at: str) -> str:
    """The trigger payload ``{webhook_payload, headers, query, method, received_at}`` of a request.

    Args:
        request: whose body has not been read.
        limit: bytes of the body.
        received_at: when it came, as the contract writes times.

    Raises:
        TooLargeError, RequestTimeoutError, BadRequestError, UnsupportedMediaError: if the body is over the limit, does
            not come in time, is not what its content type says, or says nothing that can be understood.
    """
    content_type = request.headers.get(hdrs.CONTENT_TYPE, "application/json")
    if content_type.startswith("multipart/form-data"):
        body = jsontext.encode(await _multipart(request, limit))
    else:
        body = _body_text(content_type, await read(request, limit))
    return (
        f'{{"webhook_payload":{body},"headers":{_headers(request)},"query":{_query(request)},'
        f'"method":"{request.method}","received_at":"{received_at}"}}'
    )


def _body_text(content_type: str, body: bytes) -> str:
    """The body as JSON text; no body at all is null, whatever its content type."""
    if not body:
        return "null"
    if is_json(content_type):
        parse(body)
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


async def _multipart(request: web.Request, limit: int) -> dict[str, Any]:
    """The fields of a form; a file is an object with its content in base64."""
    if (request.content_length or 0) > limit:
        raise _too_large(limit)
    try:
        async with in_time(request):
            fields = await request.clone(client_max_size=limit).post()
    except web.HTTPRequestEntityTooLarge:
        raise _too_large(limit) from None
    except (ValueError, LookupError, RuntimeError, AssertionError, web.RequestPayloadError):
        raise BadRequestError("malformed_body", "The body is not the form that its content type says.") from None
    return _grouped((name, _field(value)) for name, value in fields.items())


def _too_large(limit: int) -> TooLargeError:
    return TooLargeError("body_too_large", f"The body is over the limit of this route, {limit} bytes.")


def _field(value: Any) -> Any:
    if isinstance(value, FileField):
        with value.file as file:
            content = base64.b64encode(file.read()).decode()
        return {"filename": value.filename, "content_type": value.content_type, "base64": content}
    return value.decode("utf-8", "replace") if isinstance(value, bytes | bytearray) else value


def _headers(request: web.Request) -> str:
    """The headers by lower-case name, those that may hold a secret redacted."""
    headers: dict[str, str] = {}
    for name, value in request.headers.items():
        key, secret = _header(name)
        if secret:
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
