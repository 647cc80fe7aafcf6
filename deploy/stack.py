"""One installation on one machine: its folder, its servers, its services.

Start: end what a killed `up` left, start the servers that were not given, migrate, start api, scheduler and workers
together, wait until each says it is ready. Stop: the api first, so that nothing new comes in, then the workers, the
scheduler, and the servers last.
"""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TypeVar

import asyncpg
import msgspec

from deploy import processes, tokens
from deploy.embedded import Postgres, Server, Valkey
from deploy.folder import Folder
from deploy.ports import Ports
from deploy.readiness import await_ready
from deploy.supervise import Child
from shared import config as configuration
from shared.config import PREFIX, Config
from shared.errors import EdgewiseError
from shared.migrate import migrate

_FIRST_PORT = 8080
_TOKEN_SECONDS = 30 * 24 * 3600

# Seconds after the beginning of a stop at which whatever still runs is killed. All is gone within 25.
_API_SECONDS = 2.0
_WORKER_SECONDS = 22.5
_SCHEDULER_SECONDS = 23.5
_SERVER_SECONDS = 24.5
_LONGEST_GRACE_SECONDS = 20.0


T = TypeVar("T")
Starter = Callable[[], subprocess.Popen[bytes]]


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What `edgewise up` was asked for.

    Attributes:
        data_dir: where everything is kept.
        port: of the api; None for the next free one from 8080.
        workers: how many worker processes.
        database_url, broker_url: servers to use; None to run embedded ones.
        env: where further ``EDGEWISE_`` variables are read.
        tell: receives lines about the progress, for people.
    """

    data_dir: Path
    port: int | None
    workers: int
    database_url: str | None
    broker_url: str | None
    env: Mapping[str, str]
    tell: Callable[[str], None]


class Stack:
    """Everything that one `up` runs. Make it, `start` it, and `stop` it whether or not it started.

    Attributes:
        url: of the api.
        token: for everything in the workspace `local`.

    Raises:
        EdgewiseError: if the folder or the port is in use.
        ConfigError: if the environment holds faults.
    """

    def __init__(self, options: Options) -> None:
        self._options = options
        self._tell = options.tell
        self._folder = Folder(options.data_dir)
        try:
            self._folder.end_leftovers()
            self._ports = Ports()
            self._port_of = _choose_ports(self._ports, options, self._folder.ports())
            self._servers = _embedded(self._folder, options, self._port_of)
            self._config = _configure(self._folder, options, self._port_of, self._servers)
        except BaseException:
            self._folder.close()
            raise
        self._folder.remember_ports(self._port_of)
        self._children: dict[str, Child] = {}
        self._ready = False
        self.url = f"http://127.0.0.1:{self._config.port}"
        self.token = tokens.issue(
            self._config, workspace="local", scopes=["admin"], seconds=_TOKEN_SECONDS, subject="local"
        )

    async def start(self) -> None:
        """Start everything and wait until it answers.

        Raises:
            EdgewiseError: if something does not start; it says what and why.
        """
        await self._start_servers()
        self._tell("bringing the database to the newest schema")
        await migrate(self._config.database_direct_url)
        self._tell(f"starting api, scheduler and {self._options.workers} worker(s)")
        for name in self._services():
            self._begin(name, self._service_starter(name))
        ports = {name: self._port_of[name] for name in self._services()}
        await await_ready(ports, self._children)
        self._ready = True
        self._changed()

    async def stop(self) -> None:
        """Stop everything, in order, within 25 seconds."""
        self._tell("stopping")
        begun = time.monotonic()
        await self._stop(["api"], begun + _API_SECONDS)
        await self._stop((name for name in self._children if name.startswith("worker")), begun + _WORKER_SECONDS)
        await self._stop(["scheduler"], begun + _SCHEDULER_SECONDS)
        await self._stop(self._servers, begun + _SERVER_SECONDS)
        self._ports.release()
        self._folder.close()

    def kill(self) -> None:
        """End every service at once; the servers are left to a clean `stop`."""
        for name in self._services():
            if name in self._children:
                self._children[name].kill()

    def _services(self) -> list[str]:
        return ["api", "scheduler", *(f"worker-{number}" for number in range(1, self._options.workers + 1))]

    async def _start_servers(self) -> None:
        """Start the embedded servers, if any, at the same time."""
        started = {}
        for name, server in self._servers.items():
            self._tell(f"starting {name}")
            started[name] = self._begin(name, _server_starter(server), server.stop_signal)
        waits = (asyncio.to_thread(self._servers[name].wait_ready, process) for name, process in started.items())
        await asyncio.gather(*waits)
        postgres = self._servers.get("postgres")
        if isinstance(postgres, Postgres):
            await _ensure_database(postgres)

    def _begin(self, name: str, start: Starter, stop_signal: int = signal.SIGTERM) -> subprocess.Popen[bytes]:
        child = Child(name, start, changed=self._changed, tell=self._tell, stop_signal=stop_signal)
        self._children[name] = child
        process = child.begin()
        self._changed()
        return process

    async def _stop(self, names: Iterable[str], deadline: float) -> None:
        children = [self._children[name] for name in names if name in self._children]
        await asyncio.gather(*(child.stop(deadline) for child in children))

    def _service_starter(self, name: str) -> Starter:
        """What starts a service: this command line again, with the configuration in its environment."""
        own = {f"{PREFIX}METRICS_PORT": str(self._port_of[name])} if name != "api" else {}
        outside = {key: value for key, value in os.environ.items() if not key.startswith(PREFIX)}
        env = outside | configuration.variables(self._config) | own
        command = [sys.executable, "-P", "-m", "deploy.cli", name.partition("-")[0]]
        return lambda: processes.spawn(command, folder=self._folder.path, env=env)

    def _changed(self) -> None:
        """There is another process: keep its pid, and tell it once everything is ready."""
        self._folder.remember_processes([child.pid for child in self._children.values() if child.pid is not None])
        if self._ready:
            self._folder.announce(self._description())

    def _description(self) -> dict[str, object]:
        """What ``edgewise.json`` says."""
        pids = {name: child.pid for name, child in self._children.items()}
        metrics = {name: f"http://127.0.0.1:{self._port_of[name]}/metrics" for name in self._services()}
        return {
            "url": self.url,
            "token": self.token,
            "pids": {name: pids.get(name) for name in ("api", "scheduler", "postgres", "redis")}
            | {"workers": _workers(pids)},
            "database_url": self._config.database_url,
            "broker_url": self._config.broker_url,
            "metrics": {name: metrics[name] for name in ("api", "scheduler")} | {"workers": _workers(metrics)},
        }


def _workers(by_name: Mapping[str, T]) -> list[T]:
    """What belongs to the workers, in their order."""
    return [value for name, value in by_name.items() if name.startswith("worker-")]


def _choose_ports(ports: Ports, options: Options, last: Mapping[str, int]) -> dict[str, int]:
    """A port for every process, the same as last time where it can be had.

    Raises:
        EdgewiseError: ``port_in_use`` if the one that was asked for is taken.
    """
    if options.port is not None and not ports.take(options.port):
        raise EdgewiseError(
            "port_in_use", f"Port {options.port} on 127.0.0.1 is in use. Choose another with --port, or leave it out."
        )
    chosen = {"api": options.port if options.port is not None else ports.next_from(_FIRST_PORT)}
    others = ["postgres", "redis", "scheduler", *(f"worker-{number}" for number in range(1, options.workers + 1))]
    return chosen | {name: ports.any(last.get(name)) for name in others}


def _embedded(folder: Folder, options: Options, port_of: Mapping[str, int]) -> dict[str, Server]:
    """The servers that were not given."""
    servers: dict[str, Server] = {}
    if options.database_url is None:
        servers["postgres"] = Postgres(folder.path, port_of["postgres"], folder.password("postgres"))
    if options.broker_url is None:
        servers["redis"] = Valkey(folder.path, port_of["redis"], folder.password("redis"))
    return servers


def _configure(folder: Folder, options: Options, port_of: Mapping[str, int], servers: Mapping[str, Server]) -> Config:
    """The configuration of the services: the caller's variables, and what this installation decides itself.

    Raises:
        ConfigError: if the caller's variables hold faults.
    """
    decided = {
        "DATABASE_URL": servers["postgres"].url if "postgres" in servers else str(options.database_url),
        "BROKER_URL": servers["redis"].url if "redis" in servers else str(options.broker_url),
        "PORT": str(port_of["api"]),
    }
    fallback = {
        "PUBLIC_URL": f"http://127.0.0.1:{port_of['api']}",
        "JWT_SECRET": folder.jwt_secret(),
        "VAULT_KEYS": folder.vault_keys(),
    }
    env = {key: value for key, value in options.env.items() if key.startswith(PREFIX)}
    if "postgres" in servers:
        env.pop(f"{PREFIX}DATABASE_DIRECT_URL", None)
    for name, value in decided.items():
        env.pop(f"{PREFIX}{name}_FILE", None)
        env[PREFIX + name] = value
    for name, value in fallback.items():
        if f"{PREFIX}{name}_FILE" not in env:
            env.setdefault(PREFIX + name, value)
    config = configuration.load(env)
    return msgspec.structs.replace(config, grace_seconds=min(config.grace_seconds, _LONGEST_GRACE_SECONDS))


def _server_starter(server: Server) -> Starter:
    def start() -> subprocess.Popen[bytes]:
        server.prepare()
        return server.spawn()

    return start


async def _ensure_database(postgres: Postgres) -> None:
    """Create the database `edgewise` unless it is there."""
    connection = await asyncpg.connect(postgres.url_of("postgres"))
    try:
        if not await connection.fetchval("SELECT 1 FROM pg_database WHERE datname = 'edgewise'"):
            await connection.execute("CREATE DATABASE edgewise")
    finally:
        await connection.close()
