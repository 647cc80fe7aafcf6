"""Reading request bodies: size, content type, and JSON with the place of what is wrong with it."""

import asyncio
import json
import math
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any, Final, NoReturn

import msgspec
import yyjson
from aiohttp import hdrs, web
from aiohttp.helpers import parse_mimetype

from api.nesting import is_deeper
from shared.errors import (
    BadRequestError,
    Fault,
    InvalidError,
    RequestTimeoutError,
    TooLargeError,
    UnsupportedMediaError,
)
from shared.graph.suggest import clean, shown

#: The largest body of a route that takes a definition: 2,000 nodes with 5 KB each.
DEFINITION_BYTES: Final = 10 * 1024 * 1024
#: Where the application keeps how many seconds a client has for a whole body.
BODY_SECONDS: Final = web.AppKey("body_seconds", float)
#: How deep a document may nest. Readers of JSON recurse, so what is accepted here must be far from their limits.
MAX_DEPTH: Final = 200
#: Digits of an integer; reading one takes time that grows with their square.
_INTEGER_DIGITS: Final = 4_000
_UTF8: Final = frozenset({"utf-8", "utf8", "us-ascii", "ascii"})


async def read(request: web.Request, limit: int) -> bytes:
    """The body, decoded from its content encoding.

    Raises:
        TooLargeError: if it has more than ``limit`` bytes; it is not read to the end.
        RequestTimeoutError: if it does not come in time.
        BadRequestError: if it ends early.
    """
    if (request.content_length or 0) > limit:
        raise _too_large(limit)
    if not request.body_exists:
        return b""
    try:
        if request.content.is_eof():  # it came with its headers: webhooks pay for no timer
            body = await _read_on(request, limit)
        else:
            async with in_time(request):
                body = await _read_on(request, limit)
    except (web.RequestPayloadError, ConnectionResetError) as error:
        raise BadRequestError(
            "bad_request", "The body could not be read: it ended early or its coding is broken."
        ) from error
    if len(body) > limit:
        raise _too_large(limit)
    return body


@asynccontextmanager
async def in_time(request: web.Request) -> AsyncIterator[None]:
    """Bounds how long a client may take over a body that is read within.

    Raises:
        RequestTimeoutError: if it takes longer.
    """
    seconds = request.app[BODY_SECONDS]
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError:
        raise RequestTimeoutError(
            "request_timeout", f"The body was not complete after {seconds:g} seconds, the limit."
        ) from None


async def _read_on(request: web.Request, limit: int) -> bytes:
    first = await request.content.readany()
    if request.content.at_eof():
        return first
    body = bytearray(first)
    while len(body) <= limit and (chunk := await request.content.readany()):
        body += chunk
    return bytes(body)


def _too_large(limit: int) -> TooLargeError:
    return TooLargeError("body_too_large", f"The body is over the limit of this route, {limit} bytes.")


async def read_object(request: web.Request, limit: int = DEFINITION_BYTES) -> tuple[bytes, dict[str, Any]]:
    """The body, and the JSON object it is.

    Raises:
        UnsupportedMediaError, TooLargeError, BadRequestError: see there.
        InvalidError: if it is JSON and not an object.
    """
    require_json(request)
    body = await read(request, limit)
    value = parse(body)
    if not isinstance(value, dict):
        raise InvalidError("object_expected", f"The body must be a JSON object, not {shown(value)}.")
    return body, value


async def read_any(request: web.Request, limit: int) -> tuple[bytes, str]:
    """The body, and the text of the JSON value it is; no body at all is null.

    Raises:
        EdgewiseError: as `read_object`, but for values that are no objects.
    """
    if request.body_exists:
        require_json(request)
    body = await read(request, limit)
    if body:
        parse(body)
    return body, body.decode() or "null"


async def read_definition(request: web.Request) -> tuple[bytes, dict[str, Any]]:
    """The body and the JSON object it is; no key may stand twice in an object, since one value would be lost.

    Raises:
        EdgewiseError: as `read_object`.
        InvalidError: ``duplicate_key``, with the path of each.
    """
    body, value = await read_object(request)
    faults = duplicates(body)
    if faults:
        raise InvalidError("duplicate_key", "A key stands more than once in an object of the body.", faults=faults)
    return body, value


