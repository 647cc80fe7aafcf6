"""A network namespace joined to ours by one wire: a place for servers that is reached as another machine is.

Packets to it go through a pair of virtual cards, so addresses, routes and the whole of TCP are those of a network; the
delay is that of the kernel, some ten microseconds. Its addresses belong to the range that is set aside for
measurements (198.18.0.0/15), and lead nowhere else.
"""

import ctypes
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.bench.figures import SkippedError

_CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


class Namespace:
    """A namespace that exists. Make it with `namespace`.

    Attributes:
        near, far: the addresses of our end of the wire and of the end inside.
    """

    def __init__(self) -> None:
        number = os.getpid() % 256
        self.name = f"edgewise-bench-{os.getpid()}"
        self._wire = f"ew{os.getpid()}"
        self.near, self.far = f"198.18.{number}.1", f"198.18.{number}.2"

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Be inside, together with every process started meanwhile; for this thread, and not across an ``await``."""
        home_path, there_path = Path("/proc/self/ns/net"), Path("/run/netns", self.name)
        with home_path.open("rb") as home, there_path.open("rb") as there:
            _enter(there.fileno())
            try:
                yield
            finally:
                _enter(home.fileno())

    def make(self) -> None:
        """Make the namespace and the wire.

        Raises:
            SkippedError: if that is not allowed here.
        """
        _ip("netns", "add", self.name)
        _ip("link", "add", self._wire, "type", "veth", "peer", "name", "wire", "netns", self.name)
        _ip("addr", "add", f"{self.near}/30", "dev", self._wire)
        _ip("link", "set", self._wire, "up")
        _ip("-n", self.name, "addr", "add", f"{self.far}/30", "dev", "wire")
        for card in ("wire", "lo"):
            _ip("-n", self.name, "link", "set", card, "up")

    def remove(self) -> None:
        """Remove the namespace, and with it both ends of the wire."""
        subprocess.run(["ip", "netns", "delete", self.name], check=False, capture_output=True)


@contextmanager
def namespace() -> Iterator[Namespace]:
    """A namespace that is gone afterwards; whatever was started in it must have ended by then.

    Raises:
        SkippedError: if the machine does not allow one.
    """
    made = Namespace()
    try:
        made.make()
        yield made
    finally:
        made.remove()


def _ip(*arguments: str) -> None:
    try:
        subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)
    except FileNotFoundError as error:
        raise SkippedError("the command `ip`, which makes network namespaces, is not installed") from error
    except subprocess.CalledProcessError as error:
        reason = error.stderr.strip()
        raise SkippedError(f"no right to make a network namespace (ip {' '.join(arguments)}: {reason})") from error


def _enter(handle: int) -> None:
    if _libc.setns(handle, _CLONE_NEWNET) == -1:
        number = ctypes.get_errno()
        raise OSError(number, f"setns: {os.strerror(number)}")
