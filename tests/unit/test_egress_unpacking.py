"""Packed answers: unpacked piece by piece however they are cut, and told from what only begins like one."""

import gzip
import zlib
from collections.abc import Callable
from itertools import pairwise

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.egress.unpacking import unpacking


def _raw(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "X-GZIP ": gzip.compress,
    "deflate": zlib.compress,
    " Deflate": _raw,
}


def unpacked(encoding: str | None, *pieces: bytes) -> bytes:
    """What comes out."""
    unpacker = unpacking(encoding)
    content = b"".join(each for piece in pieces for each in unpacker.feed(piece))
    unpacker.end()
    return content


@pytest.mark.parametrize("encoding", PACKERS)
@given(data=st.binary(max_size=2000), cuts=st.lists(st.integers(0, 2000), max_size=5))
def test_cut_anywhere(encoding: str, data: bytes, cuts: list[int]) -> None:
    """The pieces an answer comes in make no difference."""
    packed = PACKERS[encoding](data)
    places = sorted({0, len(packed), *(min(cut, len(packed)) for cut in cuts)})
    pieces = [packed[start:end] for start, end in pairwise(places)]
    assert unpacked(encoding, *pieces) == data


@pytest.mark.parametrize("encoding", PACKERS)
def test_what_breaks_off(encoding: str) -> None:
    """Is no whole answer, wherever it does."""
    packed = PACKERS[encoding](bytes(range(256)) * 20)
    for end in (1, 5, len(packed) // 2, len(packed) - 1):
        with pytest.raises(aiohttp.ClientPayloadError):
            unpacked(encoding, packed[:end])


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_what_is_not_packed(encoding: str) -> None:
    """Is told; nothing at all is an empty answer."""
    with pytest.raises(aiohttp.ClientPayloadError):
        unpacked(encoding, b"plain text, plain text")
    assert unpacked(encoding) == b""


def test_several_and_padding() -> None:
    """Members of gzip that follow one another are one answer; what pads the last is passed over."""
    members = gzip.compress(b"ab") + gzip.compress(b"cd")
    assert unpacked("gzip", members) == b"abcd"
    assert unpacked("gzip", members[:23], members[23:]) == b"abcd"
    assert unpacked("gzip", members + bytes(512), bytes(512)) == b"abcd"
    with pytest.raises(aiohttp.ClientPayloadError):
        unpacked("gzip", members + gzip.compress(b"ef")[:15])


@pytest.mark.parametrize("encoding", [None, "", "identity", "br", "gzip, gzip", "zstd"])
def test_what_was_not_asked_for(encoding: str | None) -> None:
    """Is handed on as it is, since a caller that asks for it by its own header knows it."""
    assert unpacked(encoding, b"ab", b"cd") == b"abcd"


def test_pieces_are_small() -> None:
    """However much a packed piece holds, it comes out by parts, so that a cap is met before memory is."""
    unpacker = unpacking("gzip")
    sizes = [len(piece) for piece in unpacker.feed(gzip.compress(bytes(20_000_000)))]
    assert sum(sizes) == 20_000_000
    assert max(sizes) <= 262_144
