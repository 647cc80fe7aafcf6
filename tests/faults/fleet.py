"""An installation that a drill can get at: servers, lines to them, and services that are started again when they die.

The services reach Postgres and Redis over lines, the drill reaches them directly. Workers have a line to Redis of their
own, so that messages pile up when it is stalled.
"""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from random import Random
from typing import Final

import asyncpg

from deploy import processes
from deploy.embedded import Postgres, Server, Valkey
from deploy.ports import Ports
from deploy.supervise import Child
from deploy.tokens import issue
from shared.config import load
from shared.migrate import migrate
from tests.line import Line
from tests.running import get

_PASSWORD: Final = "onlyfortests"
_SECRET: Final = "a secret of thirty-two characters"
_KEYS: Final = "k1:" + "QUFB" * 10 + "QUE="
_STOP_SECONDS: Final = 25.0
_START_SECONDS: Final = 60.0
Process = subprocess.Popen[bytes]
SERVICES: Final = ("api", "scheduler", "worker-1", "worker-2")


class Fleet:
    """Postgres, Valkey, an api, a scheduler and two workers.

    Attributes:
        url, token: of the api.
        postgres, valkey: the servers; their URLs lead to them directly.
        lines: ``postgres``, ``redis`` (api and scheduler) and ``redis-workers``.
        down: names of processes that are not started again until they are taken out.
    """

    def __init__(self, folder: Path, ports: Ports, env: dict[str, str]) -> None:
        folder.mkdir(exist_ok=True)
        self.folder = folder
        self.log = folder / "services.log"
        self.postgres = Postgres(folder, ports.any(), _PASSWORD)
        self.valkey = Valkey(folder, ports.any(), _PASSWORD)
        self.lines: dict[str, Line] = {}
        self.down: set[str] = set()
        self.ports = {name: ports.any() for name in SERVICES}
        self.children: dict[str, Child] = {}
        self._env = env
        self.url = f"http://127.0.0.1:{self.ports['api']}"
        self.token = ""
        self.clock = folder / "clock"
        self.clock.write_text("0")

    @classmethod
    @asynccontextmanager
    async def running(cls, folder: Path, chance: Random, **env: str) -> AsyncIterator["Fleet"]:
        """A fleet that is ready."""
        ports = Ports()
        fleet = cls(folder, ports, env)
        async with AsyncExitStack() as stack:
            stack.callback(ports.release)
            stack.push_async_callback(fleet._stop)
            await fleet._start_servers()
            upstream = {
                "postgres": fleet.postgres.port, "redis": fleet.valkey.port, "redis-workers": fleet.valkey.port
            }  # fmt: skip
            for name, port in upstream.items():
                fleet.lines[name] = await stack.enter_async_context(Line.to(port, chance))
            for name in SERVICES:
                fleet._begin(name, fleet._service(name))
            await fleet.ready()
            yield fleet

    async def ready(self) -> None:
        """Wait until every service says that it can work."""
        async with asyncio.timeout(_START_SECONDS):
            for port in self.ports.values():
                while await asyncio.to_thread(get, f"http://127.0.0.1:{port}/readyz") != 200:  # noqa: ASYNC110
                    await asyncio.sleep(0.05)

    def errors(self, how_many: int) -> str:
        """The last requests that broke, as the api logged them."""
        lines = [line for line in self.log.read_text().splitlines() if '"request failed"' in line]
        return "\n".join(line[:3000].replace("\\n", "\n") for line in lines[-how_many:])

    def pid(self, name: str) -> int | None:
        """The pid of a process, as long as it runs."""
        return self.children[name].pid

    def send(self, name: str, number: int) -> None:
        """Send a signal to a process; nothing happens if there is none."""
        pid = self.pid(name)
        if pid is not None:
            os.kill(pid, number)

    async def _start_servers(self) -> None:
        for server in (self.postgres, self.valkey):
            process = self._begin(server.name, _starter(server), server.stop_signal)
            await asyncio.to_thread(server.wait_ready, process)
        connection = await asyncpg.connect(self.postgres.url_of("postgres"))
        await connection.execute("CREATE DATABASE edgewise")
        await connection.close()
        await migrate(self.postgres.url)

    def _begin(self, name: str, start: Callable[[], Process], how: int = signal.SIGTERM) -> Process:
        def unless_down() -> Process:
            if name in self.down:
                raise FileNotFoundError(f"{name} is to stay away")
            return start()

        child = Child(name, unless_down, changed=lambda: None, tell=lambda _: None, stop_signal=how)
        self.children[name] = child
        return child.begin()

    def _service(self, name: str) -> Callable[[], Process]:
        env = {key: value for key, value in os.environ.items() if not key.startswith("EDGEWISE_")} | self._variables(
            name
        )
        if name == "api":
            self.token = issue(
                load({key: value for key, value in env.items() if key.startswith("EDGEWISE_")}),
                workspace="drill",
                scopes=["admin"],
                seconds=7200,
                subject="drill",
            )
        service = name.partition("-")[0]
        program = ["tests.faults.skewed", str(self.clock)] if service == "scheduler" else ["deploy.cli", service]
        command = [sys.executable, "-P", "-m", *program]

        def start() -> Process:
            with self.log.open("ab") as log:
                return processes.spawn(command, folder=self.folder, env=env, output=log)

        return start

    def _variables(self, name: str) -> dict[str, str]:
        postgres, broker = self.lines["postgres"], self.lines["redis-workers" if name.startswith("worker") else "redis"]
        return {
            "EDGEWISE_DATABASE_URL": f"postgresql://edgewise:{_PASSWORD}@127.0.0.1:{postgres.port}/edgewise",
            "EDGEWISE_BROKER_URL": f"redis://:{_PASSWORD}@127.0.0.1:{broker.port}/0",
            "EDGEWISE_JWT_SECRET": _SECRET,
            "EDGEWISE_VAULT_KEYS": _KEYS,
            "EDGEWISE_LOG_FORMAT": "json",
            # Each failed call is judged by what the receiver did with it; a breaker fails calls that never came there.
            "EDGEWISE_EGRESS_BREAKER_FAILURES": "0",
            **({"EDGEWISE_PORT": str(self.ports[name])} if name == "api" else {}),
            **({"EDGEWISE_METRICS_PORT": str(self.ports[name])} if name != "api" else {}),
            **self._env,
        }

    async def _stop(self) -> None:
        """End everything, the servers last."""
        for name in (*SERVICES, "redis", "postgres"):
            if name in self.children:
                self.send(name, signal.SIGCONT)
                if name in SERVICES:
                    self.children[name].kill()
                deadline = asyncio.get_running_loop().time() + _STOP_SECONDS
                await self.children[name].stop(deadline)


def _starter(server: Server) -> Callable[[], Process]:
    def start() -> Process:
        server.prepare()
        return server.spawn()

    return start
