"""``wireguard_keys``: a key pair of WireGuard, new or derived from a private key."""

import base64
import binascii
import os
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Final, Literal

import msgspec
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from shared.errors import StepFailedError
from shared.nodes.base import Kind, Mode, NodeType, Outcome, StepContext
from shared.nodes.fields import Plain, Text
from shared.templates import is_template

_BYTES: Final = 32


class Data(msgspec.Struct, forbid_unknown_fields=True):
    """Configuration.

    Attributes:
        mode: ``generate`` makes a new pair, ``derive`` computes the public key of ``private_key``.
        private_key: 32 bytes in Base64, as ``wg genkey`` prints them.
        preshared_key: whether a new preshared key is made too.
    """

    mode: Plain[Literal["generate", "derive"]] = "generate"
    private_key: Text[str | None] = None
    preshared_key: Plain[bool] = False


class WireguardKeys(NodeType[Data]):
    """Gives a key pair.

    Output ``{public_key}``, with ``private_key`` if the pair is new and ``preshared_key`` on request. It is an effect
    though nothing leaves: a commit says that it is running, and no node behind it starts before its keys are committed.
    An attempt that is repeated, since its worker died or it was retried, gives other keys; those of the attempt before
    were never stored or seen. A new private key stands in the run's context and logs: who may read the run may read it.
    """

    component_id = "wireguard_keys"
    aliases = ("wireguard_key_generator",)
    title = "WireGuard keys"
    kind = Kind.ACTION
    mode = Mode.EFFECT
    data_type = Data
    example: ClassVar[Mapping[str, Any]] = {
        "mode": "derive",
        "private_key": "{{ n1.key }}",
    }
    example_context: ClassVar[Mapping[str, Any]] = {"n1": {"key": "dwdtCnMYpX08FsFyUbJmRd9ML4frwJkqsXf7pR25LCo="}}
    entropy: ClassVar[Callable[[int], bytes]] = os.urandom

    def check(self, data: Mapping[str, Any]) -> list[tuple[str, str]]:
        """See `NodeType.check`."""
        key = data.get("private_key")
        if data.get("mode", "generate") == "generate":
            return (
                [] if key is None else [("private_key", 'A new pair takes no "private_key"; for that, mode is derive.')]
            )
        if key is None:
            return [("private_key", '"private_key" is required by the mode "derive".')]
        try:
            _ = None if is_template(key) else _private(key)
        except StepFailedError as error:
            return [("private_key", error.message.removeprefix("data.private_key: "))]
        return []

    async def call(self, data: Data, context: StepContext) -> Outcome:  # noqa: ARG002 — nothing of the step matters
        """Make or derive the keys."""
        new = type(self).entropy
        if data.mode == "generate":
            content = new(_BYTES)
            output = {"private_key": _encoded(_clamped(content)), "public_key": _public(content)}
        else:
            output = {"public_key": _public(_private(data.private_key or ""))}
        if data.preshared_key:
            output["preshared_key"] = _encoded(new(_BYTES))
        return Outcome(output, step_input={"mode": data.mode})


def _private(text: str) -> bytes:
    try:
        content = base64.b64decode(text.strip(), validate=True)
    except (binascii.Error, ValueError) as error:
        raise _no_key() from error
    if len(content) != _BYTES:
        raise _no_key()
    return content


def _no_key() -> StepFailedError:
    """The text is not shown: it may be a secret with a slip in it."""
    return StepFailedError("invalid_key", "data.private_key: it is no key of WireGuard: 32 bytes in Base64.")


def _clamped(content: bytes) -> bytes:
    """The bits that X25519 sets and clears in every key, as ``wg genkey`` does (RFC 7748, section 5)."""
    return bytes([content[0] & 248, *content[1:31], content[31] & 127 | 64])


def _public(content: bytes) -> str:
    return _encoded(X25519PrivateKey.from_private_bytes(content).public_key().public_bytes_raw())


def _encoded(content: bytes) -> str:
    return base64.b64encode(content).decode()
