"""The vault's key ring: AES-256-GCM under named keys, each value bound to the row it belongs to.

The keys of signatures are derived from those of the ring, so one ring is all there is to keep.

A blob is ``version (1 byte: 1) | length of the key id (1 byte) | key id | nonce (12 bytes) | ciphertext and tag``.
Everything before the ciphertext, and the caller's context, is authenticated, so a blob that is altered, cut or moved
to another row does not decrypt. Nonces are random: one key is good for 2^32 values (NIST SP 800-38D, 8.3).
"""

import base64
import binascii
import hmac
import os
import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from shared.errors import ConfigError, EdgewiseError, Fault

_NAME = "EDGEWISE_VAULT_KEYS"
_VERSION = 1
_KEY_BYTES = 32
_NONCE_BYTES = 12
_TAG_BYTES = 16
_KEY_ID = re.compile(r"[A-Za-z0-9_.-]{1,64}")


class VaultError(EdgewiseError):
    """A stored secret can't be read.

    Codes: ``vault_key_unknown`` (the ring lacks the key it was encrypted under), ``vault_tampered`` (altered, or of
    another row), ``vault_format`` (not a blob this version reads).
    """


class KeyRing:
    """Encrypts with the newest key and decrypts with whichever was used.

    Args:
        keys: 32 bytes by id, the newest first.
    """

    def __init__(self, keys: Mapping[str, bytes]) -> None:
        self._ciphers = {key_id: AESGCM(key) for key_id, key in keys.items()}
        self._newest = next(iter(self._ciphers))
        self._signers = [_signer(key) for key in keys.values()]

    def encrypt(self, plaintext: bytes, *, context: str) -> bytes:
        """A blob that decrypts only with the same context.

        Args:
            plaintext: any bytes, also none.
            context: names the row and column the value is for: ``workflows.webhook_token:<workflow uuid>``.
        """
        nonce = os.urandom(_NONCE_BYTES)
        key_id = self._newest.encode()
        header = bytes((_VERSION, len(key_id))) + key_id + nonce
        return header + self._ciphers[self._newest].encrypt(nonce, plaintext, header + context.encode())

    def decrypt(self, blob: bytes, *, context: str) -> bytes:
        """The plaintext.

        Raises:
            VaultError: see there.
        """
        parts = _split(blob)
        cipher = self._ciphers.get(parts.key_id)
        if cipher is None:
            raise VaultError(
                "vault_key_unknown", f"A stored secret needs the key {parts.key_id!r}, which {_NAME} does not list."
            )
        try:
            return cipher.decrypt(parts.nonce, parts.ciphertext, parts.header + context.encode())
        except InvalidTag:
            raise VaultError("vault_tampered", "A stored secret was altered or belongs to another row.") from None

    def sign(self, message: bytes) -> bytes:
        """The HMAC-SHA256 of a message under the newest key; 32 bytes."""
        return hmac.digest(self._signers[0], message, "sha256")

    def has_signed(self, message: bytes, signature: bytes) -> bool:
        """Whether a signature is one of this message under any key of the ring; in constant time for each key."""
        return any(hmac.compare_digest(hmac.digest(key, message, "sha256"), signature) for key in self._signers)

    @property
    def newest(self) -> str:
        """The id of the key that encrypts."""
        return self._newest

    @property
    def prefix(self) -> bytes:
        """What every blob begins with that is under the newest key, and no other blob."""
        return bytes((_VERSION, len(self._newest))) + self._newest.encode()


def _signer(key: bytes) -> bytes:
    """The key of signatures that belongs to a key of the ring."""
    return HKDF(algorithm=SHA256(), length=_KEY_BYTES, salt=None, info=b"edgewise signatures").derive(key)


class _Parts(NamedTuple):
    key_id: str
    nonce: bytes
    header: bytes
    ciphertext: bytes


def _split(blob: bytes) -> _Parts:
    if len(blob) < 2 or blob[0] != _VERSION:
        raise VaultError("vault_format", f"A stored secret is not in format {_VERSION}.")
    id_end = 2 + blob[1]
    nonce_end = id_end + _NONCE_BYTES
    key_id = blob[2:id_end].decode("ascii", "replace")
    if len(blob) < nonce_end + _TAG_BYTES or not _KEY_ID.fullmatch(key_id):
        raise VaultError("vault_format", "A stored secret is cut short or its key id is not legible.")
    return _Parts(key_id, blob[id_end:nonce_end], blob[:nonce_end], blob[nonce_end:])


def generate_key() -> str:
    """32 random bytes in base64, as `parse_keys` reads them behind ``id:``."""
    return base64.b64encode(os.urandom(_KEY_BYTES)).decode()


def parse_keys(text: str) -> KeyRing:
    """The ring of ``id:base64,id:base64``, the newest first.

    Raises:
        ConfigError: ``invalid_config``, with every fault; none shows key material.
    """
    keys: dict[str, bytes] = {}
    faults: list[Fault] = []
    entries = [entry.strip() for entry in text.split(",") if entry.strip()]
    for place, entry in enumerate(entries, start=1):
        key_id, key = _read_entry(entry)
        messages = list(_entry_faults(key_id, key, keys))
        faults += [Fault(_NAME, "invalid_key", f"Key {place} of {_NAME} {message}.") for message in messages]
        if key is not None:
            keys.setdefault(key_id, key)
    if not entries:
        faults.append(Fault(_NAME, "no_key", f"{_NAME} is empty; it lists at least one id:base64 of 32 bytes."))
    if faults:
        raise ConfigError("invalid_config", f"{_NAME} has {len(faults)} faults.", faults=faults)
    return KeyRing(keys)


def _read_entry(entry: str) -> tuple[str, bytes | None]:
    key_id, _, encoded = entry.partition(":")
    try:
        return key_id.strip(), base64.b64decode(encoded.strip(), validate=True)
    except (binascii.Error, ValueError):
        return key_id.strip(), None


def _entry_faults(key_id: str, key: bytes | None, seen: Mapping[str, bytes]) -> Iterator[str]:
    """What is wrong with an entry. The id is not shown: without its colon it would be the key itself."""
    if not _KEY_ID.fullmatch(key_id):
        yield "has no id of 1 to 64 letters, digits, dots, dashes and underscores before a colon"
    if key_id in seen:
        yield "repeats the id of an earlier key"
    if key is None:
        yield "is not base64 behind its colon"
    elif len(key) != _KEY_BYTES:
        yield f"is {len(key)} bytes long; a key is {_KEY_BYTES} bytes"
