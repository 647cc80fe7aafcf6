"""What comes back: the body within its cap, or why there is none, in words that hold no URL."""

import aiohttp

from shared.errors import StepFailedError


async def read_body(answer: aiohttp.ClientResponse, host: str, max_bytes: int) -> bytes:
    """The decoded body. It is decoded piece by piece, so a small answer that unpacks to a huge one is caught early.

    Raises:
        StepFailedError: ``response_too_large``.
        aiohttp.ClientError: if the answer breaks off or is malformed.
    """
    content = answer.content
    if content.at_eof():
        return b""
    announced = answer.content_length
    if announced is not None and announced > max_bytes and "Content-Encoding" not in answer.headers:
        raise _too_large(host, max_bytes)
    pieces: list[bytes] = []
    left = max_bytes
    while not content.at_eof():
        piece = await content.readany()
        left -= len(piece)
        if left < 0:
            raise _too_large(host, max_bytes)
        pieces.append(piece)
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
