"""A mail message: its addresses, header fields and attachments, in which no value can begin a line of its own."""

import base64
import binascii
import mimetypes
import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from hashlib import sha256
from typing import Any, Final, Protocol

from shared.egress.fields import check_headers
from shared.errors import StepFailedError
from shared.nodes.http_request import headers_of

MAX_RECIPIENTS: Final = 100
MAX_ATTACHMENTS: Final = 20
#: Bytes of a whole message; what the large mail services take is 20 to 25 MB.
MAX_MESSAGE: Final = 20 * 1024 * 1024
#: Characters of a line (RFC 5322, 2.1.1).
_MAX_ADDRESS: Final = 998
_MAX_SUBJECT: Final = 998
_BREAKS: Final = re.compile(r"[\r\n\x00]")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
#: One of a list of addresses: commas part them, but not in quotes and not between angle brackets.
_ONE: Final = re.compile(r'(?:"(?:[^"\\]|\\.)*"|<[^<>]*>|[^,"<>])+')
_NAMED: Final = re.compile(r"\s*(?P<name>[^<>]*?)\s*<\s*(?P<spec>[^<>\s]+)\s*>\s*")
_SPEC: Final = re.compile(r'(?P<local>[^\s@<>()\[\]\\,;:"]{1,64})@(?P<domain>[^\s@<>()\[\]\\,;:"]{1,253})')
_DOMAIN: Final = re.compile(r"[A-Za-z0-9_-]{1,63}(?:\.[A-Za-z0-9_-]{1,63})*")
_CONTENT_TYPE: Final = re.compile(r"([A-Za-z0-9!#$&^_.+-]{1,127})/([A-Za-z0-9!#$&^_.+-]{1,127})")
#: Fields that the message's own make; a second one of them would say something else.
_OWN: Final = frozenset(
    (
        *("from", "sender", "to", "cc", "bcc", "reply-to", "subject", "date", "message-id", "return-path"),
        *("mime-version", "content-type", "content-transfer-encoding", "content-disposition"),
    )
)


class File(Protocol):
    """What is taken of an attachment."""

    filename: str
    content: str
    content_type: str | None
    encoding: Any


class Letter(Protocol):
    """What is taken of the node's rendered data."""

    sender: str
    to: Any
    cc: Any
    bcc: Any
    reply_to: Any
    subject: str
    text: str | None
    html: str | None
    headers: Any
    attachments: Any


def addresses(given: str | Sequence[str]) -> list[Address]:
    """The addresses of a list, or of text that parts them by commas; ``a@b.test`` or ``Name <a@b.test>`` each.

    Raises:
        StepFailedError: ``invalid_address``.
    """
    parts = _parted(given) if isinstance(given, str) else given
    return [_address(part) for part in parts if part.strip()]


def message_of(letter: Letter, *, now: datetime, idempotency_key: str) -> EmailMessage:
    """The message without its blind copies. Every attempt makes the same one, under the same Message-ID.

    Raises:
        StepFailedError: ``invalid_address``, ``invalid_header``, ``invalid_data`` or ``message_too_large``.
    """
    sender = _one(letter.sender)
    message = EmailMessage(policy=SMTP)
    message["From"] = sender
    for name, given in (("To", letter.to), ("Cc", letter.cc), ("Reply-To", letter.reply_to)):
        if found := addresses(given):
            message[name] = found
    message["Subject"] = _subject(letter.subject)
    message["Date"] = now
    message["Message-ID"] = f"<{sha256(idempotency_key.encode()).hexdigest()[:32]}@{sender.domain}>"
    for name, value in _further(letter.headers):
        message[name] = value
    _fill(message, letter)
    return message


def recipients_of(letter: Letter) -> list[str]:
    """Everyone that the message goes to, once each.

    Raises:
        StepFailedError: ``invalid_address`` if there is none, or there are too many.
    """
    found = [address.addr_spec for given in (letter.to, letter.cc, letter.bcc) for address in addresses(given)]
    unique = list(dict.fromkeys(found))
    if not 1 <= len(unique) <= MAX_RECIPIENTS:
        raise _unfit(f"A message goes to 1 to {MAX_RECIPIENTS} addresses, this one to {len(unique)}.")
    return unique


def _parted(text: str) -> list[str]:
    if len(text) > MAX_RECIPIENTS * _MAX_ADDRESS:
        raise _unfit(f"A list of addresses has at most {MAX_RECIPIENTS * _MAX_ADDRESS} characters.")
    if _ONE.sub("", text).strip(","):
        raise _unfit("In a list of addresses every quote and every angle bracket is closed.")
    return _ONE.findall(text)


