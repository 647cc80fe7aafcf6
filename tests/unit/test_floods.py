"""Floods of log lines, by an artificial clock."""

import logging

import pytest

from shared.floods import SUPPRESSED, Floods


class _Told:
    """A filter with two events a window of ten seconds, and what became of each event."""

    def __init__(self, **changes: int) -> None:
        self.now = 0.0
        self.filter = Floods(**{"burst": 2, "window": 10, **changes}, now=lambda: self.now)

    def tell(
        self, text: str = "x", *, logger: str = "a", level: int = logging.INFO, arguments: tuple[str, ...] = ()
    ) -> int | None:
        """None if the event was left out, else how many were left out before it."""
        record = logging.LogRecord(logger, level, "", 0, text, arguments, None)
        return getattr(record, SUPPRESSED, 0) if self.filter.filter(record) else None


def test_a_flood_passes_once_a_window() -> None:
    """After the burst one event passes per window, with the number of those that did not."""
    told = _Told()
    outcomes = []
    for second in range(35):
        told.now = float(second)
        outcomes.append(told.tell())
    passed = {second: number for second, number in enumerate(outcomes) if number is not None}
    assert passed == {0: 0, 1: 0, 10: 8, 20: 9, 30: 9}


def test_a_flood_that_is_over_is_forgiven() -> None:
    """After a silent window the burst is whole again, and the first of it tells what was left out."""
    told = _Told()
    assert [told.tell() for _ in range(3)] == [0, 0, None]
    told.now = 20.0
    assert [told.tell() for _ in range(3)] == [1, 0, None]


def test_what_comes_seldom_always_passes() -> None:
    """Two in ten seconds, for ever, are no flood."""
    told = _Told()
    for second in range(0, 100, 5):
        told.now = float(second)
        assert told.tell() == 0


@pytest.mark.parametrize("other", [{"logger": "b"}, {"level": logging.ERROR}, {"text": "y"}])
def test_kinds_are_counted_apart(other: dict[str, object]) -> None:
    """Another logger, level or event is another kind."""
    told = _Told()
    assert [told.tell() for _ in range(3)] == [0, 0, None]
    assert told.tell(**other) == 0  # type: ignore[arg-type]


def test_arguments_make_a_kind_only_where_there_is_no_sentence() -> None:
    """A template is one kind whatever fills it; a template that is a mere hole is told by what fills it."""
    told = _Told()
    assert [told.tell("lost %s", arguments=(str(n),)) for n in range(3)] == [0, 0, None]
    assert [told.tell("%s", arguments=(str(n),)) for n in range(3)] == [0, 0, 0]


def test_memory_is_bounded() -> None:
    """Of more kinds than are remembered the one longest silent is forgotten, and may pass again."""
    told = _Told(kinds=2, burst=1)
    assert [told.tell(text) for text in ("x", "y", "x", "z")] == [0, 0, None, 0]
    assert told.tell("x") is None
    assert told.tell("y") == 0
