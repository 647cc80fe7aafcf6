"""The processor time that one node has for its templates and its own work in process, all together.

A render has its own limit (`limits.SECONDS`), but a node's data may hold thousands of templates, and while they are
rendered nothing else of the worker goes on. So while an allowance is open, every render, every filter that makes much
of something, and what a node does with its data draw on the same time.
"""

import time
from threading import local
from typing import Final

from liquid.exceptions import ResourceLimitError

from shared.templates import limits

#: Characters or items of a filter's result from which it is worth looking at the clock: 0.3 us beside 10 and more.
LARGE: Final = 4_096


class _Open(local):
    """Of each thread: the moment at which its time is over; None if no allowance is open, 0 before the first look."""

    deadline: float | None = None


_open: Final = _Open()


def begin(spent: float = 0.0) -> None:
    """From here on the renders of this thread share their time.

    Args:
        spent: seconds of it that were used before, in another allowance for the same node.
    """
    _open.deadline = time.thread_time() + limits.SECONDS - spent if spent else 0.0


def end() -> None:
    """From here on every render has its own."""
    _open.deadline = None


def deadline(own: float = 0.0) -> float:
    """The moment, in processor time of this thread, at which work has to end whose own time ends at ``own``.

    Args:
        own: 0 for work that begins now.
    """
    if _open.deadline:
        return _open.deadline
    if own == 0.0:
        own = time.thread_time() + limits.SECONDS
    if _open.deadline is not None:
        _open.deadline = own
    return own


def left() -> float:
    """Seconds of processor time until then, for work that begins now; may be below 0."""
    return deadline() - time.thread_time()


def look() -> None:
    """Stop if the shared time is over.

    Raises:
        ResourceLimitError: if so.
    """
    if _open.deadline is not None and time.thread_time() > deadline():
        raise ResourceLimitError(f"the templates of the node take more than {limits.SECONDS:g} s", token=None)
