"""docs/failure-modes.md: a table of what fails and how, in which every cell points at tests that exist."""

import re
from pathlib import Path

_ROOT = Path(__file__).parents[2]
_LINK = re.compile(r'\[test\]\(\.\./(tests/[\w/]+\.py) "(test_\w+)"\)')
_WAYS = ("down", "slow", "restarted", "full", "half open")


def _rows() -> list[list[str]]:
    lines = (_ROOT / "docs" / "failure-modes.md").read_text().splitlines()
    table = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    return table[2:]


def test_every_cell_points_at_tests_that_exist() -> None:
    """What requests do and what runs do are each shown by at least one test, which is where the page says."""
    for what, how, *cells in _rows():
        assert len(cells) == 2, (what, how)
        for cell in cells:
            links = _LINK.findall(cell)
            assert links, (what, how, cell)
            for path, name in links:
                assert re.search(rf"^(async )?def {name}\(", (_ROOT / path).read_text(), re.MULTILINE), (path, name)


def test_every_way_of_failing_has_its_row() -> None:
    """Each dependency is down, slow, restarted, full and half open; the clock can only be wrong."""
    told = {(what, how) for what, how, *_ in _rows()}
    for what in ("Postgres", "Redis", "a worker", "the scheduler"):
        for way in _WAYS:
            assert any(one == what and how.startswith(way) for one, how in told), (what, way)
    assert sum(what == "the clock" for what, _ in told) == 2
