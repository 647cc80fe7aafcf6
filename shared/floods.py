"""Floods of log lines: what repeats itself without end is told a few times, and then counted.

A filter of the handler and no processor: there, lines of the standard library pass too, and can be dropped.
"""

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, MutableMapping
from typing import Any, Final

#: The field of a line that says how many like it were left out before it.
SUPPRESSED: Final = "suppressed"
#: Characters of an event that are compared.
_COMPARED: Final = 200

_Kind = tuple[str, int, str]


class Floods(logging.Filter):
    """Lets at most ``burst`` events of one kind (logger, level, event) pass in ``window`` seconds.

    While a kind goes on beyond that, one of it passes per window and tells how many did not. Its fields, and the
    arguments of a message of the standard library, do not make it another kind.

    Args:
        burst: events of one kind.
        window: seconds.
        kinds: how many are remembered; the one longest silent is forgotten, with its count.
        now: monotonic seconds.
    """

    def __init__(
        self, *, burst: int = 10, window: float = 10.0, kinds: int = 1000, now: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__()
        self._burst = burst
        self._window = window
        self._kinds = kinds
        self._now = now
        self._spells: OrderedDict[_Kind, _Spell] = OrderedDict()
        self._lock = threading.Lock()

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether a record passes; one that does after others did not carries their number."""
        now = self._now()
        with self._lock:
            spell = self._spell(_kind(record), now)
            if now - spell.began >= self._window:
                spell.renew(now, self._burst, self._window)
            if spell.left == 0:
                spell.suppressed += 1
                return False
            spell.left -= 1
            suppressed, spell.suppressed = spell.suppressed, 0
        if suppressed:
            setattr(record, SUPPRESSED, suppressed)
        return True

    def _spell(self, kind: _Kind, now: float) -> "_Spell":
        spell = self._spells.get(kind)
        if spell is None:
            spell = self._spells[kind] = _Spell(now, self._burst)
            if len(self._spells) > self._kinds:
                self._spells.popitem(last=False)
        self._spells.move_to_end(kind)
        return spell


class _Spell:
    """How a kind fares in its window: when that began, how many may still pass, and how many did not."""

    __slots__ = ("began", "left", "suppressed")

    def __init__(self, began: float, left: int) -> None:
        self.began = began
        self.left = left
        self.suppressed = 0

    def renew(self, now: float, burst: int, window: float) -> None:
        """Begin another window: a whole one if the flood is over, else one for a single line."""
        goes_on = self.suppressed > 0 and now - self.began < 2 * window
        self.began = now
        self.left = 1 if goes_on else burst


def _kind(record: logging.LogRecord) -> _Kind:
    """The logger, the level and the event: ours by its sentence, others' by their template unless it is but a hole."""
    if isinstance(record.msg, dict):
        text = str(record.msg.get("event"))
    else:
        text = record.getMessage() if record.msg == "%s" else str(record.msg)
    return record.name, record.levelno, text[:_COMPARED]


def tell_suppressed(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """The processor that moves the number from the record to the line."""
    number = getattr(event["_record"], SUPPRESSED, None)
    if number is not None:
        event[SUPPRESSED] = number
    return event
