"""TypeIDs and the mint."""

import os
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import NotFoundError
from shared.ids import Mint, Prefix, decode, encode, encode_suffix, is_secret, milliseconds_of, new_secret, uuid7

uuids = st.integers(0, (1 << 128) - 1).map(lambda number: UUID(int=number))
TEXT = "01h455vb4pex5vsknk084sn02q"


def test_the_text_form_is_the_specifications():
    """Vectors of the TypeID specification."""
    assert encode_suffix(UUID(int=0)) == "0" * 26
    assert encode_suffix(UUID(int=1)) == "0" * 25 + "1"
    assert encode_suffix(UUID(int=32)) == "0" * 24 + "10"
    assert encode_suffix(UUID("ffffffff-ffff-ffff-ffff-ffffffffffff")) == "7" + "z" * 25
    assert encode_suffix(UUID("01890a5d-ac96-774b-bcce-b302099a8057")) == TEXT


@given(st.sampled_from(Prefix), uuids)
def test_what_is_encoded_is_decoded(prefix, value):
    """The round trip is exact, for every prefix."""
    assert decode(prefix, encode(prefix, value)) == value


@given(uuids, uuids)
def test_texts_sort_as_their_ids_do(one, two):
    """So a list of ids is in the order of time without decoding."""
    assert (encode_suffix(one) < encode_suffix(two)) is (one.int < two.int)


BAD = [
    "",
    "fl",
    "fl_",
    TEXT,
    f"_{TEXT}",
    f"fl_run_{TEXT}",
    f"vlt_{TEXT}",
    f"fl_{TEXT}0",
    f"fl_{TEXT[:-1]}",
    f"fl_{TEXT.upper()}",
    f"fl_8{TEXT[1:]}",
    f"fl_z{TEXT[1:]}",
    f"fl_{TEXT[:-1]}u",
    f"fl_{TEXT[:-1]}i",
    f"fl_{TEXT[:-1]}-",
    f"fl_{TEXT[:-1]}\0",
    f"fl_{TEXT[:-1]}\ud800",
    f" fl_{TEXT}",
    f"fl_{TEXT} ",
    f"FL_{TEXT}",
    f"fl__{TEXT}",
    "fl_01890a5d-ac96-774b-bcce-b302",
]


@pytest.mark.parametrize("text", BAD)
def test_another_shape_is_not_found(text):
    """Nothing can have such an id, so it is 404 and no other error."""
    with pytest.raises(NotFoundError):
        decode(Prefix.WORKFLOW, text)


@given(
    st.text(max_size=40)
    | st.builds("fl_run_{}".format, st.text("0127abfzABZ_-il\u0661", min_size=25, max_size=27))
    | st.builds("{}_{}".format, st.sampled_from(["fl_run", "fl", "FL_RUN"]), st.uuids().map(encode_suffix))
)
def test_no_text_breaks_the_decoder(text):
    """Any text is an id or not found, and the one id is what its text says."""
    try:
        value = decode(Prefix.RUN, text)
    except NotFoundError:
        return
    assert encode(Prefix.RUN, value) == text


@given(st.integers(0, (1 << 48) - 1), st.integers(0, (1 << 74) - 1))
def test_an_id_carries_its_time_and_randomness(milliseconds, random):
    """A UUIDv7 of RFC 9562: version, variant, time, and all 74 random bits."""
    value = uuid7(milliseconds, random)
    assert (value.version, value.variant) == (7, "specified in RFC 4122")
    assert milliseconds_of(value) == milliseconds
    assert ((value.int >> 64 & 0xFFF) << 62 | value.int & (1 << 62) - 1) == random
    assert uuid7(milliseconds) <= value


def test_a_mint_repeats_nothing_and_never_goes_back():
    """Ids are distinct, and their times follow a clock that steps back only when it has caught up."""
    times = iter([5, 6, 4, 1, 6, 7] + [7] * 10_000)
    mint = Mint(lambda: next(times))
    ids = [mint.uuid() for _ in range(10_000)]
    assert [milliseconds_of(value) for value in ids[:6]] == [5, 6, 6, 6, 6, 7]
    assert len(set(ids)) == len(ids)


def test_a_mint_uses_the_clock_it_is_given():
    """The default is this machine's; a given one is asked for every id."""
    assert milliseconds_of(Mint(lambda: 42).uuid()) == 42
    assert milliseconds_of(Mint().uuid()) > 1_700_000_000_000


def test_a_forked_mint_draws_randomness_of_its_own():
    """Parent and child, which share the block that was drawn before, make different ids."""
    mint = Mint(lambda: 1)
    mint.uuid()
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writing, b"".join(mint.uuid().bytes for _ in range(50)))
        os._exit(0)
    os.waitpid(child, 0)
    data = os.read(reading, 16 * 50)
    os.close(reading)
    os.close(writing)
    theirs = {UUID(bytes=data[start : start + 16]) for start in range(0, len(data), 16)}
    assert len(theirs) == 50
    assert theirs & {mint.uuid() for _ in range(50)} == set()


def test_a_secret_has_256_bits_and_its_prefix():
    """43 url-safe characters, each time others."""
    one, two = new_secret("whsec"), new_secret("whsec")
    assert one.startswith("whsec_")
    assert len(one) == 6 + 43
    assert one != two
    assert is_secret("whsec", one)
    assert not any(is_secret("whsec", text) for text in ("", "whsec_", one[:-1], f"{one}x", f"{one[:-1]}.", f"{one}\n"))
    assert not is_secret("wfk", one)
