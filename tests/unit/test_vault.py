"""The vault's key ring: what it encrypts comes back to its own row alone, and its configuration is checked whole."""

import base64

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.errors import ConfigError
from shared.vault import KeyRing, VaultError, generate_key, parse_keys

OLD, NEW = bytes(range(32)), bytes(range(32, 64))
ROW = "workflows.webhook_token:0190"


@given(plaintext=st.binary(max_size=500), context=st.text(st.characters(exclude_categories=["Cs"]), max_size=80))
def test_round_trip(plaintext: bytes, context: str) -> None:
    """Any bytes come back under the context they were stored with."""
    ring = KeyRing({"k1": OLD})
    assert ring.decrypt(ring.encrypt(plaintext, context=context), context=context) == plaintext


@given(plaintext=st.binary(max_size=40), place=st.floats(0, 1, exclude_max=True))
def test_any_flipped_bit_is_refused(plaintext: bytes, place: float) -> None:
    """A blob with one bit changed never decrypts, wherever the bit is."""
    ring = KeyRing({"k1": OLD, "k2": NEW})
    blob = bytearray(ring.encrypt(plaintext, context=ROW))
    bit = int(place * len(blob) * 8)
    blob[bit // 8] ^= 1 << bit % 8
    with pytest.raises(VaultError):
        ring.decrypt(bytes(blob), context=ROW)


@settings(max_examples=50)
@given(cut=st.integers(0, 200))
def test_a_cut_blob_is_refused(cut: int) -> None:
    """Every proper prefix of a blob is refused."""
    ring = KeyRing({"k1": OLD})
    blob = ring.encrypt(b"secret", context=ROW)
    with pytest.raises(VaultError):
        ring.decrypt(blob[: cut % len(blob)], context=ROW)


@given(other=st.text(st.characters(exclude_categories=["Cs"])).filter(lambda text: text != ROW))
def test_another_context_is_refused(other: str) -> None:
    """A blob that was moved to another row does not decrypt there, and says so."""
    ring = KeyRing({"k1": OLD})
    with pytest.raises(VaultError) as caught:
        ring.decrypt(ring.encrypt(b"secret", context=ROW), context=other)
    assert caught.value.code == "vault_tampered"


@given(blob=st.binary(max_size=100))
def test_no_bytes_break_the_reader(blob: bytes) -> None:
    """Arbitrary bytes are refused with the vault's own error."""
    with pytest.raises(VaultError):
        KeyRing({"k1": OLD}).decrypt(blob, context=ROW)


def test_same_plaintext_gives_different_blobs() -> None:
    """Nonces are fresh, so equal secrets do not look equal."""
    ring = KeyRing({"k1": OLD})
    assert len({ring.encrypt(b"secret", context=ROW) for _ in range(100)}) == 100


def test_rotation() -> None:
    """After a new key is put in front, old blobs still decrypt and are marked for rotation; new ones are not."""
    before = KeyRing({"old": OLD}).encrypt(b"secret", context=ROW)
    ring = KeyRing({"new": NEW, "old": OLD})
    assert ring.decrypt(before, context=ROW) == b"secret"
    assert not before.startswith(ring.prefix)
    assert ring.encrypt(b"secret", context=ROW).startswith(ring.prefix)


def test_unknown_key_is_told_from_tampering() -> None:
    """A ring without the key names the key's id, so that an operator can put it back."""
    blob = KeyRing({"old": OLD}).encrypt(b"secret", context=ROW)
    with pytest.raises(VaultError, match="'old'") as caught:
        KeyRing({"new": NEW}).decrypt(blob, context=ROW)
    assert caught.value.code == "vault_key_unknown"


def test_another_format_version_is_named() -> None:
    """A blob of a later format is not taken for tampering."""
    blob = KeyRing({"k1": OLD}).encrypt(b"secret", context=ROW)
    with pytest.raises(VaultError) as caught:
        KeyRing({"k1": OLD}).decrypt(b"\x02" + blob[1:], context=ROW)
    assert caught.value.code == "vault_format"


def test_parsed_keys_encrypt_with_the_first() -> None:
    """The first key of the setting encrypts, whatever blanks stand around it."""
    ring = parse_keys(f" new:{generate_key()} , old:{base64.b64encode(OLD).decode()},")
    assert ring.decrypt(KeyRing({"old": OLD}).encrypt(b"x", context=ROW), context=ROW) == b"x"
    with pytest.raises(VaultError, match="'new'"):
        KeyRing({"old": OLD}).decrypt(ring.encrypt(b"x", context=ROW), context=ROW)


def test_every_fault_is_listed_and_no_key_shown() -> None:
    """One look at the error tells all that is wrong, and no part of a key is in it."""
    key = generate_key()
    short = base64.b64encode(b"only sixteen byt").decode()
    bad = "!!not-base64!!"
    with pytest.raises(ConfigError) as caught:
        parse_keys(f"a:{key},a:{key},b:{short},c:{bad},{key}")
    messages = [fault.message for fault in caught.value.faults]
    assert [message[:5] for message in messages] == ["Key 2", "Key 3", "Key 4", "Key 5", "Key 5"]
    shown = " ".join([*messages, caught.value.message])
    assert not any(secret in shown for secret in (key, short, bad))


def test_an_empty_ring_is_a_fault() -> None:
    """There is no default key."""
    with pytest.raises(ConfigError) as caught:
        parse_keys(" , ")
    assert [fault.code for fault in caught.value.faults] == ["no_key"]
