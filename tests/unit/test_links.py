"""Signed links: they lead back to their step, and nobody without the keys makes or changes one."""

import base64
import hmac

from hypothesis import given
from hypothesis import strategies as st

from shared.ids import Mint
from shared.links import Links, Place
from shared.vault import KeyRing

OLD, NEW = bytes(range(32)), bytes(range(32, 64))
LINKS = Links(KeyRing({"k1": OLD}), "https://x.test")
NODE = st.text("abcXYZ019_-", min_size=1, max_size=64)
ITEM = st.just("-") | st.lists(st.integers(0, 9999).map(str), min_size=1, max_size=5).map(".".join)
PLACES = st.builds(Place, st.uuids(), NODE, ITEM)


@given(PLACES)
def test_a_token_leads_back_to_its_step(place: Place) -> None:
    """Run, node and item come back, and the token needs no escaping in a URL."""
    token = LINKS.token(place)
    assert LINKS.read(token) == place
    assert LINKS.url(place) == f"https://x.test/workflows/callbacks/{token}"
    assert set(token) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")


@given(PLACES, st.floats(0, 1, exclude_max=True))
def test_any_flipped_bit_is_refused(place: Place, where: float) -> None:
    """A token with one bit changed leads nowhere."""
    token = LINKS.token(place)
    blob = bytearray(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
    bit = int(where * len(blob) * 8)
    blob[bit // 8] ^= 1 << bit % 8
    assert LINKS.read(base64.urlsafe_b64encode(blob).rstrip(b"=").decode()) is None


@given(st.text(max_size=300) | st.text("AQab_-", min_size=60, max_size=300))
def test_no_text_raises(token: str) -> None:
    """Whatever stands in a URL, reading it gives nothing and raises nothing."""
    assert LINKS.read(token) is None


def test_links_outlive_the_rotation_of_keys() -> None:
    """The newest key signs; a link made under an older one is good for as long as the ring has that key."""
    place = Place(Mint().uuid(), "w", "-")
    before = LINKS.token(place)
    rotated = Links(KeyRing({"k2": NEW, "k1": OLD}), "")
    assert rotated.read(before) == place
    assert LINKS.read(rotated.token(place)) is None
    assert Links(KeyRing({"k2": NEW}), "").read(before) is None


def test_signatures_do_not_show_the_key_of_the_vault() -> None:
    """The key that signs is another one than the key that encrypts."""
    ring = KeyRing({"k1": OLD})
    assert ring.has_signed(b"x", ring.sign(b"x"))
    assert ring.sign(b"x") != KeyRing({"k1": NEW}).sign(b"x")
    assert ring.sign(b"x") != hmac.digest(OLD, b"x", "sha256")
