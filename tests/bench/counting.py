"""Counting what Python does: the same on every machine, however busy it is."""

import gc
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

T = TypeVar("T")


class Calls:
    """How many functions were called on this thread while it counted, Python's own and C's."""

    def __init__(self) -> None:
        self.count = 0

    @contextmanager
    def counted(self) -> Iterator[None]:
        """Count meanwhile."""
        sys.setprofile(self._note)
        try:
            yield
        finally:
            sys.setprofile(None)

    def _note(self, _frame: object, event: str, _argument: Any) -> None:
        if event in {"call", "c_call"}:
            self.count += 1


def calls(work: Callable[[], object]) -> int:
    """How many functions a piece of work calls."""
    counter = Calls()
    with counter.counted():
        work()
    return counter.count


def blocks(work: Callable[[], T]) -> int:
    """How many blocks of memory are in use for what a piece of work gives, garbage left out."""
    kept = work()  # what is remembered from the first time on is not counted
    gc.collect()
    gc.disable()
    try:
        before = sys.getallocatedblocks()
        again = work()
        return sys.getallocatedblocks() - before
    finally:
        gc.enable()
        del kept, again
