"""The signed links of steps that wait for an answer.

A token is ``version (1 byte: 1) | run (16 bytes) | HMAC-SHA256 (32 bytes) | node id, NUL, item path``, in base64url
without padding; the HMAC covers all the rest. Nothing is stored for it, so a link can be given out before its wait
begins; that a step is answered once is the database's to see to.
"""

import base64
import re
from typing import Final, NamedTuple
from uuid import UUID

from shared.vault import KeyRing

PATH: Final = "/workflows/callbacks/"
_VERSION: Final = b"\x01"
_RUN_END: Final = 17
_MAC_END: Final = 49
_TOKEN: Final = re.compile(r"[A-Za-z0-9_-]{68,400}")
_PURPOSE: Final = b"callback\0"


class Place(NamedTuple):
    """The step that a link is for."""

    run_id: UUID
    node_id: str
    item: str


class Links:
    """Makes and reads links.

    Args:
        keys: the newest signs, all of them verify.
        public_url: what URLs begin with.
    """

    def __init__(self, keys: KeyRing, public_url: str) -> None:
        self._keys = keys
        self._base = f"{public_url}{PATH}"

    def url(self, place: Place) -> str:
        """The link of a step."""
        return self._base + self.token(place)

    def token(self, place: Place) -> str:
        """What stands in the link of a step."""
        head = _VERSION + place.run_id.bytes
        tail = f"{place.node_id}\0{place.item}".encode()
        blob = head + self._keys.sign(_PURPOSE + head + tail) + tail
        return base64.urlsafe_b64encode(blob).rstrip(b"=").decode()

    def read(self, token: str) -> Place | None:
        """The step a token is for; None if nobody with these keys has signed it."""
        blob = _decoded(token)
        head, mac, tail = blob[:_RUN_END], blob[_RUN_END:_MAC_END], blob[_MAC_END:]
        if head[:1] != _VERSION or not self._keys.has_signed(_PURPOSE + head + tail, mac):
            return None
        node_id, _, item = tail.decode().partition("\0")
        return Place(UUID(bytes=head[1:]), node_id, item)


def _decoded(token: str) -> bytes:
    """The bytes of a token; none if it cannot be one."""
    if not _TOKEN.fullmatch(token) or len(token) % 4 == 1:
        return b""
    return base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
