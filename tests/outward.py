"""Effect nodes against real servers on this machine: a client whose guard lets them through, and a call of a node."""

import asyncio
import atexit
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PrivateFormat
from cryptography.x509.oid import NameOID

from shared.egress.allow import parse_allow
from shared.egress.client import EgressClient
from shared.egress.guard import Guard
from shared.errors import StepFailedError
from shared.nodes.base import Outcome, StepContext
from shared.nodes.registry import default_registry
from tests.compiling import compile_node

NOW = datetime(2025, 10, 31, 12, 0, 0, 123_456, tzinfo=UTC)
RUN_ID = "fl_run_01h3j4k5l6m7n8p9q0r1s2t3v4"
KEY = f"{RUN_ID}:n2:-"
Names = dict[str, Sequence[str]]


def outward(names: Names | None = None, *, allow: str = "127.0.0.0/8") -> EgressClient:
    """A client that may call this machine, and knows these names alone."""
    known = {"localhost": ["127.0.0.1"], **(names or {})}

    async def resolve(host: str) -> Sequence[str]:
        return known.get(host, ())

    return EgressClient(Guard(parse_allow(allow), resolve=resolve))


def step(egress: Any = None, timeout: float = 20.0) -> StepContext:
    """The context of a first attempt."""
    return StepContext(RUN_ID, "n2", "-", 1, KEY, NOW, timeout, egress)


async def call(component: str, data: dict[str, Any], context: StepContext, **scope: Any) -> Outcome:
    """Run an effect as a worker does."""
    return await compile_node("n2", component, data).call(scope, context)


async def failed(component: str, data: dict[str, Any], context: StepContext, **scope: Any) -> StepFailedError:
    """How an effect fails."""
    with pytest.raises(StepFailedError) as caught:
        await call(component, data, context, **scope)
    return caught.value


async def called(
    component: str,
    data: dict[str, Any],
    scope: dict[str, Any] | None = None,
    *,
    egress: Any = None,
    seconds: float = 20.0,
) -> Outcome:
    """Run an effect with a client of its own, if it is given none."""
    async with outward() as own:
        return await call(component, data, step(egress or own, seconds), **(scope or {}))


async def failure_of(
    component: str, data: dict[str, Any], scope: dict[str, Any] | None = None, **how: Any
) -> StepFailedError:
    """How an effect fails with a client of its own, if it is given none."""
    with pytest.raises(StepFailedError) as caught:
        await called(component, data, scope, **how)
    return caught.value


def fault_codes(component: str, data: dict[str, Any]) -> list[tuple[str, str]]:
    """The (path, code) of what is wrong with a node's data when it is saved."""
    return [(fault.path, fault.code) for fault in default_registry().check(component, data, "data")[0]]


def faults_of(component: str, data: dict[str, Any]) -> list[tuple[str, str]]:
    """The (path, message) of what is wrong with a node's data when it is saved."""
    return [(fault.path, fault.message) for fault in default_registry().check(component, data, "d")[0]]


def certified(name: str, folder: Path, *, days: int = 1) -> ssl.SSLContext:
    """A server's TLS context with a certificate of its own, for one name; the certificate lies in the folder.

    It is good for ten days, which end in so many days.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    end = datetime.now(UTC) + timedelta(days=days)
    certificate = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(end - timedelta(days=10))
        .not_valid_after(end)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, SHA256())
    )
    (folder / "certificate.pem").write_bytes(certificate.public_bytes(Encoding.PEM))
    (folder / "key.pem").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, serialization.NoEncryption()))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "certificate.pem", folder / "key.pem")
    return context


def closed_port() -> int:
    """A port that nothing listens on for as long as this process lives, but what a test itself lets listen there.

    What is bound and does not listen: the kernel gives its port to nobody who asks for any, and refuses who connects.
    """
    held = socket.socket()
    atexit.register(held.close)
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    held.bind(("127.0.0.1", 0))
    port: int = held.getsockname()[1]
    return port


@asynccontextmanager
async def serving(answer: Callable[[web.Request], Awaitable[web.Response]]) -> AsyncIterator[str]:
    """An HTTP server that answers every request so; its URL without a slash at the end."""

    async def handle(request: web.Request) -> web.StreamResponse:
        return await answer(request)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handle)
    runner = web.AppRunner(app, shutdown_timeout=1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def silent() -> AsyncIterator[int]:
    """The port of a server that takes connections and never says a word."""
    over = asyncio.Event()

    async def hold(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await over.wait()
        writer.close()

    server = await asyncio.start_server(hold, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        over.set()
        server.close()
        await server.wait_closed()
