"""The mail node against a real mail server: what arrives, how it is protected, and what may not be said to it."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from pathlib import Path
from typing import Any, cast

import pytest
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword

from shared.nodes.mail_session import _tls
from shared.nodes.registry import default_registry
from shared.nodes.send_email import SendEmail
from tests.outward import called, certified, closed_port, failure_of, faults_of, outward, silent

LETTER = {"sender": "Flows <flows@a.test>", "to": "ops@b.test", "subject": "Hello", "text": "It is up."}
PLAIN = {"host": "localhost", "security": "none"}


class Mailbox:
    """Takes mail, but for addresses that begin with no@ and later@; keeps what came, over what."""

    def __init__(self) -> None:
        self.envelopes: list[Envelope] = []
        self.names: list[str] = []
        self.over_tls: list[bool] = []

    async def handle_EHLO(  # noqa: N802
        self, server: Any, session: Any, envelope: Any, hostname: str, responses: list[str]
    ) -> list[str]:
        self.names.append(hostname)
        session.host_name = hostname
        return responses

    async def handle_RCPT(self, server: Any, session: Any, envelope: Any, address: str, options: Any) -> str:  # noqa: N802
        if address.startswith("no@"):
            return "550 5.1.1 no such person"
        if address.startswith("later@"):
            return "451 4.3.0 come back\tlater"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Any, session: Any, envelope: Envelope) -> str:  # noqa: N802
        self.envelopes.append(envelope)
        self.over_tls.append(session.ssl is not None or server.transport.get_extra_info("sslcontext") is not None)
        return "250 queued as 7"

    def last(self) -> EmailMessage:
        """The last message, read again from its bytes."""
        return cast("EmailMessage", message_from_bytes(cast("bytes", self.envelopes[-1].content), policy=default))


class Connection(SMTP):
    """One connection of the server, which says when it is over."""

    over: asyncio.Event | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.over = self.over or asyncio.Event()
        super().connection_made(transport)

    def connection_lost(self, error: Exception | None) -> None:
        super().connection_lost(error)
        if self.over is not None:
            self.over.set()


@asynccontextmanager
async def serving(mailbox: Mailbox, tls: ssl.SSLContext | None = None, **how: Any) -> AsyncIterator[int]:
    """A mail server; its port. With ``tls`` it is encrypted from the first byte."""
    loop = asyncio.get_running_loop()
    connections: list[Connection] = []

    def connection() -> Connection:
        connections.append(Connection(mailbox, hostname="mx.b.test", loop=loop, timeout=30, **how))
        return connections[-1]

    server = await loop.create_server(connection, "127.0.0.1", 0, ssl=tls)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for each in connections:
            if each.over is not None:
                await each.over.wait()
        await server.wait_closed()


@pytest.fixture
def trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ssl.SSLContext]:
    """Makes a server's TLS context whose certificate this process trusts."""

    def make(name: str) -> ssl.SSLContext:
        context = certified(name, tmp_path)
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "certificate.pem"))
        _tls.cache_clear()
        return context

    return make


@pytest.fixture(autouse=True)
def _fresh_tls() -> Any:
    yield
    _tls.cache_clear()


async def sent(data: dict[str, Any], scope: dict[str, Any] | None = None) -> tuple[Mailbox, dict[str, Any]]:
    """What arrives of a letter, and the step's output."""
    mailbox = Mailbox()
    async with serving(mailbox) as port:
        outcome = await called("send_email", {**LETTER, **PLAIN, "port": port, **data}, scope)
    return mailbox, outcome.output


async def refused(data: dict[str, Any], scope: dict[str, Any] | None = None) -> str:
    """The code with which a letter fails that must not be sent at all."""
    mailbox = Mailbox()
    async with serving(mailbox) as port:
        error = await failure_of("send_email", {**LETTER, **PLAIN, "port": port, **data}, scope)
    assert mailbox.names == []
    return error.code


