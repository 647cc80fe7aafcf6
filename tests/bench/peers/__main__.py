"""`make bench-peers`: what else there is, measured beside us on one machine and in the same minutes.

Each peer runs the shape of workload 1 (three small steps; the payload decides over the third) and a chain of ten steps
that do nothing, 64 executions at once, each followed by the next when it has completed. PostgreSQL and Valkey are the
embedded ones, with the settings that `edgewise up` gives them; every peer has a database of its own.
"""

import asyncio
import json
import os
import signal
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import asyncpg
import click
import uvloop
from rich.console import Console

from deploy import processes
from deploy.embedded import Postgres, Server, Valkey
from deploy.ports import Ports
from tests.bench import tables
from tests.bench.peers.ours import measured
from tests.bench.peers.results import OURS, PEERS, Found, Peer, Results

_HERE = Path(__file__).parent
_FOUND = _HERE.parents[2] / "build" / "peers.json"
_PASSWORD = "onlyforthebench"
#: Seconds that a peer may take to start and to end, beside what it measures.
_PATIENCE = 180.0


class Servers:
    """PostgreSQL and Valkey, running, for everybody but us."""

    def __init__(self, postgres: Postgres, valkey: Valkey) -> None:
        self._postgres = postgres
        self._valkey = valkey
        self._number = 0

    async def empty(self) -> tuple[str, str]:
        """URLs of a database and of a Redis database that hold nothing."""
        self._number += 1
        name = f"peer{self._number}"
        connection = await asyncpg.connect(self._postgres.url_of("postgres"))
        await connection.execute(f"CREATE DATABASE {name}")
        await connection.close()
        return self._postgres.url_of(name), f"{self._valkey.url.rpartition('/')[0]}/{self._number % 16}"


@click.command()
@click.option("--python", type=click.Path(path_type=Path), required=True, help="Of the peers' environment.")
@click.option("--only", envvar="ONLY", default="", help="Names of peers, comma-separated.  [default: all]")
@click.option("--seconds", envvar="SECONDS", type=float, default=10.0, show_default=True)
@click.option("--repeats", envvar="REPEATS", type=click.IntRange(1), default=3, show_default=True)
def main(python: Path, only: str, seconds: float, repeats: int) -> None:
    """Measure peers and ourselves by turns, print a table, and write build/peers.json."""
    wanted = {name for name in only.split(",") if name} or {peer.name for peer in PEERS}
    chosen = [peer for peer in PEERS if peer.name in wanted]
    if len(chosen) != len(wanted):
        raise click.BadParameter(f"ONLY={only} must be of {', '.join(peer.name for peer in PEERS)}")
    results = Results(seconds, repeats, versions=_versions())
    try:
        uvloop.run(_measure(python.absolute(), chosen, results))
    finally:
        _FOUND.parent.mkdir(exist_ok=True)
        _FOUND.write_bytes(results.as_json())
        Console(width=150).print(tables.rich(results.rows()))
    click.echo(f"written to {_FOUND.relative_to(_HERE.parents[2])}")


async def _measure(python: Path, chosen: Sequence[Peer], results: Results) -> None:
    with tempfile.TemporaryDirectory(prefix="edgewise-peers-") as folder:
        Path(folder).chmod(0o755)  # noqa: ASYNC240 — PostgreSQL may run as another user
        for number in range(1, results.repeats + 1):
            with _servers(Path(folder) / f"servers{number}") as servers:
                for peer in chosen:
                    results.add(peer, await _ask(python, peer, servers, results.seconds))
                    _progress(results, peer, number)
            for peer, found in (await measured(Path(folder) / f"data{number}", results.seconds)).items():
                results.add(peer, found)
            _progress(results, OURS, number)


async def _ask(python: Path, peer: Peer, servers: Servers, seconds: float) -> Found:
    """Let a peer measure itself.

    Raises:
        RuntimeError: if it ended with an error, which it has printed.
    """
    process = await asyncio.create_subprocess_exec(
        python, _HERE / peer.script, *await servers.empty(), str(seconds), stdout=asyncio.subprocess.PIPE,
        start_new_session=True,
    )  # fmt: skip
    try:
        async with asyncio.timeout(_PATIENCE + 4 * seconds):
            output, _ = await process.communicate()
    finally:
        with suppress(ProcessLookupError):  # whatever it started goes with it
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
    if process.returncode != 0:
        raise RuntimeError(f"{peer.script} ended with status {process.returncode}")
    found: Found = json.loads(output.splitlines()[-1])
    return found


def _progress(results: Results, peer: Peer, number: int) -> None:
    told = results.found[peer.name][-1]
    click.echo(
        f"{time.strftime('%H:%M:%S')} {peer.name} {number}/{results.repeats}:"
        f" {told['runs']['executions/s']:,.1f} executions/s, {told['chain']['steps/s']:,.1f} steps/s",
        err=True,
    )


def _versions() -> dict[str, str]:
    """Of what the peers' environment is pinned to."""
    lines = (_HERE / "requirements.txt").read_text().splitlines()
    pins = (line.split()[0].partition("==") for line in lines if "==" in line and not line.startswith((" ", "#")))
    return {name: version for name, _, version in pins}


@contextmanager
def _servers(folder: Path) -> Iterator[Servers]:
    ports = Ports()
    postgres = Postgres(folder, ports.any(), _PASSWORD)
    valkey = Valkey(folder, ports.any(), _PASSWORD)
    folder.mkdir(mode=0o755)
    try:
        with _running(postgres), _running(valkey):
            yield Servers(postgres, valkey)
    finally:
        ports.release()


@contextmanager
def _running(server: Server) -> Iterator[None]:
    server.prepare()
    process = server.spawn()
    try:
        server.wait_ready(process)
        yield
    finally:
        processes.stop(process, server.stop_signal, seconds=20)


if __name__ == "__main__":
    main()
