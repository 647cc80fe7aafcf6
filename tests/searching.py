"""Looks for secrets in whatever a system leaves behind. Written apart from what blanks them, and the other way round.

What blanks a secret looks for the texts that others make of it. This takes off a text whatever codings stand on it,
layer by layer, and looks for pieces of the secret in what comes out. So it also finds what was cut, and what is coded
in a way that nobody thought of when the secret was to be blanked.
"""

import base64
import html
import re
from collections.abc import Collection, Iterator
from typing import Final
from urllib.parse import unquote

#: Characters of a piece: two secrets do not share so many, and no other text has them by chance.
_PIECE: Final = 16
#: How many codings are taken off.
_LAYERS: Final = 3
_ESCAPE: Final = re.compile(r'\\+(?:u([0-9a-fA-F]{4})|x([0-9a-fA-F]{2})|(["\\/bfnrt\']))')
_SHORT: Final = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
_BASE64: Final = re.compile(r"[A-Za-z0-9+/_-]{12,}(?:\s+[A-Za-z0-9+/_-]{60,76}(?=\s))*(?:\s+[A-Za-z0-9+/_-]+)?")
_HEXADECIMAL: Final = re.compile(r"(?:[0-9a-fA-F]{2}){8,}")


def found(text: str, secrets: Collection[str]) -> set[str]:
    """Those of the secrets of which a piece stands in the text, under up to three codings."""
    pieces = {secret: {*_pieces(secret), *_pieces(_unescaped(secret))} for secret in secrets}
    seen: set[str] = set()
    for plain in _plain(text, _LAYERS):
        squeezed = "".join(plain.split())  # line breaks are no hiding place
        seen |= {secret for secret, those in pieces.items() if any(piece in squeezed for piece in those)}
    return seen


def _pieces(secret: str) -> Iterator[str]:
    """A shorter secret as a whole; of a longer one so many that whatever has 31 characters of it holds one."""
    squeezed = "".join(secret.split())
    if len(squeezed) <= 2 * _PIECE:
        yield squeezed
        return
    for start in range(0, len(squeezed) - _PIECE + 1, _PIECE):
        piece = squeezed[start : start + _PIECE]
        if "---" not in piece:  # what stands around a key in PEM is no secret
            yield piece


def _plain(text: str, layers: int) -> Iterator[str]:
    """The text, and what comes out of it."""
    yield text
    if layers == 0:
        return
    for inner in (_unescaped(text), *_decoded(text)):
        if inner and inner != text:
            yield from _plain(inner, layers - 1)


def _unescaped(text: str) -> str:
    """Without one layer of JSON, Python, URLs and HTML, each where it stands; of backslashes all, own ones too."""
    text = _ESCAPE.sub(_character, text).replace("\\", "")
    return unquote(html.unescape(text).replace("+", " "), errors="replace")


def _character(escape: "re.Match[str]") -> str:
    code = escape[1] or escape[2]
    return chr(int(code, 16)) if code else _SHORT.get(escape[3], escape[3])


def _decoded(text: str) -> Iterator[str]:
    """What base64 and hexadecimal in a text say, wherever in it they begin."""
    runs = ["".join(run.split()).translate({ord("-"): "+", ord("_"): "/"}) for run in _BASE64.findall(text)]
    for skipped in range(4):
        yield "\n".join(_bytes(run[skipped:]).decode("utf-8", "replace") for run in runs)
    yield "\n".join(bytes.fromhex(run).decode("utf-8", "replace") for run in _HEXADECIMAL.findall(text))


def _bytes(coded: str) -> bytes:
    whole = coded[:-1] if len(coded) % 4 == 1 else coded  # a character too many
    return base64.b64decode(whole + "=" * (-len(whole) % 4))