async def test_a_message_arrives() -> None:
    """With its addresses, its subject in any script, a date of Postgres's, an id equal in every attempt."""
    data = {
        "to": ["Ann <ann@b.test>", "bob@b.test"],
        "cc": "c@b.test",
        "subject": "Grüße, {{ n1.who }}",
        "reply_to": "r@a.test",
    }
    mailbox, output = await sent({**data, "bcc": ["hidden@b.test", "bob@b.test"]}, {"n1": {"who": "Zoë"}})
    message = mailbox.last()
    assert message["Subject"] == "Grüße, Zoë"
    assert (message["From"], message["To"]) == ("Flows <flows@a.test>", "Ann <ann@b.test>, bob@b.test")
    assert (message["Cc"], message["Reply-To"], message["Bcc"]) == ("c@b.test", "r@a.test", None)
    assert message["Date"].datetime.isoformat() == "2025-10-31T12:00:00+00:00"
    assert message.get_content() == "It is up.\r\n" or message.get_content() == "It is up.\n"
    assert mailbox.envelopes[0].mail_from == "flows@a.test"
    assert output["accepted"] == ["ann@b.test", "bob@b.test", "c@b.test", "hidden@b.test"]
    assert (output["refused"], output["response"]) == ({}, "queued as 7")
    assert output["message_id"] == message["Message-ID"] == (await sent({}))[1]["message_id"]


async def test_text_and_html_are_alternatives() -> None:
    """A reader chooses; files come after them, as they were."""
    files = [
        {"filename": "a.pdf", "content": "JVBERi0="},
        {"filename": "ü.csv", "content": "a;b\n{{ n1.x }}", "encoding": "text", "content_type": "text/csv"},
    ]
    mailbox, _ = await sent({"html": "<b>{{ n1.x | escape }}</b>", "attachments": files}, {"n1": {"x": "<3>"}})
    message = mailbox.last()
    alternatives = next(message.iter_parts())
    assert [part.get_content_type() for part in alternatives.iter_parts()] == ["text/plain", "text/html"]
    assert "<b>&lt;3&gt;</b>" in message.get_body(("html",)).get_content()  # type: ignore[union-attr]
    pdf, csv = message.iter_attachments()
    assert (pdf.get_filename(), pdf.get_content_type(), pdf.get_content()) == ("a.pdf", "application/pdf", b"%PDF-")
    assert (csv.get_filename(), csv.get_content_type()) == ("ü.csv", "text/csv")
    assert csv.get_payload(decode=True) == b"a;b\n<3>"


async def test_lines_cannot_end_the_message() -> None:
    """A dot on its own line, in whatever kind of line break, stays text."""
    mailbox, _ = await sent({"text": "{{ n1.x }}"}, {"n1": {"x": "a\n.\nb\r.\rQUIT\r\n.\r\nMAIL FROM:<x@y>"}})
    assert len(mailbox.envelopes) == 1
    assert mailbox.last().get_content().split() == ["a", ".", "b", ".", "QUIT", ".", "MAIL", "FROM:<x@y>"]


async def test_starttls_and_login(trusted: Callable[[str], ssl.SSLContext]) -> None:
    """The password goes over the encrypted connection, and neither it nor a part of it into the log entry."""
    mailbox, seen = Mailbox(), []

    def login(*args: Any) -> AuthResult:
        seen.append(args[-1])
        return AuthResult(success=args[-1] == LoginPassword(b"flows", b"s3cret-pass"), handled=False)

    how = {"tls_context": trusted("localhost"), "require_starttls": True, "auth_required": True, "authenticator": login}
    async with serving(mailbox, **how) as port:
        data = {**LETTER, "host": "localhost", "port": port, "username": "flows", "password": "{{ n1.p }}"}
        outcome = await called("send_email", data, {"n1": {"p": "s3cret-pass"}})
        wrong = await failure_of("send_email", data, {"n1": {"p": "other-pass"}})
    assert mailbox.over_tls == [True]
    assert len(seen) >= 2
    assert "s3cret" not in str(outcome)
    assert (wrong.code, wrong.category, wrong.http_status) == ("email_failed", "4xx", 535)
    assert "other-pass" not in wrong.message + str(wrong.step_input)


