"""The embedded servers under circumstances that `edgewise up` meets on odd machines and after crashes."""

import asyncio
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncpg
import pytest

from deploy import identity, processes
from deploy.embedded import Postgres
from deploy.ports import Ports
from shared.errors import EdgewiseError

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")


@contextmanager
def _started(server: Postgres) -> Iterator[subprocess.Popen[bytes]]:
    server.prepare()
    process = server.spawn()
    try:
        server.wait_ready(process)
        yield process
    finally:
        processes.stop(process, signal.SIGINT, seconds=10)


async def _version(server: Postgres) -> str:
    connection = await asyncpg.connect(server.url_of("postgres"))
    try:
        return str(await connection.fetchval("SHOW server_version"))
    finally:
        await connection.close()


@as_root
@pytest.mark.parametrize("kind", ["map", "drop"])
def test_root_can_run_it_in_a_folder_that_only_root_may_enter(tmp_path: Path, ports: Ports, kind: str) -> None:
    """In a user namespace, and as an account of its own where those are forbidden; no folder's mode is touched."""
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    folder = closed / "data"
    folder.mkdir(mode=0o700)
    server = Postgres(folder, ports.any(), "secret", durable=False, run_as=f"{kind}:65534:65534")
    with _started(server):
        assert asyncio.run(_version(server)).startswith("18")
    assert closed.stat().st_mode & 0o777 == 0o700
    assert closed.stat().st_uid == 0


@as_root
def test_a_machine_that_forbids_namespaces_later_keeps_its_data(tmp_path: Path, ports: Ports) -> None:
    """Data made under one identity is handed over to the next."""
    port = ports.any()
    for kind in ("map", "drop", "map"):
        server = Postgres(tmp_path, port, "secret", durable=False, run_as=f"{kind}:65534:65534")
        with _started(server):
            assert asyncio.run(_version(server))


@as_root
def test_no_way_to_run_it_is_a_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where neither way works the message says what to do instead."""
    monkeypatch.setattr(identity, "_works", lambda *_: False)
    with pytest.raises(EdgewiseError, match="--database-url"):
        identity.choose(tmp_path, Path("/bin/true"))


def test_a_pid_file_that_names_a_stranger_is_removed(tmp_path: Path, ports: Ports) -> None:
    """After a crash and a reboot the old pid may be anybody's: PostgreSQL starts all the same."""
    server = Postgres(tmp_path, ports.any(), "secret", durable=False)
    with _started(server) as process:
        kept = (tmp_path / "postgres" / "postmaster.pid").read_text()
    stranger = kept.replace(str(process.pid), str(os.getpid()), 1)
    (tmp_path / "postgres" / "postmaster.pid").write_text(stranger)
    with _started(server):
        assert asyncio.run(_version(server))


@pytest.mark.parametrize("seen", [False, True])
def test_what_a_killed_server_left_is_not_the_next_one(
    tmp_path: Path, ports: Ports, monkeypatch: pytest.MonkeyPatch, seen: bool
) -> None:
    """Its pid file says that it is ready, as after a power cut; its process may end just while it is looked at."""
    server = Postgres(tmp_path, ports.any(), "secret", durable=False)
    with _started(server):
        kept = (tmp_path / "postgres" / "postmaster.pid").read_text()
    (tmp_path / "postgres" / "postmaster.pid").write_text(kept)
    if seen:
        monkeypatch.setattr(processes, "mark", lambda pid: processes.Mark(pid, 0, "there a moment ago"))
    with _started(server):
        assert asyncio.run(_version(server))


def test_a_folder_that_a_live_server_uses_is_left_alone(tmp_path: Path, ports: Ports) -> None:
    """A running PostgreSQL that is not ours is never taken over."""
    server = Postgres(tmp_path, ports.any(), "secret", durable=False)
    with _started(server), pytest.raises(EdgewiseError, match="in use"):
        Postgres(tmp_path, ports.any(), "secret").prepare()


def test_an_unfinished_initdb_is_begun_anew(tmp_path: Path, ports: Ports) -> None:
    """What an interrupted first start has left does not stand in the way."""
    (tmp_path / "postgres.new" / "base").mkdir(parents=True)
    (tmp_path / "postgres.new" / "PG_VERSION").write_text("18")
    server = Postgres(tmp_path, ports.any(), "secret", durable=False)
    with _started(server):
        assert asyncio.run(_version(server))


def test_a_server_that_does_not_start_says_why(tmp_path: Path, ports: Ports) -> None:
    """The error holds the end of the server's own log."""
    port = ports.any()
    with (
        _started(Postgres(tmp_path, port, "secret", durable=False)),
        pytest.raises(EdgewiseError, match="Address already in use"),
        _started(Postgres(_made(tmp_path / "other"), port, "secret", durable=False)),
    ):
        pass


def test_a_port_is_claimed_once_on_a_machine() -> None:
    """Nobody listens there yet, and still a second installation does not pick it, until the first gives it up."""
    first, second = Ports(), Ports()
    port = first.any()
    assert not second.take(port)
    first.release()
    assert second.take(port)
    second.release()


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder
