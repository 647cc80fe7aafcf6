"""The short form of `make fuzz`, and that it finds what it is there to find."""

import mmap
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from shared.errors import StepFailedError
from shared.templates import limits
from tests.compiling import compile_node
from tests.fuzz import watching
from tests.fuzz.child import case
from tests.fuzz.judge import CANARY, MARK, Judge
from tests.fuzz.watching import fuzz


def test_hostile_templates_and_conditions_do_no_harm() -> None:
    """The same few hundred cases each time; `make fuzz` makes new ones for ten minutes. A finding names its case."""
    report = fuzz("short", 100.0, last=300)
    assert report.findings == []
    assert report.cases == 300
    assert report.endings.get("ran", 0) + report.endings.get("rendered text", 0) > 5


def test_a_case_is_the_same_again() -> None:
    """What is found can be looked at."""
    assert [case("x", number) for number in range(9)] == [case("x", number) for number in range(9)]


def _spin() -> tuple[str, Any]:
    ends = time.thread_time() + 0.2
    while time.thread_time() < ends:
        pass
    return "ran", None


def _allocate() -> tuple[str, Any]:
    """Fresh pages of the kernel: the heap that earlier tests have left may hold as much that is free."""
    with mmap.mmap(-1, 60_000_000) as memory:
        for place in range(0, len(memory), mmap.PAGESIZE):
            memory[place] = 1
    return "ran", None


def _read() -> tuple[str, Any]:
    return "ran", Path("/proc/self/cmdline").read_text(encoding="utf-8")


def _break() -> tuple[str, Any]:
    raise KeyError("undeclared")


@pytest.fixture(scope="module")
def judge() -> Iterator[Judge]:
    """One for all: what listens to a process cannot be taken away again. Its mark in the environment can."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(MARK, "")
        yield Judge((ValueError,), seconds=0.1, size=20 * 1024 * 1024)


@pytest.mark.parametrize(
    ("work", "found"),
    [
        (_spin, "slow"),
        (_allocate, "memory"),
        (_read, "touched the outside"),
        (_break, "undeclared error"),
        (lambda: ("ran", object()), "escape"),
        (lambda: ("ran", {"a": [str(dict)]}), "escape"),
        (lambda: ("ran", [float("nan")]), "escape"),
        (lambda: ("ran", os.environ.get(MARK)), "escape"),
        (lambda: ("ran", "<built-in method x"), "escape"),
    ],
)
def test_what_should_not_be_is_found(judge: Judge, work: Callable[[], tuple[str, Any]], found: str) -> None:
    """Each rule has a case that breaks it; the environment holds what must not come out."""
    assert os.environ[MARK] == CANARY
    judge.report.findings.clear()
    judge.run("x:1", work)
    assert [finding.what for finding in judge.report.findings] == [found]


def test_what_hangs_is_ended_and_passed_over(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Whoever watches ends the process, names the case, and goes on behind it."""
    monkeypatch.setattr(watching, "HANGS", 0.5)
    program = (
        "import sys, mmap; file = open(sys.argv[4], 'r+b'); place = mmap.mmap(file.fileno(), 8)\n"
        "if int(sys.argv[2]) < 8:\n    place[:8] = (7).to_bytes(8, 'little')\n    while True: pass\n"
        "open(sys.argv[4] + '.json', 'w').write('{\"cases\": 1}')"
    )
    (tmp_path / "hanging.py").write_text(program)
    monkeypatch.setattr(watching, "COMMAND", (sys.executable, str(tmp_path / "hanging.py")))
    report = fuzz("x", 20.0)
    assert [(finding.case, finding.what) for finding in report.findings] == [("x:7", "hang")]
    assert report.cases == 1


def test_all_templates_of_a_node_share_its_time() -> None:
    """A thousand templates that each take a good part of the time of one take no more than that time together."""
    mapping = {f"k{number}": "{{ a.l | sort | join: '' | size }}" for number in range(1000)}
    node = compile_node("n", "data_mapper", {"mapping": mapping})
    began = time.thread_time()
    with pytest.raises(StepFailedError, match="take more than"):
        node.run({"a": {"l": [f"{number}" for number in range(50_000)]}})
    assert time.thread_time() - began < limits.SECONDS + 0.5