async def test_tls_from_the_first_byte(trusted: Callable[[str], ssl.SSLContext]) -> None:
    """The certificate is held against the name, not against the address that was connected to."""
    mailbox = Mailbox()
    async with serving(mailbox, trusted("mail.a.test")) as port, outward({"mail.a.test": ["127.0.0.1"]}) as egress:
        data = {**LETTER, "host": "mail.a.test", "port": port, "security": "tls"}
        error = await failure_of("send_email", {**data, "host": "localhost"}, egress=egress)
        await called("send_email", data, egress=egress)
    assert mailbox.over_tls == [True]
    assert (error.code, error.category) == ("network_error", "network")
    assert "certificate" in error.message


@pytest.mark.parametrize("security", ["tls", "starttls"])
async def test_an_unknown_certificate_is_refused(security: str, tmp_path: Path) -> None:
    """Unless the author says that any will do."""
    mailbox, context = Mailbox(), certified("localhost", tmp_path)
    how: dict[str, Any] = {"tls": context} if security == "tls" else {"tls_context": context}
    async with serving(mailbox, **how) as port:
        data = {**LETTER, "host": "localhost", "port": port, "security": security}
        error = await failure_of("send_email", data)
        assert mailbox.envelopes == []
        await called("send_email", {**data, "verify_tls": False})
    assert error.code == "network_error"
    assert "certificate" in error.message
    assert mailbox.over_tls == [True]


async def test_starttls_is_never_left_out() -> None:
    """A server that offers none, as one with somebody in between does, gets no message."""
    mailbox = Mailbox()
    async with serving(mailbox) as port:
        error = await failure_of("send_email", {**LETTER, "host": "localhost", "port": port})
    assert (error.code, error.category) == ("email_failed", "error")
    assert "STARTTLS" in error.message
    assert mailbox.envelopes == []


async def test_a_password_wants_encryption() -> None:
    """In the clear it is a fault when saved, and a failure before a connection is made."""
    data = {**LETTER, **PLAIN, "username": "u", "password": "p"}
    assert [path for path, _ in faults_of("send_email", data)] == ["d.security"]
    assert await refused({"username": "u", "password": "p"}) == "invalid_data"


async def test_some_may_be_refused() -> None:
    """The others have got it, so that the step goes on, and says who has not and why."""
    mailbox, output = await sent({"to": ["no@b.test", "ok@b.test", "later@b.test"]})
    assert mailbox.envelopes[0].rcpt_tos == ["ok@b.test"]
    assert output["accepted"] == ["ok@b.test"]
    assert output["refused"] == {
        "no@b.test": {"code": 550, "message": "5.1.1 no such person"},
        "later@b.test": {"code": 451, "message": "4.3.0 come back later"},
    }


@pytest.mark.parametrize(
    ("to", "category", "code"), [(["no@b.test"], "4xx", 550), (["no@b.test", "later@b.test"], "5xx", 451)]
)
async def test_if_nobody_is_accepted_the_step_fails(to: list[str], category: str, code: int) -> None:
    """For good if every refusal is, and to be tried again if one is transient."""
    async with serving(Mailbox()) as port:
        error = await failure_of("send_email", {**LETTER, **PLAIN, "port": port, "to": to})
    assert (error.code, error.category, error.http_status) == ("email_failed", category, code)


