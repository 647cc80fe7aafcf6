"""`edgewise up` as a user runs it: a process with a folder, watched from outside."""

import json
import os
import signal
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path
from typing import Any

from deploy import processes

_START_SECONDS = 60.0


class Up:
    """A running `edgewise up`.

    Args:
        folder: its ``--data-dir``.
        options: further ones.
        identity: as whom it runs; see `deploy.launch`.
    """

    def __init__(self, folder: Path, *options: str, identity: str = "self", env: dict[str, str] | None = None) -> None:
        self.folder = folder
        self._log = folder.parent / f"{folder.name}.{os.urandom(4).hex()}.log"
        command = [sys.executable, "-P", "-m", "deploy.cli", "up", "--data-dir", str(folder), *options]
        with self._log.open("wb") as log:
            self.process = processes.spawn(
                command,
                folder=folder.parent,
                identity=identity,
                death_signal=signal.SIGKILL,
                env=_environment() | (env or {}),
                output=log,
            )

    def ready(self) -> "Up":
        """Wait for the line that says everything answers."""
        until(lambda: "\nready http" in f"\n{self.output()}" or self.process.poll() is not None, _START_SECONDS)
        assert self.process.poll() is None, self.output()
        return self

    def output(self) -> str:
        """Everything it has printed so far."""
        return self._log.read_text(errors="replace")

    def told(self) -> dict[str, Any]:
        """What edgewise.json says now."""
        description: dict[str, Any] = json.loads((self.folder / "edgewise.json").read_text())
        return description

    def is_serving(self) -> bool:
        """Whether every service says that it can work."""
        told = self.told()
        urls = [told["metrics"]["api"], told["metrics"]["scheduler"], *told["metrics"]["workers"]]
        return all(get(url.replace("/metrics", "/readyz")) == 200 for url in urls)

    def stop(self, how: int = signal.SIGTERM) -> int:
        """Signal it; its exit status."""
        self.process.send_signal(how)
        return self.process.wait(25)

    def members(self) -> list[int]:
        """The pids of every process that works inside the folder."""
        return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit() and self._works_in(entry)]

    def kill(self) -> None:
        """End it at once; what it started follows by itself."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def _works_in(self, entry: Path) -> bool:
        try:
            return (entry / "cwd").readlink().is_relative_to(self.folder)
        except OSError:
            return False


Starter = Callable[..., Up]


def get(url: str, token: str = "") -> int:
    """The status of a GET; 0 if nobody answers."""
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"} if token else {})
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code
    except (OSError, HTTPException):  # it may end in the middle of its answer
        return 0


def post(url: str, token: str, body: object) -> Any:
    """The answer to a POST of JSON, which must be a success."""
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    request = urllib.request.Request(url, json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.load(answer)


def until(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    """Wait for a condition, and fail if it does not come true."""
    assert processes.wait_until(condition, seconds, every=0.05), f"not within {seconds} s"


def _environment() -> dict[str, str]:
    """Ours without what would configure the installation."""
    return {key: value for key, value in os.environ.items() if not key.startswith("EDGEWISE_")}
