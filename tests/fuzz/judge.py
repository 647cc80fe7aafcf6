"""What a case may not do, and how it is told: take long, take memory, give what is no JSON, touch anything outside."""

import math
import os
import re
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import msgspec

#: Seconds of processor time, and bytes of memory, that one case may take.
SECONDS: Final = 1.0
BYTES: Final = 50 * 1024 * 1024
#: In the environment of the process: nothing that a template gives may hold it.
CANARY: Final = "canary-4f1d9a7e"
MARK: Final = "EDGEWISE_FUZZ"
#: How Python writes objects that are no JSON.
_OBJECT: Final = re.compile(
    r"<(?:class|function|module|built-in|bound|generator|frame|code)\b|\bobject at 0x|<liquid\.|Undefined\("
)
#: What even well-behaved nodes make Python do: time zones are files, codecs are modules, extras are looked for.
_HARMLESS: Final = re.compile(
    r"^os\.listdir|zoneinfo|tzdata|encodings|idna|_strptime|/lib/python|site-packages|importlib|\.pyc?$"
)
_WATCHED: Final = ("open", "import", "exec", "compile", "os.", "subprocess.", "socket.", "ctypes.", "shutil.", "pty.")


class Finding(msgspec.Struct, frozen=True):
    """Something that a case should not have done."""

    case: str
    what: str
    detail: str


class Report(msgspec.Struct):
    """What became of the cases of one process.

    Attributes:
        endings: how many ended how.
        slowest: seconds of processor time, and the case.
        largest: bytes of memory, and the case.
    """

    cases: int = 0
    endings: dict[str, int] = {}
    slowest: tuple[float, str] = (0.0, "")
    largest: tuple[int, str] = (0, "")
    findings: list[Finding] = []


class Judge:
    """Runs cases one after the other and keeps account of them.

    Args:
        expected: errors that a case may end with.
        seconds, size: see `SECONDS` and `BYTES`.
    """

    def __init__(self, expected: tuple[type[Exception], ...], seconds: float = SECONDS, size: int = BYTES) -> None:
        self.report = Report()
        self._expected = expected
        self._seconds = seconds
        self._size = size
        self._touched: list[str] = []
        self._inside = False
        os.environ[MARK] = CANARY
        sys.addaudithook(self._audit)

    def run(self, case: str, work: Callable[[], tuple[str, Any]]) -> None:
        """One case: what it gives is held against every rule."""
        before = _reset_peak()
        began = time.thread_time()
        self._touched.clear()
        self._inside = True
        try:
            ending, given = work()
        except self._expected as error:
            ending, given = f"error: {getattr(error, 'code', type(error).__name__)}", str(error)
        except Exception as error:  # noqa: BLE001 — that is the finding
            ending, given = "undeclared", None
            self._find(case, "undeclared error", f"{type(error).__name__}: {error}")
        finally:
            self._inside = False
        self._account(case, ending, time.thread_time() - began, _peak() - before)
        for what in self._touched:
            self._find(case, "touched the outside", what)
        for what in escapes(given):
            self._find(case, "escape", what)

    def _account(self, case: str, ending: str, seconds: float, size: int) -> None:
        report = self.report
        report.cases += 1
        report.endings[ending] = report.endings.get(ending, 0) + 1
        report.slowest = max(report.slowest, (seconds, case))
        report.largest = max(report.largest, (size, case))
        if seconds > self._seconds:
            self._find(case, "slow", f"{seconds:.2f} s of processor time")
        if size > self._size:
            self._find(case, "memory", f"{size / 1024 / 1024:.0f} MB")

    def _find(self, case: str, what: str, detail: str) -> None:
        self.report.findings.append(Finding(case, what, detail[:300].encode("utf-8", "backslashreplace").decode()))

    def _audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self._inside and event.startswith(_WATCHED):
            told = f"{event} {str(arguments[0])[:200] if arguments else ''}"
            if not _HARMLESS.search(told):
                self._touched.append(told)


def escapes(given: Any) -> Iterator[str]:
    """What in an output is no JSON, or says what only this process knows."""
    pending = [given]
    while pending:
        each = pending.pop()
        if isinstance(each, str):
            found = _OBJECT.search(each)
            if found:
                yield f"{found.group()} in {each[:100]!r}"
            if CANARY in each:
                yield "the environment"
        elif type(each) is dict:
            pending.extend(each.values())
            pending.extend(each)
        elif type(each) is list:
            pending.extend(each)
        elif each is not None and type(each) not in (bool, int) and not (type(each) is float and math.isfinite(each)):
            yield f"a {type(each).__name__}"


def _reset_peak() -> int:
    """Forget the largest size so far; the size now, in bytes."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    return _status("VmRSS:")


def _peak() -> int:
    return _status("VmHWM:")


def _status(name: str) -> int:
    with open("/proc/self/status", encoding="ascii") as status:  # noqa: PTH123 — twice a case
        return next(int(line.split()[1]) for line in status if line.startswith(name)) * 1024
