"""The process that forks for steps that run apart; `shared.apart.isolated` is its other side."""

import asyncio
import socket
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager


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
        self._retired = False
        self._calls = 0

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

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """A call is under way in one of its forks."""
        self._calls += 1
        try:
            yield
        finally:
            self._calls -= 1
            if self._retired and not self._calls:
                self.close()

    def retire(self) -> None:
        """End it once the calls that are under way have ended."""
        self._retired = True
        if not self._calls:
            self.close()

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
        """End it, and with it every fork. The loop does not wait until the kernel has taken its memory down."""
        if self._closed:
            return
        self._closed = True
        self._process.kill()
        self._control.close()
        threading.Thread(target=self._process.wait, name="reaper", daemon=True).start()
