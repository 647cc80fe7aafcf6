"""PostgreSQL and Valkey in a network namespace of their own: servers that an installation is given by their URLs."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncpg

from deploy import processes
from deploy.embedded import Postgres, Server, Valkey
from tests.bench.namespace import Namespace, namespace

#: Nobody else listens in a namespace of our own.
_POSTGRES_PORT, _VALKEY_PORT = 5432, 6379
_PASSWORD = "onlyforthebench"


class _FarPostgres(Postgres):
    """Listens on its end of the wire too."""

    def __init__(self, folder: Path, place: Namespace) -> None:
        super().__init__(folder, _POSTGRES_PORT, _PASSWORD)
        self._place = place

    def prepare(self) -> None:
        super().prepare()
        data = self._folder / "postgres"
        with (data / "postgresql.conf").open("a") as settings:  # of two lines the later one holds
            settings.write(f"listen_addresses = '127.0.0.1,{self._place.far}'\n")
        with (data / "pg_hba.conf").open("a") as hosts:
            hosts.write(f"host all all {self._place.near}/32 scram-sha-256\n")

    def url_of(self, database: str) -> str:
        return super().url_of(database).replace("127.0.0.1", self._place.far)


class _FarValkey(Valkey):
    """Listens on its end of the wire too."""

    def __init__(self, folder: Path, place: Namespace) -> None:
        super().__init__(folder, _VALKEY_PORT, _PASSWORD)
        self._place = place

    def prepare(self) -> None:
        super().prepare()
        with (self._folder / "redis" / "valkey.conf").open("a") as settings:
            settings.write(f"bind 127.0.0.1 {self._place.far}\n")

    def url_of(self, database: int) -> str:
        """Of a database by its number."""
        return f"{self.url.rpartition('/')[0].replace('127.0.0.1', self._place.far)}/{database}"


class Elsewhere:
    """Both servers, running.

    Attributes:
        pids: by name, as `tests.bench.system.System` wants them.
    """

    def __init__(self, folder: Path, postgres: _FarPostgres, valkey: _FarValkey, pids: dict[str, int]) -> None:
        self.pids = pids
        self._folder = folder
        self._postgres = postgres
        self._valkey = valkey
        self._made = 0

    async def installation(self) -> tuple[Path, tuple[str, ...]]:
        """A folder for one more `edgewise up`, and what gives it these servers, with databases that hold nothing."""
        self._made += 1
        name = f"bench{self._made}"
        connection = await asyncpg.connect(self._postgres.url_of("postgres"))
        await connection.execute(f"CREATE DATABASE {name}")
        await connection.close()
        return self._folder / name, (
            "--database-url",
            self._postgres.url_of(name),
            "--broker-url",
            self._valkey.url_of(self._made),
        )


@contextmanager
def elsewhere() -> Iterator[Elsewhere]:
    """Servers in a namespace and a folder of their own; all of it is gone afterwards.

    Raises:
        SkippedError: if the machine does not allow a namespace.
    """
    with tempfile.TemporaryDirectory(prefix="edgewise-elsewhere-") as made, namespace() as place:
        folder = Path(made)
        folder.chmod(0o755)  # the embedded PostgreSQL may run as another user
        postgres, valkey = _FarPostgres(folder, place), _FarValkey(folder, place)
        with _running(postgres, place) as database, _running(valkey, place) as broker:
            yield Elsewhere(folder, postgres, valkey, {"postgres": database, "redis": broker})


@contextmanager
def _running(server: Server, place: Namespace) -> Iterator[int]:
    with place.entered():
        server.prepare()
        process = server.spawn()
        server.wait_ready(process)
    try:
        yield process.pid
    finally:
        processes.stop(process, server.stop_signal, seconds=10)
