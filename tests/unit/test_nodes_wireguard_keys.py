"""``wireguard_keys``: pairs that fit, and keys that are none."""

import base64
from datetime import UTC, datetime
from typing import Any, cast

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from shared.egress.interface import Egress
from shared.errors import StepFailedError
from shared.nodes.base import Mode, Outcome, StepContext
from shared.nodes.registry import default_registry
from tests.compiling import compile_node

CONTEXT = StepContext("r", "n2", "-", 1, "r:n2:-", datetime(2025, 1, 1, tzinfo=UTC), 1.0, cast(Egress, None))
#: RFC 7748, section 6.1: Bob's private key and his public one.
BOB = base64.b64encode(bytes.fromhex("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb")).decode()
HIS = "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f"


async def called(scope: dict[str, Any] | None = None, **data: Any) -> Outcome:
    """How the node ends."""
    return await compile_node("n2", "wireguard_keys", data).call(scope or {}, CONTEXT)


def paths(**data: Any) -> list[str]:
    """The paths of everything wrong with this data when it is saved."""
    return [fault.path for fault in default_registry().check("wireguard_keys", data, "d")[0]]


def raw(key: str) -> bytes:
    return base64.b64decode(key, validate=True)


async def test_a_new_pair_fits_and_is_new() -> None:
    """The public key is that of the private one, two pairs agree on a secret, and no two are the same."""
    first, second = [(await called()).output for _ in range(2)]
    assert first.keys() == {"private_key", "public_key"}
    mine, other = (X25519PrivateKey.from_private_bytes(raw(pair["private_key"])) for pair in (first, second))
    shared = mine.exchange(X25519PublicKey.from_public_bytes(raw(second["public_key"])))
    assert shared == other.exchange(X25519PublicKey.from_public_bytes(raw(first["public_key"])))
    assert first != second


async def test_private_keys_look_as_those_of_wg() -> None:
    """The bits that X25519 fixes are fixed in the key itself, as ``wg genkey`` prints it."""
    for _ in range(20):
        key = raw((await called()).output["private_key"])
        assert (len(key), key[0] & 7, key[31] >> 6) == (32, 0, 1)


async def test_derives_the_public_key() -> None:
    """RFC 7748, section 6.1; the private key is not repeated, in the output or in the log's input."""
    outcome = await called({"n1": {"key": BOB}}, mode="derive", private_key="{{ n1.key }}")
    assert raw(outcome.output["public_key"]).hex() == HIS
    assert outcome.output.keys() == {"public_key"}
    assert BOB not in str(outcome)


async def test_a_preshared_key_on_request() -> None:
    """It is 32 random bytes, with a new pair or a derived one."""
    key = (await called()).output["private_key"]
    derive = {"mode": "derive", "private_key": key}
    made = [(await called(preshared_key=True, **data)).output for data in ({}, derive)]
    assert [len(raw(each["preshared_key"])) for each in made] == [32, 32]
    assert made[0]["preshared_key"] != made[1]["preshared_key"]


def test_it_is_an_effect() -> None:
    """Its keys are committed before anything behind it starts: a repeated attempt's other keys reach nobody twice."""
    assert default_registry().mode("wireguard_keys") is Mode.EFFECT
    assert default_registry().resolve("wireguard_key_generator") == "wireguard_keys"


@pytest.mark.parametrize(
    ("data", "at"),
    [
        ({}, []),
        ({"mode": "derive"}, ["d.private_key"]),
        ({"mode": "derive", "private_key": "{{ n1.x }}"}, []),
        ({"mode": "derive", "private_key": "short"}, ["d.private_key"]),
        ({"mode": "generate", "private_key": "x"}, ["d.private_key"]),
        ({"mode": "public"}, ["d.mode"]),
        ({"preshared_key": "yes"}, ["d.preshared_key"]),
    ],
)
def test_faults(data: dict[str, Any], at: list[str]) -> None:
    """A private key is for derive alone, which needs one of 32 bytes."""
    assert paths(**data) == at


@pytest.mark.parametrize("key", ["", "!", "c2VjcmV0", "c2VjcmV0" * 10, "é" * 44, "\ud800"])
async def test_a_bad_key_is_not_shown(key: str) -> None:
    """The step fails with the rule and without the text, which may be a secret with a slip in it."""
    with pytest.raises(StepFailedError, match="no key of WireGuard: 32 bytes in Base64") as caught:
        await called({"n1": {"key": key}}, mode="derive", private_key="{{ n1.key }}")
    assert caught.value.code == "invalid_key"
    assert not key or key not in caught.value.message
