"""What tests share: real servers of their own, and a fresh database for each test that asks for one.

Servers start when the first test needs them, once per pytest process (with xdist: per worker), in a temporary folder
on ports nobody else has, and die with the process however it ends.
"""

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import structlog
from hypothesis import settings

from deploy import processes
from deploy.embedded import Postgres, Server, Valkey
from deploy.ports import Ports
from shared.migrate import migrate
from tests.rows import assert_sound
from tests.running import Starter, Up, until
from tests.scratch import scratch

_TEMPLATE = "edgewise_template"
_PASSWORD = "onlyfortests"
_numbers = count(1)
_DAY = 86400
#: Seconds within which a test that begins with a fresh database ends, with much to spare.
_ROOM = 20

settings.register_profile("edgewise", deadline=None, max_examples=100)
settings.load_profile("edgewise")
# As services write them (`shared.log`). The usual ones of a terminal show what each variable of each frame holds, which
# took a minute where one held an engine.
structlog.configure(
    processors=[
        *structlog.get_config()["processors"][:-1],
        structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback),
    ]
)


@pytest.fixture(scope="session")
def ports() -> Iterator[Ports]:
    """Ports that nobody else on this machine uses."""
    ports = Ports()
    yield ports
    ports.release()


@pytest.fixture(scope="session")
def room(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder for the servers below."""
    with scratch(tmp_path_factory.mktemp("servers")) as folder:
        yield folder


@pytest.fixture(scope="session")
def postgres(room: Path, ports: Ports) -> Iterator[Postgres]:
    """A PostgreSQL server; it gives up durability for speed."""
    server = Postgres(_folder(room / "postgres"), ports.any(), _PASSWORD, durable=False)
    with _running(server):
        yield server


@pytest.fixture(scope="session")
def templates() -> set[str]:
    """The template databases that were made."""
    return set()


@pytest.fixture(scope="session")
def valkey(room: Path, ports: Ports) -> Iterator[Valkey]:
    """A Valkey server."""
    server = Valkey(_folder(room / "valkey"), ports.any(), _PASSWORD)
    with _running(server):
        yield server


@pytest.fixture
def database_url(postgres: Postgres, templates: set[str]) -> Iterator[str]:
    """A migrated database of this test's own, as its owner."""
    _wait_for_midnight_if_near()
    name = f"test_{next(_numbers)}"
    template = _template(postgres, templates)
    # Copying files is ten times as fast as writing the pages of the template to the log.
    asyncio.run(_copy(postgres, template, name))
    yield postgres.url_of(name)
    asyncio.run(_execute(postgres, f"DROP DATABASE {name} WITH (FORCE)"))


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection that is no service's; what must hold of every run is looked at when the test is over."""
    connection = await asyncpg.connect(database_url)
    yield connection
    await assert_sound(connection)
    await connection.close()


@pytest.fixture
def empty_database_url(postgres: Postgres) -> Iterator[str]:
    """A database of this test's own with nothing in it, as its owner."""
    _wait_for_midnight_if_near()
    name = f"test_{next(_numbers)}"
    asyncio.run(_execute(postgres, f"CREATE DATABASE {name} TEMPLATE template0 STRATEGY file_copy"))
    yield postgres.url_of(name)
    asyncio.run(_execute(postgres, f"DROP DATABASE {name} WITH (FORCE)"))


@pytest.fixture
def broker_url(valkey: Valkey) -> str:
    """A Redis-protocol server with nothing in it."""
    with socket.create_connection(("127.0.0.1", valkey.port), timeout=5) as connection:
        connection.sendall(f"AUTH {_PASSWORD}\r\nFLUSHALL\r\n".encode())
        answer = b""
        while answer.count(b"\r\n") < 2:
            answer += connection.recv(64)
    assert answer == b"+OK\r\n+OK\r\n"
    return valkey.url


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Starter]:
    """Starts `edgewise up`, by default in a folder whose name has spaces; ends it with the test."""
    started: list[Up] = []

    def run(*options: str, folder: str = "a data dir", **more: Any) -> Up:
        started.append(Up(tmp_path / folder, *options, **more))
        return started[-1]

    yield run
    for one in started:
        one.kill()
    until(lambda: not any(one.members() for one in started))


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """One `edgewise up` for all tests of a module."""
    one = Up(tmp_path_factory.mktemp("up") / "a data dir")
    try:
        yield one.ready()
    finally:
        one.kill()
        until(lambda: not one.members())


def _folder(path: Path) -> Path:
    path.mkdir()
    return path


@contextmanager
def _running(server: Server) -> Iterator[None]:
    server.prepare()
    process = server.spawn()
    try:
        server.wait_ready(process)
        yield
    finally:
        processes.stop(process, server.stop_signal, seconds=10)


def _wait_for_midnight_if_near() -> None:
    """Let no day end within a test: partitions, what is kept and what is over all hang on today, in UTC."""
    left = _DAY - time.time() % _DAY
    if left < _ROOM:
        time.sleep(left)


def _template(server: Postgres, made: set[str]) -> str:
    """The migrated template of today: its partitions lie around the day it was migrated on."""
    name = f"{_TEMPLATE}_{datetime.now(UTC):%Y%m%d}"
    if name not in made:
        asyncio.run(_execute(server, f"CREATE DATABASE {name}"))
        asyncio.run(migrate(server.url_of(name)))
        made.add(name)
    return name


async def _copy(server: Postgres, template: str, name: str) -> None:
    """Copy a database with the settings that its migrations gave it, which Postgres keeps elsewhere."""
    connection = await asyncpg.connect(server.url_of("postgres"))
    try:
        await connection.execute(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy")
        settings = await connection.fetch(
            "SELECT split_part(setting, '=', 1), split_part(setting, '=', 2) FROM pg_database d"
            " JOIN pg_db_role_setting s ON s.setdatabase = d.oid, unnest(s.setconfig) AS setting WHERE d.datname = $1",
            template,
        )
        for key, value in settings:
            await connection.execute(f"ALTER DATABASE {name} SET {key} = '{value}'")
    finally:
        await connection.close()


async def _execute(server: Postgres, statement: str) -> None:
    connection = await asyncpg.connect(server.url_of("postgres"))
    try:
        await connection.execute(statement)
    finally:
        await connection.close()