def _one(text: str) -> Address:
    found = addresses(text)
    if len(found) != 1:
        raise _unfit("A sender is one address.")
    return found[0]


def _address(text: str) -> Address:
    if len(text) > _MAX_ADDRESS:
        raise _unfit(f"An address has at most {_MAX_ADDRESS} characters with its name.")
    if _CONTROL.search(text):
        raise _unfit("An address has no line break and no other control character.")
    named = _NAMED.fullmatch(text)
    name, spec = (named["name"], named["spec"]) if named else ("", text.strip())
    parts = _SPEC.fullmatch(spec)
    if parts is None:
        raise _unfit("An address is name@host, or a name and <name@host>.")
    try:
        return Address(_unquoted(name), parts["local"], _ascii(parts["domain"]))
    except (ValueError, UnicodeError):
        raise _unfit("An address is name@host, or a name and <name@host>.") from None


def _unquoted(name: str) -> str:
    if len(name) >= 2 and name.startswith('"') and name.endswith('"'):
        return re.sub(r"\\(.)", r"\1", name[1:-1])
    return name


def _ascii(domain: str) -> str:
    ascii_only = domain if domain.isascii() else domain.encode("idna").decode()
    if not _DOMAIN.fullmatch(ascii_only):
        raise ValueError("no name of a host")
    return ascii_only


def _subject(text: str) -> str:
    if _BREAKS.search(text) or len(text) > _MAX_SUBJECT:
        raise StepFailedError(
            "invalid_header", f"A subject has at most {_MAX_SUBJECT} characters, no line break, no NUL."
        )
    return _legal(text)


def _further(headers: Any) -> Iterator[tuple[str, str]]:
    """The author's own header fields.

    Raises:
        StepFailedError: ``invalid_header``.
    """
    fields = [(name, value) for _, name, value in headers_of(headers)]
    check_headers(fields)
    for name, value in fields:
        if name.lower() in _OWN or name.lower().startswith("resent-"):
            raise StepFailedError(
                "invalid_header", f"The header {name} is made of the node's own fields; leave it out."
            )
        yield name, _legal(value)


def _fill(message: EmailMessage, letter: Letter) -> None:
    """The text, the HTML beside it, and what is attached."""
    if letter.text is not None or letter.html is None:
        message.set_content(_legal(letter.text or ""))
        if letter.html is not None:
            message.add_alternative(_legal(letter.html), subtype="html")
    else:
        message.set_content(_legal(letter.html), subtype="html")
    left = MAX_MESSAGE - sum(len(each or "") for each in (letter.text, letter.html))
    for content, file in _contents(letter.attachments):
        left -= len(content) * 4 // 3
        if left < 0:
            raise StepFailedError(
                "message_too_large", f"A message has at most {MAX_MESSAGE} bytes with its attachments."
            )
        main, sub = _content_type(file)
        message.add_attachment(content, maintype=main, subtype=sub, filename=_filename(file.filename))


def _legal(text: str) -> str:
    """Text that UTF-8 can hold; half of a surrogate pair becomes a question mark."""
    return text.encode("utf-8", "replace").decode()


def _contents(files: Iterable[File]) -> Iterator[tuple[bytes, File]]:
    for file in files:
        if file.encoding == "text":
            yield _legal(file.content).encode(), file
            continue
        try:
            yield base64.b64decode("".join(file.content.split()), validate=True), file
        except (binascii.Error, ValueError):
            raise StepFailedError("invalid_data", "The content of an attachment is not base64.") from None


def _content_type(file: File) -> tuple[str, str]:
    guessed = file.content_type or mimetypes.guess_type(file.filename)[0] or "application/octet-stream"
    found = _CONTENT_TYPE.fullmatch(guessed)
    if found is None or found[1].lower() in ("multipart", "message"):
        raise StepFailedError("invalid_data", "The content_type of an attachment is like application/pdf.")
    return found[1], found[2]


def _filename(name: str) -> str:
    if not name or len(name) > 255 or _CONTROL.search(name) or "/" in name or "\\" in name:
        raise StepFailedError(
            "invalid_data",
            "The filename of an attachment is 1 to 255 characters, without slashes and control characters.",
        )
    return _legal(name)


def _unfit(message: str) -> StepFailedError:
    return StepFailedError("invalid_address", message)
