"""One conversation with a mail server, and what its refusals mean for a retry."""

import socket
import ssl
from email.message import EmailMessage
from functools import lru_cache
from typing import Any, Protocol

from shared.egress.interface import Pinned
from shared.egress.pinned import open_socket, shown
from shared.errors import StepFailedError


class Login(Protocol):
    """What is taken of the node's rendered data."""

    security: Any
    verify_tls: bool
    username: str | None
    password: str | None


async def handed_over(
    library: Any, login: Login, place: Pinned, message: EmailMessage, recipients: list[str]
) -> tuple[dict[str, Any], str]:
    """Connect, and hand a message over; what the server refused, by address, and what it said to the whole.

    Args:
        library: the module aiosmtplib.
        login: how the server is spoken to.
        place: of the server.
        message: to be sent; its From is the sender.
        recipients: everyone it goes to.

    Raises:
        aiosmtplib.SMTPException, OSError: for `failure` and `broken`.
        StepFailedError: ``network_error`` if there is no connection.
    """
    client = library.SMTP(
        hostname=place.host,
        use_tls=login.security == "tls",
        start_tls=login.security == "starttls",
        tls_context=_tls(verify=login.verify_tls),
        username=login.username,
        password=login.password,
        timeout=None,
    )
    connected = await open_socket(place)
    await client.connect(sock=connected, local_hostname=_own_name(connected))
    try:
        answer: tuple[dict[str, Any], str] = await client.send_message(
            message, sender=message["From"].addresses[0].addr_spec, recipients=recipients
        )
    finally:
        _leave(client)
    return answer


def _leave(client: Any) -> None:
    """Say goodbye without waiting for an answer: what was sent is sent, whatever comes of that."""
    if client.transport is not None:
        client.transport.write(b"QUIT\r\n")
    client.close()


@lru_cache(maxsize=2)
def _tls(*, verify: bool) -> ssl.SSLContext:
    """Reading the machine's authorities takes milliseconds, so it is done once."""
    context = ssl.create_default_context()
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _own_name(connected: socket.socket) -> str:
    """What EHLO says: this side's address (RFC 5321, 4.1.3), since its name would take a lookup."""
    address = connected.getsockname()[0]
    return f"[IPv6:{address}]" if ":" in address else f"[{address}]"


def failure(library: Any, error: Any, host: str) -> StepFailedError:
    """The step's error for what the mail library raised. In SMTP 4yz is transient and 5yz permanent."""
    if isinstance(error, library.SMTPTimeoutError):
        return StepFailedError("timeout", f"The mail server {host} took too long.", category="timeout")
    if isinstance(error, library.SMTPRecipientsRefused):
        worst = min(error.recipients, key=lambda each: int(each.code))
        return _answered(host, worst.code, f"no recipient was accepted: {shown(worst.message)}")
    if isinstance(error, library.SMTPResponseException):
        return _answered(host, error.code, shown(error.message))
    if isinstance(error, ConnectionError):
        return broken(host, error.__cause__ if isinstance(error.__cause__, OSError) else error)
    return StepFailedError("email_failed", f"The mail server {host} will not do: {shown(str(error))}")


def _answered(host: str, code: int, text: str) -> StepFailedError:
    category = {4: "5xx", 5: "4xx"}.get(code // 100, "error")
    return StepFailedError(
        "email_failed", f"The mail server {host} refused: {code} {text}".rstrip(), category=category, http_status=code
    )


def broken(host: str, error: OSError) -> StepFailedError:
    """The step's error for a connection that broke."""
    reason = "the connection was closed before the answer"
    if isinstance(error, ssl.SSLCertVerificationError):
        reason = "its TLS certificate is not valid for it"
    elif isinstance(error, ssl.SSLError):
        reason = "the TLS handshake failed"
    return StepFailedError("network_error", f"The call to {host} failed: {reason}.", category="network")
