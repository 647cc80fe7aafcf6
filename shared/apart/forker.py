"""The process that forks for steps that run apart; `shared.apart.isolated` is its other side."""

import asyncio
import socket
from collections.abc import Sequence


class NotStartedError(BaseException):
    """The process did not come as far as the node. It is no `Exception`, so that no walk takes it for the node's."""


class Forker:
    """A process that forks once for every connection. Make it with `start`."""

    def __init__(self, process: asyncio.subprocess.Process, control: socket.socket) -> None:
        self._process = process
        self._control = control
        self._closed = False

    @classmethod
    async def start(cls, command: Sequence[str]) -> "Forker":
        """Start it.

        Raises:
            OSError: if there is no such program.
        """
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                process = await asyncio.create_subprocess_exec(*command, stdin=theirs.fileno())
            except OSError:
                ours.close()
                raise
        return cls(process, ours)

    @property
    def is_gone(self) -> bool:
        """Whether it has ended."""
        return self._closed or self._process.returncode is not None

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
        # Not `kill`: a loop that ends before it hears of the process's end would leave the transport open.
        self._process._transport.close()  # type: ignore[attr-defined] # noqa: SLF001 — there is no other way to it
        self._control.close()
