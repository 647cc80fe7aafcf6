"""Ports for the processes we start, claimed so that two installations on one machine never pick the same one.

A claim is an abstract Unix socket named after the port: there is no file to leave behind, and the kernel drops it when
we die. It binds only those who ask here, which is enough: strangers are found by trying the port itself.
"""

import random
import socket

from shared.errors import EdgewiseError

#: Below the kernel's usual range for outgoing connections, so that none takes a server's port while it restarts.
_RANGE = range(20_000, 32_000)
_HIGHEST = 65_535


class Ports:
    """The claims of one installation.

    Args:
        host: the address that ports are tried on.
    """

    def __init__(self, host: str = "127.0.0.1") -> None:
        self._host = host
        self._claims: list[socket.socket] = []

    def take(self, port: int) -> bool:
        """Claim this port; False if it is in use."""
        claim = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            claim.bind(f"\0edgewise-port-{port}")
            _try(port, self._host)
        except OSError:
            claim.close()
            return False
        self._claims.append(claim)
        return True

    def next_from(self, first: int) -> int:
        """Claim the first free port from this one on.

        Raises:
            EdgewiseError: if there is none.
        """
        for port in range(first, _HIGHEST + 1):
            if self.take(port):
                return port
        raise EdgewiseError("no_port", f"No port from {first} on is free on {self._host}.")

    def any(self, wanted: int | None = None) -> int:
        """Claim the wanted port if it is free, else any other."""
        if wanted is not None and self.take(wanted):
            return wanted
        return self.next_from(random.choice(_RANGE))  # noqa: S311 — spread, not secrecy

    def release(self) -> None:
        """Give up every claim."""
        for claim in self._claims:
            claim.close()
        self._claims.clear()


def _try(port: int, host: str) -> None:
    """Listen there for a moment.

    Raises:
        OSError: if somebody else does.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((host, port))
        probe.listen(1)
