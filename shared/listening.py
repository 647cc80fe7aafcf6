"""One thread that waits for many lists of the broker at once, for consumers that have been idle for a while.

A consumer that waits by itself wakes every second, twelve of them two dozen times in a worker that does nothing. Here
each list has a connection that blocks in a move of the list's head onto itself, as a consumer's own does, and the one
thread that watches them all wakes once in four seconds to ask anew.
"""

import selectors
import threading
import time
from typing import Any, Final

import redis

#: Seconds a server is asked to wait for an item, and within how many more it must answer.
_BLOCK: Final = 4
_ANSWER: Final = 2.0


class _Line:
    """A connection that waits for one list.

    Attributes:
        asked_at: monotonic time of the question that is under way, None without one.
    """

    def __init__(self, key: str, connection: Any) -> None:
        self.key = key
        self.connection = connection
        self.socket = connection._sock  # noqa: SLF001 — what to watch; the client forgets it when it breaks
        self.asked_at: float | None = None
        self.rang = threading.Event()
        self.error: Exception | None = None

    def ask(self) -> None:
        self.asked_at = time.monotonic()
        self.connection.send_command("BLMOVE", self.key, self.key, "LEFT", "LEFT", _BLOCK)


class Listener:
    """Waits for lists to have an item.

    Attributes:
        heard_at: monotonic time of the last answer.
    """

    def __init__(self, client: "redis.Redis") -> None:
        self._client = client
        self._selector = selectors.DefaultSelector()
        self._lines: dict[str, _Line] = {}
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._open = True
        self.heard_at = 0.0

    def wait(self, key: str, seconds: float) -> bool:
        """Block until a list has an item, or something else is up; at most this long.

        Returns:
            False at once after `close`.

        Raises:
            redis.RedisError: if the connection broke meanwhile, or there is none to be had.
        """
        with self._lock:
            if not self._open:
                return False
            line = self._lines.get(key) or self._connect(key)
            line.rang.clear()
            if line.asked_at is None:
                self._ask(line)
        line.rang.wait(seconds)
        if line.error is not None:
            raise redis.ConnectionError(str(line.error)) from line.error
        return True

    def close(self) -> None:
        """Let all that wait go on, and wait for nothing any more."""
        with self._lock:
            self._open = False
            for line in self._lines.values():
                line.rang.set()

    def _connect(self, key: str) -> _Line:
        line = self._lines[key] = _Line(key, self._client.connection_pool.get_connection())
        self._selector.register(line.socket, selectors.EVENT_READ, line)
        if self._thread is None:
            self._thread = threading.Thread(target=self._listen, name="listener", daemon=True)
            self._thread.start()
        return line

    def _ask(self, line: _Line) -> None:
        try:
            line.ask()
        except (redis.RedisError, OSError) as error:
            self._lose(line, error)

    def _listen(self) -> None:
        while self._open:
            ready = self._selector.select(_BLOCK + _ANSWER)
            with self._lock:
                for key, _ in ready:
                    line: _Line = key.data
                    if self._lines.get(line.key) is line:  # it may have been lost meanwhile
                        self._hear(line)
                self._lose_late()
        self._selector.close()

    def _hear(self, line: _Line) -> None:
        """Read an answer: an item lets its consumer go on, none is asked for again."""
        try:
            answer = line.connection.read_response()
        except (redis.RedisError, OSError) as error:
            self._lose(line, error)
            return
        self.heard_at = time.monotonic()
        line.asked_at = None
        if answer is None and self._open:
            self._ask(line)
        else:
            line.rang.set()

    def _lose_late(self) -> None:
        """Give up lines that should have been answered: a half-open connection tells nothing."""
        oldest = time.monotonic() - _BLOCK - _ANSWER
        for line in [*self._lines.values()]:
            if line.asked_at is not None and line.asked_at < oldest:
                self._lose(line, redis.TimeoutError("the broker does not answer"))

    def _lose(self, line: _Line, error: Exception) -> None:
        """Drop a line whose connection broke; whoever waits is told, and the next makes another."""
        del self._lines[line.key]
        self._selector.unregister(line.socket)
        line.connection.disconnect()
        self._client.connection_pool.release(line.connection)
        line.error = error
        line.rang.set()
