"""Item paths: which item of which iterators a step belongs to.

Zero-based places, outermost first, dot-joined (``5.3``); ``-`` outside iterators.
"""

from typing import Final

ROOT: Final = "-"


def child(parent: str, place: int) -> str:
    """The path of an iterator's item, given the iterator's own path."""
    return str(place) if parent == ROOT else f"{parent}.{place}"


def split(path: str) -> tuple[str, int]:
    """The path of the iterator an item belongs to, and the item's place.

    Raises:
        ValueError: for `ROOT`, which is no item.
    """
    parent, _, place = path.rpartition(".")
    return parent or ROOT, int(place)


def depth(path: str) -> int:
    """How many iterators a path lies in."""
    return 0 if path == ROOT else path.count(".") + 1


def at_depth(path: str, levels: int) -> str:
    """The path as far as ``levels`` iterators deep."""
    return ROOT if levels == 0 else ".".join(path.split(".", levels)[:levels])
