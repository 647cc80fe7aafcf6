"""One conversation over ssh: the host proves its key, the command runs, what it writes is capped."""

import asyncio
import re
from contextlib import suppress
from functools import partial
from typing import Any, Final, Protocol

import msgspec

from shared.egress.interface import Pinned
from shared.egress.pinned import open_socket, shown
from shared.errors import StepFailedError
from shared.nodes.ssh_keys import private_key
from shared.nodes.threads import in_thread

CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
_FINGERPRINT: Final = re.compile(r"SHA256:[A-Za-z0-9+/]{43}")
_KEY: Final = re.compile(r"(?:ssh|ecdsa|sk-)[A-Za-z0-9@.-]* [A-Za-z0-9+/]+={0,2}(?: .*)?")
_PIECE: Final = 65_536


class Login(Protocol):
    """What is taken of the node's rendered data."""

    username: str
    password: str | None
    private_key: str | None
    passphrase: str | None
    host_key: str


class Ended(msgspec.Struct, frozen=True):
    """How a command ended.

    Attributes:
        exit_status: None if a signal ended it, or the host did not say.
        signal: its name without SIG, or None.
    """

    exit_status: int | None
    signal: str | None
    stdout: str
    stderr: str


def key_fault(host_key: str) -> str | None:
    """What is wrong with the keys that a host may prove to have."""
    lines = [line.strip() for line in host_key.splitlines() if line.strip()]
    if lines and all(_FINGERPRINT.fullmatch(line) or _KEY.fullmatch(line) for line in lines):
        return None
    return 'A host key is "ssh-ed25519 AAAA..." or a fingerprint "SHA256:..." of 43 characters, one a line.'


async def ran(library: Any, place: Pinned, login: Login, command: str, *, text: str | None, max_bytes: int) -> Ended:
    """Run a command on a host.

    Args:
        library: the module asyncssh.
        place: of the host.
        login: as whom, and which host it must be.
        command: one line for the host's shell.
        text: what the command reads.
        max_bytes: of what it may write, to both outputs together.

    Raises:
        StepFailedError: ``invalid_data``, ``network_error``, ``host_key_refused``, ``login_refused``, ``ssh_failed`` or
            ``output_too_large``.
    """
    options = await _options(library, login)
    try:
        connection = await _connected(library, place, options)
        try:
            return await _run(connection, command, text, max_bytes)
        finally:
            connection.abort()  # also when the time is over: nothing is waited for, and the host sees it end
    except library.HostKeyNotVerifiable:
        message = f"{place.host} has another key than data.host_key says: another host, or somebody between."
        raise StepFailedError("host_key_refused", message) from None
    except library.PermissionDenied:
        raise StepFailedError("login_refused", f"{place.host} refused the login.", category="4xx") from None
    except (library.ConnectionLost, OSError) as error:
        message = f"The connection to {place.host} broke: {shown(str(error))}"
        raise StepFailedError("network_error", message, category="network") from None
    except (library.Error, ValueError) as error:
        raise StepFailedError("ssh_failed", f"{place.host} will not do: {shown(str(error))}") from None


async def _options(library: Any, login: Login) -> Any:
    """The options of a connection that uses nothing of the account the worker runs under: no files, agents, tickets.

    Nothing is compressed: a packet of a hostile host would unpack to a thousand times its size.
    """
    lines = [line.strip() for line in login.host_key.splitlines() if line.strip()]
    if (fault := key_fault(login.host_key)) is not None:
        raise StepFailedError("invalid_data", f"data.host_key: {fault}")
    prints = frozenset(line for line in lines if _FINGERPRINT.fullmatch(line))
    try:
        trusted = [library.import_public_key(line) for line in lines if line not in prints]
    except (library.KeyImportError, ValueError) as error:
        raise StepFailedError("invalid_data", f"data.host_key: a key cannot be read: {shown(str(error))}") from None
    given = login.private_key
    keys = [await in_thread(partial(private_key, library, given, login.passphrase))] if given else None
    return library.SSHClientConnectionOptions(
        known_hosts=(trusted, [], []),
        server_host_key_algs="default" if prints else (),
        compression_algs=("none",),
        client_factory=lambda: _client(library, prints),
        username=login.username,
        password=login.password,
        client_keys=keys,
        config=None,
        agent_path=None,
        gss_host=None,
        x509_trusted_certs=None,
        disable_trivial_auth=True,
        login_timeout=0,  # the step's own timeout holds
    )


def _client(library: Any, prints: frozenset[str]) -> Any:
    """A client that also takes a host whose key has one of these fingerprints."""

    class Client(library.SSHClient):  # type: ignore[misc] # the base comes with the extra
        def validate_host_public_key(self, host: str, addr: str, port: int, key: Any) -> bool:  # noqa: ARG002
            return key.get_fingerprint("sha256") in prints

    return Client()


async def _connected(library: Any, place: Pinned, options: Any) -> Any:
    connected = await open_socket(place)
    return await library.connect(place.host, place.port, sock=connected, options=options, config=None)


async def _run(connection: Any, command: str, text: str | None, max_bytes: int) -> Ended:
    process = await connection.create_process(command, encoding=None)
    _feed(process.stdin, text)
    left = _Allowance(max_bytes)
    stdout, stderr = await asyncio.gather(_read(process.stdout, left), _read(process.stderr, left))
    await process.wait_closed()
    signal = process.exit_signal[0] if process.exit_signal else None
    return Ended(None if signal else process.exit_status, signal, _text(stdout), _text(stderr))


class _Allowance:
    """What two outputs may write together, in bytes."""

    def __init__(self, bytes_: int) -> None:
        self.left = self.whole = bytes_

    def take(self, count: int) -> None:
        self.left -= count
        if self.left < 0:
            raise StepFailedError("output_too_large", f"The command wrote more than {self.whole} bytes.")


def _feed(stdin: Any, text: str | None) -> None:
    with suppress(OSError):  # a command may end without reading
        stdin.write((text or "").encode("utf-8", "replace"))
        stdin.write_eof()


async def _read(stream: Any, allowance: _Allowance) -> bytes:
    pieces = []
    while piece := await stream.read(_PIECE):
        allowance.take(len(piece))
        pieces.append(piece)
    return b"".join(pieces)


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")
