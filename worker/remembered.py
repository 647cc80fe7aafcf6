"""Values that many steps of one run read: decoded once, kept while there is room.

The items of an iterator all see the same payload and the same outputs of what ran before it, and results never change.
"""

from collections import OrderedDict
from typing import Any, Final

from shared.advances import Key

_SIZE: Final = 16 * 1024 * 1024


class Remembered:
    """Decoded outputs by step, the least recently used ones dropped.

    Args:
        size: bytes of JSON text that are kept decoded; what is larger than half of it is not kept at all.
    """

    def __init__(self, size: int = _SIZE) -> None:
        self._size = size
        self._used = 0
        self._kept: OrderedDict[Key, tuple[Any, int]] = OrderedDict()

    def get(self, key: Key) -> Any:
        """The value.

        Raises:
            KeyError: if it is not here.
        """
        value, _ = self._kept[key]
        self._kept.move_to_end(key)
        return value

    def __contains__(self, key: Key) -> bool:
        return key in self._kept

    def put(self, key: Key, value: Any, size: int) -> None:
        """Keep a value whose text has ``size`` characters."""
        if key in self._kept or size > self._size // 2:
            return
        self._kept[key] = (value, size)
        self._used += size
        while self._used > self._size:
            _, (_, dropped) = self._kept.popitem(last=False)
            self._used -= dropped