class _Twice(dict[str, Any]):
    """An object in which keys stand more than once, and those keys."""

    keys_twice: tuple[str, ...] = ()


def duplicates(body: bytes) -> list[Fault]:
    """A fault for each key that stands more than once in an object of a JSON document."""
    found = False

    def made(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        nonlocal found
        plain = dict(pairs)
        if len(plain) == len(pairs):
            return plain
        found = True
        marked = _Twice(plain)
        marked.keys_twice = tuple(name for name, times in Counter(name for name, _ in pairs).items() if times > 1)
        return marked

    value = json.loads(body, object_pairs_hook=made, parse_int=str, parse_float=str)
    return list(_told(value, "")) if found else []


def _told(value: Any, path: str) -> Iterator[Fault]:
    if isinstance(value, _Twice):
        for name in value.keys_twice:
            yield Fault(
                clean(f"{path}.{name}".lstrip(".")),
                "duplicate_key",
                f"The key {shown(name)} stands more than once here.",
            )
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _told(inner, f"{path}.{name}")
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _told(inner, f"{path}[{index}]")


async def read_body_or_empty(request: web.Request, limit: int) -> tuple[bytes, dict[str, Any]]:
    """The body and the JSON object it is, where no body at all stands for an empty object.

    Raises:
        EdgewiseError: as `read_object`.
    """
    if not request.body_exists or request.content_length == 0:
        return b"", {}
    return await read_object(request, limit)


def require_json(request: web.Request) -> None:
    """Refuse a body that says it is something else than JSON in UTF-8; one that says nothing is taken for JSON.

    Raises:
        UnsupportedMediaError: if so.
    """
    text = request.headers.get(hdrs.CONTENT_TYPE)
    if text and not is_json(text):
        raise UnsupportedMediaError(
            "unsupported_media_type", f"The body must be application/json in UTF-8, not {shown(text)}."
        )


def is_json(content_type: str) -> bool:
    """Whether a ``Content-Type`` means JSON in UTF-8: ``application/json``, ``application/merge-patch+json``..."""
    if content_type == "application/json":
        return True
    kind = parse_mimetype(content_type)
    json_like = kind.suffix == "json" or (kind.type == "application" and kind.subtype == "json")
    return json_like and kind.parameters.get("charset", "utf-8").lower() in _UTF8


def parse(body: bytes) -> Any:
    """The value of a JSON document. Lone surrogates, which JSON allows as escapes, are kept.

    Raises:
        BadRequestError: ``malformed_json`` with line and column, or ``json_too_deep``.
    """
    _refuse_depth(body)
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return _parse_slowly(body)


def check(body: bytes) -> None:
    """Refuse what `parse` refuses, without making the values: of 160 KB that takes an eighth of the time.

    Raises:
        BadRequestError: as `parse`.
    """
    _refuse_depth(body)
    try:
        yyjson.Document(body)
    except ValueError:  # it is stricter, with lone surrogates and very long integers, and names no line
        parse(body)


def _refuse_depth(body: bytes) -> None:
    if len(body) > MAX_DEPTH and is_deeper(body, MAX_DEPTH):
        raise BadRequestError("json_too_deep", f"The body nests deeper than {MAX_DEPTH} levels.")


def _parse_slowly(body: bytes) -> Any:
    """By the standard library, which takes lone surrogates and says where a fault is."""
    try:
        return json.loads(body.decode(), parse_constant=_refuse_constant, parse_float=_finite, parse_int=_whole)
    except UnicodeDecodeError as error:
        raise BadRequestError("malformed_json", f"The body is not UTF-8: byte {error.start} does not fit.") from None
    except json.JSONDecodeError as error:
        raise BadRequestError(
            "malformed_json", f"The body is not JSON: {error.msg} at line {error.lineno}, column {error.colno}."
        ) from None
    except ValueError as error:
        raise BadRequestError("malformed_json", f"The body is not JSON: {error}.") from None


def _refuse_constant(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not a JSON value")


def _whole(text: str) -> int:
    if len(text) > _INTEGER_DIGITS:
        raise ValueError(f"the number {text[:40]}... has more than {_INTEGER_DIGITS} digits")
    return int(text)


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"the number {text[:40]} is out of range")
    return number
