"""The folder of an installation that `edgewise up` runs: its lock, its secrets, and what it remembers.

``lock`` is held as long as an `up` runs here. ``ports.json`` keeps addresses over restarts. ``processes.json`` names
the children beyond doubt, so that those of a killed `up` can be ended. ``edgewise.json`` tells others what runs here.
"""

import base64
import fcntl
import os
import secrets
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

import msgspec

from deploy import processes
from shared.errors import EdgewiseError


class Folder:
    """A folder that is ours alone until `close`.

    Raises:
        EdgewiseError: ``folder_in_use`` if another `up` runs on it; ``folder_unusable`` if it can't be made.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.expanduser().resolve()
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = _locked(self.path / "lock")
        except OSError as error:
            raise EdgewiseError("folder_unusable", f"{self.path} can't be used: {error.strerror}.") from error

    def close(self) -> None:
        """Forget what ran here and let the next one in."""
        for name in ("edgewise.json", "processes.json", "lock"):
            (self.path / name).unlink(missing_ok=True)
        self._lock.close()

    def end_leftovers(self) -> None:
        """End what a killed `up` left running here, and withdraw what it told."""
        (self.path / "edgewise.json").unlink(missing_ok=True)
        marks = self._read("processes.json", list[processes.Mark]) or []
        processes.end(marks)

    def secret(self, name: str, make: Callable[[], str]) -> str:
        """The secret kept in a file that we alone may read; made at first use."""
        path = self.path / name
        if not path.exists():
            self._replace(name, make().encode())
        return path.read_text(encoding="utf-8").strip()

    def password(self, server: str) -> str:
        """What opens an embedded server of this installation."""
        return self.secret(f"{server}.password", lambda: secrets.token_hex(24))

    def jwt_secret(self) -> str:
        """What signs the tokens of this installation."""
        return self.secret("jwt.secret", lambda: secrets.token_urlsafe(48))

    def vault_keys(self) -> str:
        """The vault's key ring of this installation."""
        return self.secret("vault.keys", lambda: f"local:{base64.b64encode(secrets.token_bytes(32)).decode()}")

    def ports(self) -> dict[str, int]:
        """The ports used last time, by process."""
        return self._read("ports.json", dict[str, int]) or {}

    def remember_ports(self, ports: Mapping[str, int]) -> None:
        """Keep the ports for the next start."""
        self._replace("ports.json", msgspec.json.encode(ports))

    def remember_processes(self, pids: Sequence[int]) -> None:
        """Keep what runs, for the day we are killed."""
        marks = [mark for mark in map(processes.mark, pids) if mark is not None]
        self._replace("processes.json", msgspec.json.encode(marks))

    def announce(self, description: Mapping[str, Any]) -> None:
        """Write ``edgewise.json``, which others read: whole or not at all."""
        self._replace("edgewise.json", msgspec.json.format(msgspec.json.encode(description)))

    def _read(self, name: str, kind: Any) -> Any:
        """A remembered file; None if it is missing or not legible."""
        try:
            return msgspec.json.decode((self.path / name).read_bytes(), type=kind)
        except (OSError, msgspec.DecodeError):
            return None

    def _replace(self, name: str, content: bytes) -> None:
        fresh = self.path / f".{name}.new"
        fresh.unlink(missing_ok=True)
        fresh.touch(mode=0o600)
        fresh.write_bytes(content)
        fresh.replace(self.path / name)


def _locked(path: Path) -> TextIO:
    """The lock file, locked; made again if its last owner removed it while we were waiting for the lock."""
    while True:
        handle = path.open("a+", encoding="ascii")
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            handle.seek(0)
            owner = handle.read().strip()
            handle.close()
            raise EdgewiseError(
                "folder_in_use", f"{path.parent} is in use by another `edgewise up`, pid {owner}. Stop that one first."
            ) from None
        if path.exists() and path.stat().st_ino == os.fstat(handle.fileno()).st_ino:
            handle.truncate(0)
            handle.write(str(os.getpid()))
            handle.flush()
            return handle
        handle.close()
