"""TLS of the database nodes: real servers behind a TLS terminator, reached by name at an address that was checked."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from shared.egress.allow import parse_allow
from shared.egress.client import EgressClient
from shared.egress.guard import Guard
from shared.nodes.remote import tls_context
from tests.outward import call, failed, step

NAME = "db.example.com"
ASK_FOR_TLS = b"\x00\x00\x00\x08\x04\xd2\x16\x2f"

Front = Callable[[str, int], Awaitable[int]]


async def resolve(_: str) -> Sequence[str]:
    return ["127.0.0.1"]


@pytest.fixture
async def egress() -> AsyncIterator[EgressClient]:
    async with EgressClient(Guard(parse_allow("127.0.0.1"), resolve=resolve)) as client:
        yield client


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A certificate for `NAME` that signed itself, with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, NAME)])
    start = datetime.now(UTC) - timedelta(days=1)
    made = (
        x509.CertificateBuilder(subject, subject, key.public_key(), 1, start, start + timedelta(days=2))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(NAME)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path / "server.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
    return path


@pytest.fixture
def trusted(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same, among what this machine trusts."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    tls_context.cache_clear()
    return certificate


@pytest.fixture(autouse=True)
def _forget_trust() -> None:
    tls_context.cache_clear()


@pytest.fixture
async def front(certificate: Path) -> AsyncIterator[Front]:
    """Starts a TLS terminator before a server on this machine, which speaks Postgres's greeting or none."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    servers: list[asyncio.Server] = []

    async def start(kind: str, port: int) -> int:
        async def on_connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            ends = [writer]
            try:
                if kind == "postgres_query":
                    assert await reader.readexactly(8) == ASK_FOR_TLS
                    writer.write(b"S")
                await writer.start_tls(context)
                back, to = await asyncio.open_connection("127.0.0.1", port)
                ends.append(to)
                await asyncio.gather(_pour(reader, to), _pour(back, writer))
            except (OSError, asyncio.IncompleteReadError):
                pass  # the client did not like the certificate
            finally:
                for each in ends:
                    each.close()

        servers.append(await asyncio.start_server(on_connect, "127.0.0.1", 0))
        bound: int = servers[-1].sockets[0].getsockname()[1]
        return bound

    yield start
    for each in servers:
        each.close()
        await each.wait_closed()


async def _pour(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    while data := await source.read(65_536):
        target.write(data)
    target.close()


@pytest.fixture(params=["postgres_query", "redis_command"])
async def node(request: pytest.FixtureRequest, front: Front, postgres: Any, valkey: Any) -> tuple[str, dict[str, Any]]:
    """A node type, and data that lead it to its server through the terminator."""
    kind = str(request.param)
    url = urlsplit(postgres.url_of("postgres") if kind == "postgres_query" else valkey.url)
    data = {"host": NAME, "port": await front(kind, url.port or 0), "password": url.password}
    if kind == "postgres_query":
        return kind, {**data, "user": url.username, "database": "postgres", "query": "SELECT 5 AS five"}
    return kind, {**data, "command": "ECHO", "arguments": ["five"]}


async def test_a_trusted_server(node: tuple[str, dict[str, Any]], egress: EgressClient, trusted: Path) -> None:
    """By default the certificate is checked against the name, although the connection goes to an address."""
    outcome = await call(*node, step(egress))
    assert outcome.output in ({"rows": [{"five": 5}], "row_count": 1, "command": "SELECT 1"}, {"result": "five"})


async def test_another_name(node: tuple[str, dict[str, Any]], egress: EgressClient, trusted: Path) -> None:
    """A trusted certificate of another name is none."""
    kind, data = node
    error = await failed(kind, {**data, "host": "other.example.com"}, step(egress))
    assert (error.code, error.category) == ("network_error", "network")
    assert "certificate" in error.message


async def test_an_unknown_server(node: tuple[str, dict[str, Any]], egress: EgressClient) -> None:
    """A certificate that nobody trusts ends the connection before the password is sent, unless any will do."""
    kind, data = node
    error = await failed(kind, data, step(egress))
    assert (error.code, "certificate" in error.message) == ("network_error", True)
    assert (await call(kind, {**data, "tls": "require"}, step(egress))).output


async def test_a_flood_under_tls(front: Front, postgres: Any, egress: EgressClient, trusted: Path) -> None:
    """What a server sends is counted behind TLS as well."""
    url = urlsplit(postgres.url_of("postgres"))
    login = {"user": url.username, "password": url.password, "database": "postgres"}
    place = {"host": NAME, "port": await front("postgres_query", url.port or 0)}
    query = "SELECT repeat('x', 1000000) AS x FROM generate_series(1, 100)"
    error = await failed("postgres_query", {**place, **login, "query": query}, step(egress))
    assert error.code == "result_too_large"
