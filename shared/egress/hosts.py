"""Who may call a host now: so many calls at a time, and none while its breaker is open.

Each host and port has a gate for each workspace, so that what one workspace does to a host (slow calls, timeouts too
short for it) holds up nobody else's calls. Gates are those of one worker process, and live in memory alone.

The limit hands a place that becomes free to the call that has waited longest, so none is passed by. The breaker is
*closed* until a number of calls in a row have failed; then it is *open* for some seconds, in which every call, waiting
ones included, fails at once; then it is *half-open*: one call goes out to see, and what comes of it closes the breaker
or opens it again. A call fails if there was no answer (no address, no connection, broken off, too late): an answer of
any status shows that the host is there, and whether its status is worth another try is for ``retry.on`` to say.
"""

import asyncio
import sys
import time
from collections.abc import Callable, Hashable
from typing import Final, Literal

import msgspec

from shared.errors import StepFailedError

#: Of a workspace, a host and a port.
Key = tuple[Hashable, str, int]
Change = Literal["opened", "closed", "queued"]

#: Gates kept at least; those of hosts that nobody calls go when there are more.
_GATES: Final = 4096
_SHOWN: Final = 300


class Limits(msgspec.Struct, frozen=True):
    """What one host is asked to bear of a workspace in one process.

    Attributes:
        at_once: calls at the same time.
        failures: calls in a row that fail before the breaker opens; 0: it never does.
        seconds: for which it stays open.
    """

    at_once: int = 128
    failures: int = 10
    seconds: float = 15.0


class Gate:
    """The state of one host for one workspace; only `Hosts` changes it.

    Attributes:
        key: whom it stands before.
        in_use: calls under way; at the limit while others wait.
        waiting: the calls that wait, in the order in which they came; a set that keeps it.
        failures: in a row.
        reason: of the last failure.
        until: monotonic seconds to which the breaker is open, if it has opened.
        probe: the call that goes out while it is half-open.
    """

    __slots__ = ("failures", "in_use", "key", "probe", "reason", "until", "waiting")

    def __init__(self, key: Key) -> None:
        self.key = key
        self.in_use = 0
        self.waiting: dict[asyncio.Future[None], None] = {}
        self.failures = 0
        self.reason = ""
        self.until = 0.0
        self.probe: object | None = None


class Hosts:
    """The gates of all hosts. Belongs to the event loop that first uses it.

    Args:
        limits: the same for every host.
        most: calls that may be under way in all, for the memory of gates.
        clock: monotonic seconds.
        on_change: told of each breaker that ``opened`` or ``closed`` and of each call that was ``queued``.
    """

    def __init__(
        self,
        limits: Limits | None = None,
        *,
        most: int = 256,
        clock: Callable[[], float] = time.monotonic,
        on_change: Callable[[Change], None] | None = None,
    ) -> None:
        given = limits or Limits()
        self._at_once = given.at_once
        self._failures = given.failures or sys.maxsize
        self._seconds = given.seconds
        self._most = max(_GATES, 2 * most)
        self._clock = clock
        self._on_change = on_change or (lambda _: None)
        self._gates: dict[Key, Gate] = {}

    def __len__(self) -> int:
        return len(self._gates)

    async def enter(self, key: Key, caller: object) -> Gate:
        """Wait for a place; the caller gives it back with `leave`.

        Args:
            key: whom it calls, for whom.
            caller: the call, to know it again.

        Raises:
            StepFailedError: ``circuit_open``, category ``network``, with the seconds until the host is tried again.
        """
        gate = self._gates.get(key) or self._new(key)
        if gate.failures >= self._failures:
            self._probe(gate, caller)
        if gate.in_use < self._at_once:
            gate.in_use += 1
        else:
            await self._turn(gate)
        return gate

    def leave(self, gate: Gate, caller: object) -> None:
        """Give the place to the next, whatever came of the call."""
        if gate.probe is caller:
            gate.probe = None
        self._free(gate)

    def succeeded(self, gate: Gate) -> None:
        """The host answered."""
        if gate.failures:
            if gate.failures >= self._failures:
                self._on_change("closed")
            gate.failures, gate.reason, gate.until = 0, "", 0.0

    def failed(self, gate: Gate, reason: str) -> None:
        """The host did not answer. What was sent before the breaker opened does not keep it open for longer."""
        gate.failures += 1
        gate.reason = reason[:_SHOWN]
        now = self._clock()
        if gate.failures < self._failures or gate.until > now:
            return
        gate.until = now + self._seconds
        self._on_change("opened")
        for turn in gate.waiting:
            if not turn.done():
                turn.set_exception(self._open(gate))
        gate.waiting.clear()

    async def _turn(self, gate: Gate) -> None:
        """Wait until a place is handed over."""
        self._on_change("queued")
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        gate.waiting[turn] = None
        try:
            await turn
        except asyncio.CancelledError:
            gate.waiting.pop(turn, None)
            if not turn.cancelled() and turn.exception() is None:
                self._free(gate)  # it was handed a place and is no longer there to use it
            raise

    def _free(self, gate: Gate) -> None:
        while gate.waiting:
            turn = next(iter(gate.waiting))
            del gate.waiting[turn]
            if not turn.done():
                turn.set_result(None)
                return
        gate.in_use -= 1

    def _probe(self, gate: Gate, caller: object) -> None:
        """Let one call through when the time is over."""
        if gate.until > self._clock() or gate.probe is not None or gate.in_use >= self._at_once:
            raise self._open(gate)
        gate.probe = caller

    def _open(self, gate: Gate) -> StepFailedError:
        left = gate.until - self._clock()
        wait = left if left > 0 else self._seconds  # as long as the one call that is out may find it silent
        _, name, port = gate.key
        host = f"[{name}]" if ":" in name else name
        return StepFailedError(
            "circuit_open",
            f"{host}:{port} failed {gate.failures} times in a row and is not called for now; "
            f"it is tried again in {wait:.3g} s. The last failure: {gate.reason}",
            category="network",
            retry_in=wait,
        )

    def _new(self, key: Key) -> Gate:
        if len(self._gates) >= self._most:
            self._forget()
        gate = self._gates[key] = Gate(key)
        return gate

    def _forget(self) -> None:
        """Drop half of what nobody uses, first what has nothing to remember."""
        idle = [key for key, gate in self._gates.items() if not gate.in_use]
        idle.sort(key=lambda key: self._gates[key].failures > 0)
        for key in idle[: self._most // 2]:
            del self._gates[key]
