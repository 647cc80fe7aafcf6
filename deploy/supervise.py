"""A child process that is started again whenever it dies."""

import asyncio
import contextlib
import signal
import subprocess
import time
from collections.abc import Callable

from deploy import processes
from shared.errors import EdgewiseError

_FIRST_DELAY = 0.1
_LONGEST_DELAY = 5.0

#: Seconds after which a process counts as having run well, so that its next death is the first again.
_GOOD_LIFE = 10.0


class Child:
    """One supervised process.

    Args:
        name: for messages.
        start: starts the process; it is called again after each death.
        changed: called whenever there is another process.
        tell: receives a line for people.
        stop_signal: makes it end cleanly.

    Attributes:
        deaths: how often it has died in a row without having run well.
        last_code: the return code of its last death.
    """

    def __init__(
        self,
        name: str,
        start: Callable[[], subprocess.Popen[bytes]],
        *,
        changed: Callable[[], None],
        tell: Callable[[str], None],
        stop_signal: int = signal.SIGTERM,
    ) -> None:
        self.name = name
        self.deaths = 0
        self.last_code = 0
        self.process: subprocess.Popen[bytes] | None = None
        self._start = start
        self._changed = changed
        self._tell = tell
        self._stop_signal = stop_signal
        self._keeper: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int | None:
        """The pid of the process, as long as it runs."""
        return self.process.pid if self.process and self.process.returncode is None else None

    def begin(self) -> subprocess.Popen[bytes]:
        """Start it for the first time, and keep it alive from now on.

        Raises:
            EdgewiseError: if it can't even be started.
        """
        self.process = self._start()
        self._keeper = asyncio.get_running_loop().create_task(self._keep(self.process), name=f"keep {self.name}")
        return self.process

    async def stop(self, deadline: float) -> None:
        """End it for good: its signal first, SIGKILL at the deadline (on the monotonic clock)."""
        if self._keeper:
            self._keeper.cancel()
            await asyncio.wait([self._keeper])
        if self.process is None or self.process.poll() is not None:
            return
        self.process.send_signal(self._stop_signal)
        try:
            async with asyncio.timeout(max(0.0, deadline - time.monotonic())):
                await processes.exited(self.process)
        except TimeoutError:
            self._tell(f"{self.name} did not end in time and is killed")
            self.process.kill()
            await processes.exited(self.process)

    def kill(self) -> None:
        """End it at once."""
        if self.pid is not None and self.process:
            self.process.kill()

    async def _keep(self, process: subprocess.Popen[bytes]) -> None:
        while True:
            since = time.monotonic()
            self.last_code = await processes.exited(process)
            self.deaths = 1 if time.monotonic() - since > _GOOD_LIFE else self.deaths + 1
            self._tell(f"{self.name} ended with {_reason(self.last_code)}; starting it again")
            process = await self._again()
            self.process = process
            self._changed()

    async def _again(self) -> subprocess.Popen[bytes]:
        """Start it after a short wait that doubles with every death in a row."""
        while True:
            await asyncio.sleep(min(_FIRST_DELAY * 2 ** (self.deaths - 1), _LONGEST_DELAY))
            try:
                return self._start()
            except (OSError, EdgewiseError) as error:
                self.deaths += 1
                self._tell(f"{self.name} could not be started: {error}")


def _reason(code: int) -> str:
    """A return code in words: ``code 1`` or ``SIGKILL``."""
    if code >= 0:
        return f"code {code}"
    with contextlib.suppress(ValueError):
        return signal.Signals(-code).name
    return f"signal {-code}"
