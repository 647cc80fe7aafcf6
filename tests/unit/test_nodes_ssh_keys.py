"""Private keys as authors give them: what is read, and what would take too long to read."""

import base64
import time
from collections.abc import Callable
from typing import Any

import asyncssh
import pytest
from asyncssh.asn1 import der_decode, der_encode
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from shared.errors import StepFailedError
from shared.nodes.ssh_keys import MAX_KEY, private_key

KEY = asyncssh.generate_private_key("ssh-ed25519")
RSA = asyncssh.generate_private_key("ssh-rsa")


def read(text: str, passphrase: str | None = None) -> Any:
    return private_key(asyncssh, text, passphrase)


def refused(text: str, passphrase: str | None = "pass") -> str:
    """What a key is refused with, at once."""
    began = time.process_time()
    with pytest.raises(StepFailedError) as caught:
        read(text, passphrase)
    assert time.process_time() - began < 0.5
    assert caught.value.code == "invalid_data"
    return caught.value.message


def pem(kind: str, raw: bytes) -> str:
    return f"-----BEGIN {kind}PRIVATE KEY-----\n{base64.encodebytes(raw).decode()}-----END {kind}PRIVATE KEY-----\n"


def raw_of(text: bytes) -> bytes:
    return base64.b64decode(b"".join(text.split(b"-----")[2].split()))


@pytest.mark.parametrize("key", [KEY, RSA])
@pytest.mark.parametrize("form", ["openssh", "pkcs8-pem", "pkcs1-pem"])
@pytest.mark.parametrize("passphrase", [None, "pass"])
def test_usual_keys_are_read(key: asyncssh.SSHKey, form: str, passphrase: str | None) -> None:
    """Of every form, locked or not, also with text around them and the line breaks of Windows."""
    if form == "pkcs1-pem" and key is KEY:
        form = "pkcs8-pem"
    text = key.export_private_key(form, passphrase, rounds=4, ignore_few_rounds=True).decode()
    assert read(text, passphrase) == key
    assert read(f"a comment\r\n{text}\nanother".replace("\n", "\r\n"), passphrase) == key


def rounds(count: int) -> str:
    """A key of OpenSSH's form that asks for so many rounds."""
    raw = raw_of(KEY.export_private_key("openssh", passphrase="pass", rounds=4, ignore_few_rounds=True))
    place = raw.index(b"bcrypt") + len(b"bcrypt") + 4 + 4 + 16  # behind two lengths and the salt
    return pem("OPENSSH ", raw[:place] + count.to_bytes(4, "big") + raw[place + 4 :])


def encrypted(change: Callable[[Any], Any]) -> str:
    """A key in PKCS#8 whose parameters of PBKDF2 (salt, iterations and the rest) a test changes."""
    (scheme, ((kdf, parameters), cipher)), content = der_decode(  # type: ignore[misc] # tuples all
        raw_of(KEY.export_private_key("pkcs8-pem", passphrase="pass"))
    )
    return pem("ENCRYPTED ", der_encode(((scheme, ((kdf, change(parameters)), cipher)), content)))


@pytest.mark.parametrize(
    ("text", "word"),
    [
        (rounds(200_000_000), "200000000 rounds"),
        (encrypted(lambda it: (it[0], 2**40, *it[2:])), "iterations"),
        (encrypted(lambda it: (it[0], 1_000_000, 1_000_000, *it[2:])), "iterations"),
        (encrypted(lambda it: (it[0], 2**40, *it[2:])).replace("KEY-----\n", "KEY-----\nA: b\n", 1), "header lines"),
        (pem("ENCRYPTED ", b"\x30\x80" * 3000), "data.private_key"),
        (pem("ENCRYPTED ", b"\x02\x01\x05"), "data.private_key"),
        (pem("OPENSSH ", b"openssh-key-v1\0\0\0"), "data.private_key"),
        (pem("", b"x" * MAX_KEY), f"{MAX_KEY} characters"),
        (f"-----BEGIN {'a+' * 30} PRIVATE KEY-----\n", "begins with no line"),
        ("-----BEGIN PRIVATE KEY-----\n" * 40_000, "does not follow"),
        ("0" * 1000, "begins with no line"),
    ],
)  # fmt: skip
def test_what_takes_too_long_is_refused(text: str, word: str) -> None:
    """A key says itself how much work it is to open, and so is believed within bounds alone."""
    assert word in refused(text)


def test_a_large_key_holds_nothing_up() -> None:
    """Whether factors are prime is not asked, which would take seconds for keys of people who like large ones."""
    primes = [2**4423 - 1, 2**4253 - 1]  # Mersenne's, so that none need be looked for
    modulus, order = primes[0] * primes[1], (primes[0] - 1) * (primes[1] - 1)
    exponent = pow(65_537, -1, order)
    numbers = rsa.RSAPrivateNumbers(
        primes[0],
        primes[1],
        exponent,
        exponent % (primes[0] - 1),
        exponent % (primes[1] - 1),
        pow(primes[1], -1, primes[0]),
        rsa.RSAPublicNumbers(65_537, modulus),
    )
    key = numbers.private_key(unsafe_skip_rsa_key_validation=True)
    text = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    began = time.process_time()
    assert read(text).algorithm == b"ssh-rsa"
    assert time.process_time() - began < 0.5