@pytest.mark.parametrize("broken", ["a\r\nBcc: x@y.test", "a\nb", "a\rb", "a\x00b"])
async def test_no_value_begins_a_header(broken: str) -> None:
    """A line break or NUL in a subject, an address or a header is refused before a connection is made."""
    scope = {"n1": {"x": broken}}
    assert await refused({"subject": "{{ n1.x }}"}, scope) == "invalid_header"
    assert await refused({"headers": {"X-A": "{{ n1.x }}"}}, scope) == "invalid_header"
    for field in ("sender", "to", "cc", "bcc", "reply_to"):
        assert await refused({field: "{{ n1.x }} <a@b.test>"}, scope) == "invalid_address"
        assert await refused({field: "a@{{ n1.x }}"}, scope) == "invalid_address"
    file = {"filename": "{{ n1.x }}", "content": ""}
    assert await refused({"attachments": [file]}, scope) == "invalid_data"


@pytest.mark.parametrize("name", ["From", "bcc", "Content-Type", "Message-ID", "Resent-To", "X A", "X:A"])
async def test_fields_of_the_message_are_its_own(name: str) -> None:
    """A header of the author's cannot stand beside one that the node makes."""
    assert await refused({"headers": {name: "x@y.test"}}) == "invalid_header"


@pytest.mark.parametrize(
    "text", ["a", "a@", "@b.test", "a b@c.test", "<a@b.test", "a@b.test>", "a@b@c", "a@b.test c", "a@b..test"]
)
async def test_what_is_no_address_is_refused(text: str) -> None:
    """When saved already, if it is no template."""
    assert [path for path, _ in faults_of("send_email", {**LETTER, **PLAIN, "to": text})] == ["d.to"]
    assert await refused({"to": "{{ n1.x }}"}, {"n1": {"x": text}}) == "invalid_address"


async def test_sizes_are_limited() -> None:
    """Of the addresses, the subject and the files."""
    assert await refused({"to": [f"p{number}@b.test" for number in range(101)]}) == "invalid_address"
    assert await refused({"to": []}) == "invalid_address"
    assert await refused({"subject": "s" * 999}) == "invalid_header"
    big = {"filename": "big.txt", "content": "x" * 16_000_000, "encoding": "text"}
    assert await refused({"attachments": [big]}) == "message_too_large"


async def test_a_bad_file_is_refused() -> None:
    """Content that is no base64, and types that would nest messages."""
    assert await refused({"attachments": [{"filename": "a", "content": "%%"}]}) == "invalid_data"
    nested = {"filename": "a", "content": "", "content_type": "message/rfc822"}
    assert await refused({"attachments": [nested]}) == "invalid_data"


async def test_this_side_gives_its_address_as_its_name() -> None:
    """No lookup of this machine's own name is made."""
    mailbox, _ = await sent({})
    assert mailbox.names == ["[127.0.0.1]"]


async def test_time_is_limited() -> None:
    """A server that never greets fails with a timeout, one that is not there at once."""
    async with silent() as port:
        error = await failure_of("send_email", {**LETTER, **PLAIN, "port": port}, seconds=0.3)
    assert (error.code, error.category) == ("timeout", "timeout")
    error = await failure_of("send_email", {**LETTER, **PLAIN, "port": closed_port()})
    assert (error.code, error.category) == ("network_error", "network")


def test_its_other_name_is_taken() -> None:
    """Graphs that say smtp mean this node."""
    assert default_registry().resolve("smtp") == "send_email"


async def test_the_example_is_sent() -> None:
    """The type's own example, at the address of a server, is a message that arrives."""
    mailbox, scope = Mailbox(), dict(SendEmail.example_context)
    async with serving(mailbox) as port:
        outcome = await called("send_email", {**SendEmail.example, **PLAIN, "port": port}, scope)
    message = mailbox.last()
    assert (message["To"], message["Subject"]) == ("ops@example.com", "Site Cape is back")
    assert message["From"] == "Edgewise <flows@example.com>"
    assert message.get_content().strip() == "It answers again."
    assert outcome.output["accepted"] == ["ops@example.com"]
