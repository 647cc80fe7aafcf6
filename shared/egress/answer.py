"""What comes back: the body within its cap, or why there is none, in words that hold no URL."""

from collections.abc import Mapping
from typing import Protocol

import aiohttp

from shared.egress.hop import Hop
from shared.egress.unpacking import unpacking
from shared.errors import StepFailedError


class Answer(Protocol):
    """An answer whose head has come; `aiohttp.ClientResponse` is one.

    Attributes:
        raw_headers: in the order received, names as sent.
        content: the body as it comes, packed if ``Content-Encoding`` says so.
    """

    status: int
    reason: str | None
    content: aiohttp.StreamReader

    @property
    def headers(self) -> Mapping[str, str]:
        """By name in any case."""
        ...

    @property
    def raw_headers(self) -> tuple[tuple[bytes, bytes], ...]: ...

    def release(self) -> object:
        """Give the connection back if the answer was read to its end, and close it if not."""
        ...


class Sender(Protocol):
    """A pool of connections."""

    async def send(self, hop: Hop, addresses: tuple[str, ...], *, verify_tls: bool) -> Answer:
        """Send a request and wait for the head of its answer.

        Args:
            hop: what is sent.
            addresses: those that a new connection may be made to.
            verify_tls: False accepts any certificate.

        Raises:
            aiohttp.ClientError, OSError: if that failed.
        """
        ...

    async def close(self) -> None:
        """Close every connection."""
        ...


async def read_body(answer: Answer, host: str, max_bytes: int) -> bytes:
    """The body, unpacked.

    Raises:
        StepFailedError: ``response_too_large``.
        aiohttp.ClientError: if the answer breaks off or is malformed.
    """
    content = answer.content
    if content.at_eof():
        return b""
    announced = answer.headers.get("Content-Length")
    if announced is not None and int(announced) > max_bytes and "Content-Encoding" not in answer.headers:
        raise _too_large(host, max_bytes)
    unpacked = unpacking(answer.headers.get("Content-Encoding"))
    pieces: list[bytes] = []
    left = max_bytes
    while not content.at_eof():
        for piece in unpacked.feed(await content.readany()):
            left -= len(piece)
            if left < 0:
                raise _too_large(host, max_bytes)
            pieces.append(piece)
    unpacked.end()
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def _too_large(host: str, max_bytes: int) -> StepFailedError:
    return StepFailedError("response_too_large", f"The answer of {host}, unpacked, is over {max_bytes} bytes.")


def network_error(host: str, error: Exception) -> StepFailedError:
    """The step's error for a connection that failed."""
    return StepFailedError("network_error", f"The call to {host} failed: {_reason(error)}.", category="network")


def _reason(error: Exception) -> str:
    match error:
        case aiohttp.ClientConnectorCertificateError():
            return "its TLS certificate is not valid for it"
        case aiohttp.ClientConnectorSSLError():
            return "the TLS handshake failed"
        case aiohttp.ClientProxyConnectionError() | aiohttp.ClientHttpProxyError():
            return "the proxy could not be reached or refused it"
        case aiohttp.ClientConnectorError():
            return f"no connection ({error.os_error.strerror or 'unknown reason'})"
        case aiohttp.ServerDisconnectedError() | aiohttp.ClientOSError():
            return "the connection was closed before the answer"
        case _:
            return "the answer broke off or is not valid HTTP"
