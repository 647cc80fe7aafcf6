"""The fields of a multipart form that was sent to a webhook.

Whoever knows a URL can send one, and it is read on the event loop: nothing that a form says may take long. So charsets
are those of `shared.charsets`, no lines are gone through before the first field, and what names a field is read here:
aiohttp decodes it by whatever codec it asks for, and keeps a warning about each that is malformed.
"""

import asyncio
import base64
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final
from urllib.parse import unquote_to_bytes

from aiohttp import BodyPartReader, MultipartReader, StreamReader, hdrs
from aiohttp.base_protocol import BaseProtocol
from aiohttp.helpers import parse_mimetype
from aiohttp.http_exceptions import HttpProcessingError
from multidict import CIMultiDict

from shared.charsets import codec_of
from shared.errors import BadRequestError, UnsupportedMediaError
from shared.graph.suggest import shown

#: Fields of one form, multipart or not.
MAX_FIELDS: Final = 1000
_PARAMETER: Final = re.compile(r';\s*([^\s;="]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s;"]*))\s*', re.DOTALL)
_ESCAPED: Final = re.compile(r'\\(["\\])')
_BINARY: Final = "application/octet-stream"
#: The field that names the charset of those behind it; RFC 7578, 4.6.
_CHARSET: Final = "_charset_"
#: What the reader raises over bytes that are no form.
_MALFORMED: Final = (ValueError, LookupError, RuntimeError, AssertionError, HttpProcessingError)


async def fields_of(headers: Mapping[str, str], protocol: BaseProtocol, body: bytes) -> dict[str, Any]:
    """The fields of a form; a file is an object with its content in base64.

    Args:
        headers: of the request.
        protocol: of its connection, which the reader of the body is given and does nothing with.
        body: the whole of it.

    Raises:
        BadRequestError: if it is no form.
        UnsupportedMediaError: if it names a charset that is not taken.
    """
    begun = body.lstrip(b"\r\n")
    # Its reader would pause a connection that has nothing more to say at a lower limit.
    stream = StreamReader(protocol, len(begun) + 1, loop=asyncio.get_running_loop())
    stream.feed_data(begun)
    stream.feed_eof()
    try:
        _check_beginning(headers, begun)
        return grouped(await _read(_Form(headers, stream)))
    except _MALFORMED:
        raise BadRequestError("malformed_body", "The body is not the form that its content type says.") from None


def grouped(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Fields by name; one that comes several times is a list."""
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


def decoded(body: bytes | bytearray, charset: str) -> str:
    """A text in a charset that its sender named.

    Raises:
        BadRequestError: if it is not in that.
        UnsupportedMediaError: if it is none that is taken.
    """
    codec = codec_of(charset)
    if codec is None:
        raise UnsupportedMediaError("unsupported_media_type", f"Text is not taken in the charset {shown(charset)}.")
    try:
        return body.decode(codec)
    except UnicodeError:
        raise BadRequestError(
            "malformed_body", f"The body is not {shown(charset)}, as its content type says."
        ) from None


class _Part(BodyPartReader):
    """A field; its name and its file's are read here, and its reader does not see them."""

    def __init__(self, boundary: bytes, headers: Mapping[str, str], content: StreamReader, **options: Any) -> None:
        told = _parameters(headers.get(hdrs.CONTENT_DISPOSITION, ""))
        self.field, self.file = told.get("name"), told.get("filename")
        seen = CIMultiDict(headers)
        seen.popall(hdrs.CONTENT_DISPOSITION, None)
        super().__init__(boundary, seen, content, **{**options, "subtype": "form-data"})  # type: ignore[arg-type] # as is


class _Form(MultipartReader):
    part_reader_cls = _Part


def _check_beginning(headers: Mapping[str, str], body: bytes) -> None:
    """Refuse a body that does not begin with its boundary: its reader would go through it line by line."""
    boundary = b"--" + parse_mimetype(headers[hdrs.CONTENT_TYPE]).parameters["boundary"].encode()
    if body[: len(boundary) + 100].partition(b"\n")[0].rstrip() not in (boundary, boundary + b"--"):
        raise ValueError


def _parameters(disposition: str) -> dict[str, str]:
    """The parameters of a field's ``Content-Disposition``; ``filename*`` comes before ``filename`` (RFC 6266).

    Raises:
        ValueError: if it can't be read.
    """
    kind, found, place = disposition.partition(";")[0], {}, disposition.find(";")
    if kind.strip().lower() != "form-data":
        raise ValueError
    while 0 <= place < len(disposition):
        parameter = _PARAMETER.match(disposition, place)
        if parameter is None:
            if disposition[place:].strip() == ";":
                break
            raise ValueError
        name, quoted, plain = parameter.groups()
        found[name.lower()] = plain if quoted is None else _ESCAPED.sub(r"\1", quoted)
        place = parameter.end()
    for name in [name for name in found if name.endswith("*")]:
        charset, _, value = found[name].split("'", 2)
        found[name[:-1]] = decoded(unquote_to_bytes(value), charset)
    return found


async def _read(form: MultipartReader) -> list[tuple[str, Any]]:
    pairs: list[tuple[str, Any]] = []
    charset = "utf-8"
    while (part := await form.next()) is not None:
        if not isinstance(part, _Part) or part.field is None or len(pairs) == MAX_FIELDS:
            raise ValueError
        content = await part.read(decode=True)
        if part.field == _CHARSET and not pairs:
            charset = decoded(content, "utf-8").strip()
            decoded(b"", charset)
        else:
            pairs.append((part.field, _value(part, content, charset)))
    return pairs


def _value(part: _Part, content: bytes | bytearray, charset: str) -> Any:
    kind = part.headers.get(hdrs.CONTENT_TYPE)
    if part.file:
        encoded = base64.b64encode(content).decode()
        return {"filename": part.file, "content_type": kind or _BINARY, "base64": encoded}
    if kind is None or kind.startswith("text/"):
        return decoded(content, part.get_charset(charset))
    return content.decode("utf-8", "replace")
