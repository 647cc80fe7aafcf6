"""``send_email``: a message handed to a mail server."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Final, Literal

import msgspec

from shared.egress.pinned import check_host, shown, within
from shared.errors import StepFailedError
from shared.nodes.base import Kind, Mode, NodeType, Outcome, StepContext
from shared.nodes.extras import Extra
from shared.nodes.fields import Plain, Secret, Text
from shared.nodes.http_response import SHOWN
from shared.nodes.mail import MAX_ATTACHMENTS, MAX_MESSAGE, addresses, message_of, recipients_of
from shared.nodes.mail_session import broken, failure, handed_over
from shared.nodes.webhook import Pairs
from shared.templates import is_template

_MAIL: Final = Extra("mail", "aiosmtplib")
Addresses = str | list[str]


class Attachment(msgspec.Struct, forbid_unknown_fields=True):
    """One file.

    Attributes:
        content: base64, as ``webhook`` gives a binary answer, or the text itself.
        content_type: by default what the file's name ends in says.
        encoding: what ``content`` is.
    """

    filename: str
    content: str
    content_type: str | None = None
    encoding: Literal["base64", "text"] = "base64"


class Data(msgspec.Struct, forbid_unknown_fields=True):
    """Configuration.

    Attributes:
        host: of the mail server.
        security: ``starttls``: encrypted before anything of the message is said, or given up; ``tls``: encrypted from
            its first byte (port 465); ``none``: for a relay in one's own network, and never with a password.
        verify_tls: whether the server must have a certificate that is trusted.
        sender: ``a@b.test`` or ``Name <a@b.test>``, as every address.
        to, cc, bcc: a list, or text with commas; at most 100 addresses together.
        text, html: one of them, or both for the reader to choose. Values in ``html`` want the filter ``escape``.
        headers: further ones: a list of ``{key, value}`` or an object.
        attachments: at most 20; the whole message has at most 20 MB.
    """

    host: Text[str]
    sender: Text[str]
    to: Text[Addresses]
    subject: Text[str]
    port: Annotated[int, msgspec.Meta(ge=1, le=65_535)] = 587
    security: Plain[Literal["starttls", "tls", "none"]] = "starttls"
    verify_tls: bool = True
    username: Text[str | None] = None
    password: Text[Secret[str | None]] = None
    cc: Text[Addresses] = []
    bcc: Text[Addresses] = []
    reply_to: Text[Addresses] = []
    text: Text[str | None] = None
    html: Text[str | None] = None
    headers: Text[Pairs] = []
    attachments: Text[Annotated[list[Attachment], msgspec.Meta(max_length=MAX_ATTACHMENTS)]] = []


class SendEmail(NodeType[Data]):
    """Sends one message; output ``{message_id, accepted, refused, response}``. It fails if nobody is accepted."""

    component_id = "send_email"
    aliases = ("smtp",)
    title = "Send an email"
    kind = Kind.ACTION
    mode = Mode.EFFECT
    data_type = Data
    extras = (_MAIL,)
    example: ClassVar[Mapping[str, Any]] = {
        "host": "smtp.example.com",
        "sender": "Edgewise <flows@example.com>",
        "to": ["{{ n1.email }}"],
        "subject": "Site {{ n1.site }} is back",
        "text": "It answers again.",
    }
    example_context: ClassVar[Mapping[str, Any]] = {"n1": {"email": "ops@example.com", "site": "Cape"}}

    def check(self, data: Mapping[str, Any]) -> list[tuple[str, str]]:
        """See `NodeType.check`."""
        return [*_host_faults(data["host"]), *_login_faults(data), *_address_faults(data)]

    async def call(self, data: Data, context: StepContext) -> Outcome:
        """Send the message.

        Raises:
            StepFailedError: ``invalid_address``, ``invalid_header``, ``invalid_data``, ``message_too_large``, what
                `Egress.pin` raises, ``timeout``, ``network_error``, or ``email_failed`` with the server's answer, whose
                category is ``5xx`` for what it calls transient and ``4xx`` for what it calls permanent.
        """
        logged = _logged(data)
        try:
            async with within(context.timeout, data.host):
                return Outcome(await _sent(data, context), step_input=logged)
        except StepFailedError as error:
            error.step_input = logged
            raise


async def _sent(data: Data, context: StepContext) -> dict[str, Any]:
    _check_login(data)
    library = _MAIL.load()
    message = message_of(data, now=context.now, idempotency_key=context.idempotency_key)
    recipients = recipients_of(data)
    if len(message.as_bytes()) > MAX_MESSAGE:
        raise StepFailedError("message_too_large", f"A message has at most {MAX_MESSAGE} bytes with its attachments.")
    async with context.egress.visit(data.host, data.port, timeout=context.timeout) as place:
        try:
            refused, response = await handed_over(library, data, place, message, recipients)
        except library.SMTPException as error:
            raise failure(library, error, place.host) from None
        except OSError as error:
            raise broken(place.host, error) from None
    return {
        "message_id": message["Message-ID"],
        "accepted": [each for each in recipients if each not in refused],
        "refused": {each: {"code": answer[0], "message": shown(answer[1])} for each, answer in refused.items()},
        "response": shown(response),
    }


def _check_login(data: Data) -> None:
    for _, message in _login_faults({"username": data.username, "password": data.password, "security": data.security}):
        raise StepFailedError("invalid_data", message)


def _login_faults(data: Mapping[str, Any]) -> list[tuple[str, str]]:
    if data.get("password") and not data.get("username"):
        return [("username", "A password goes with a username.")]
    if data.get("username") and data.get("security") == "none":
        return [("security", 'A password is sent over an encrypted connection only: "starttls" or "tls".')]
    return []


def _host_faults(host: str) -> list[tuple[str, str]]:
    if is_template(host):
        return []
    try:
        check_host(host)
    except StepFailedError as error:
        return [("host", error.message)]
    return []


def _address_faults(data: Mapping[str, Any]) -> list[tuple[str, str]]:
    faults = []
    for name in ("sender", "to", "cc", "bcc", "reply_to"):
        given = data.get(name, [])
        if any(is_template(each) for each in ([given] if isinstance(given, str) else given)):
            continue
        try:
            addresses(given)
        except StepFailedError as error:
            faults.append((name, error.message))
    return faults


def _logged(data: Data) -> dict[str, Any]:
    """What a log entry shows: never the password, of the text the first 2 KB, of attachments their names."""
    return {
        "host": data.host,
        "port": data.port,
        "sender": data.sender,
        "to": data.to,
        "cc": data.cc,
        "bcc": data.bcc,
        "subject": data.subject,
        "text": (data.text or data.html or "")[:SHOWN],
        "attachments": [each.filename for each in data.attachments],
    }
