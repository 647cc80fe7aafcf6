"""The process that forks for steps that run apart; `shared.apart.isolated` is its other side."""

import asyncio
import socket
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

#: Seconds that a process which was killed has to be gone.
_GONE: Final = 1.0


class NotStartedError(BaseException):
    """The process did not come as far as the node. It is no `Exception`, so that no walk takes it for the node's."""


class Forker:
    """A process that forks once for every connection. Make it with `start`.

    It is one of `subprocess` and not of asyncio: a loop that ends before it hears of the process's end would leave it
    open.
    """

    def __init__(self, process: "subprocess.Popen[bytes]", control: socket.socket) -> None:
        self._process = process
        self._control = control
        self._closed = False

    @classmethod
    def start(cls, command: Sequence[str]) -> "Forker":
        """Start it.

        Raises:
            OSError: if there is no such program.
        """
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                process = subprocess.Popen(command, stdin=theirs.fileno())  # noqa: S603 — the operator's own program
            except OSError:
                ours.close()
                raise
        return cls(process, ours)

    @property
    def is_gone(self) -> bool:
        """Whether it has ended."""
        return self._closed or self._process.poll() is not None

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection to a fresh fork; it ends with the fork.

        Raises:
            NotStartedError: if the process is gone.
        """
        if self._closed:
            raise NotStartedError("it was closed")
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                socket.send_fds(self._control, [b"x"], [theirs.fileno()])
            except OSError as error:
                ours.close()
                raise NotStartedError(str(error)) from error
        return await asyncio.open_connection(sock=ours)

    def close(self) -> None:
        """End it, and with it every fork."""
        if self._closed:
            return
        self._closed = True
        self._process.kill()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_GONE)
        self._control.close()
