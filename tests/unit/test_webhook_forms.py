"""Multipart forms that are sent to webhooks: what they come to, and that none of them takes long."""

import asyncio
import time
from contextlib import suppress
from typing import Any

import pytest
from aiohttp.base_protocol import BaseProtocol

from api.webhook_forms import MAX_FIELDS, fields_of
from shared.errors import BadRequestError, UnsupportedMediaError

_TYPE = "multipart/form-data; boundary=b"


async def _fields(body: bytes, content_type: str = _TYPE) -> Any:
    return await fields_of({"Content-Type": content_type}, BaseProtocol(asyncio.get_running_loop()), body)


def _field(disposition: bytes, content: bytes = b"x", *head: bytes) -> bytes:
    lines = [b"--b", b"Content-Disposition: form-data" + disposition, *head, b"", content, b"--b--", b""]
    return b"\r\n".join(lines)


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        (_field(b'; name="a"'), {"a": "x"}),
        (_field(b"; name=a;"), {"a": "x"}),
        (b"\r\n" + _field(b' ; NAME = "a" '), {"a": "x"}),
        (_field(b'; name="a", more', b"x"), None),
        (_field(b'; name="a;b\\"c\\\\d"'), {'a;b"c\\d': "x"}),
        (_field(b"; name=a", b"=C3=A4", b"Content-Transfer-Encoding: quoted-printable"), {"a": "ä"}),
        (_field(b"; name=a", b"\xe4", b"Content-Type: text/plain; charset=latin-1"), {"a": "ä"}),
        (_field(b"; name=a", b"\xe4", b"Content-Type: image/png"), {"a": "\ufffd"}),
        (_field(b"; name=a", b"zz", b"Content-Encoding: gzip"), {"a": "zz"}),
        (
            _field(b"; name=a; filename=\"f\"; filename*=utf-8'en'%c3%a4", b"\xff"),
            {"a": {"filename": "ä", "content_type": "application/octet-stream", "base64": "/w=="}},
        ),
        (_field(b"; name=_charset_", b" latin-1 ")[:-7] + b"--b\r\n" + _field(b"; name=a", b"\xe4")[5:], {"a": "ä"}),
        (b"--b--", {}),
    ],
)
async def test_fields(body: bytes, fields: Any) -> None:
    """Names, files, charsets and encodings are as the form says them; what can't be read is 400."""
    if fields is None:
        with pytest.raises(BadRequestError):
            await _fields(body)
    else:
        assert await _fields(body) == fields


@pytest.mark.parametrize("charset", [b"punycode", b"idna", b"unicode_escape", b"utf-7", b"zlib", b"klingon"])
async def test_no_other_codec_is_run(charset: bytes) -> None:
    """Wherever a form can name a charset, one that text is not in is 415; some of Python's take quadratic time."""
    for body in (
        _field(b"; name=a", b"abc", b'Content-Type: text/plain; charset="' + charset + b'"'),
        _field(b"; name=_charset_", charset)[:-7] + b"--b\r\n" + _field(b"; name=a", b"abc")[5:],
        _field(b"; name=a; filename*=" + charset + b"''abc"),
        _field(b"; name*=" + charset + b"''abc"),
    ):
        with pytest.raises(UnsupportedMediaError):
            await _fields(body)


@pytest.mark.parametrize(
    "body",
    [
        _field(b"; name=a", b"x", b"X: " + b"x" * 10_000),
        _field(b"; name=a", b"x", b": nameless"),
        _field(b"; name=a", b"x", *[b"X: 1"] * 200),
        _field(b"; name=a", b"x", b"nothing"),
        _field(b"; name=a; filename*=utf-8''%ff"),
        _field(b"; name=a; filename*=utf-8"),
        _field(b"; other=a"),
        _field(b";;;"),
        _field(b"; name=a; =; b"),
        _field(b"; name=a", b"x")[:-9],
        _field(b"; name=a", b"a", b"Content-Transfer-Encoding: base64"),
        _field(b"; name=a", b"x", b"Content-Transfer-Encoding: zap"),
        b"--b\r\n\r\nx\r\n--b--",
        b"--b\r\nContent-Type: multipart/mixed; boundary=c\r\n\r\n--c\r\n\r\nx\r\n--c--\r\n--b--",
        b"before\r\n" + _field(b"; name=a"),
        b"",
        _field(b"; name=a")[:-7] * (MAX_FIELDS + 1) + b"--b--",
    ],
)
async def test_what_is_no_form_is_the_sender_s_fault(body: bytes) -> None:
    """Whatever aiohttp's reader raises over it."""
    with pytest.raises(BadRequestError):
        await _fields(body)


@pytest.mark.parametrize(
    "body",
    [
        b"\r\n" * 500_000 + b"--b--",
        b"x\n" * 500_000 + b"--b--",
        _field(b"; name=a", b"a" * 1_000_000, b"Content-Type: text/plain; charset=punycode"),
        (b"--b\r\nContent-Disposition: form-data; name*=punycode''" + b"a" * 8_000 + b"\r\n\r\n\r\n") * 120 + b"--b--",
        (b'--b\r\nContent-Disposition: form-data; name="' + b"\\a" * 4_000 + b'"\r\n\r\n\r\n') * 120 + b"--b--",
        _field(b"; name=a", (b"aaaaa" + b"!" * 100) * 9_000, b"Content-Transfer-Encoding: base64"),
    ],
    ids=["line breaks", "lines", "punycode", "names in punycode", "escapes", "junk in base64"],
)
async def test_a_megabyte_takes_no_time(body: bytes) -> None:
    """Whatever stands in it: these took from one second to minutes of the event loop's processor time."""
    began = time.thread_time()
    with suppress(BadRequestError, UnsupportedMediaError):
        await _fields(body)
    assert time.thread_time() - began < 0.7
