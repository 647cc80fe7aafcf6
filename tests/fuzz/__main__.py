"""``make fuzz SECONDS=600``: hostile templates and conditions for so long; or one case again: ``CASE=SEED:INDEX``."""

import pprint
import secrets
import sys
import time

from tests.fuzz.child import case, perform
from tests.fuzz.watching import fuzz


def main() -> None:
    """Fuzz for as long as asked, or show one case again."""
    wanted = sys.argv[1]
    if ":" in wanted:
        _again(wanted)
        return
    seed = sys.argv[2] if len(sys.argv) > 2 else secrets.token_hex(4)
    print(f"seed {seed}, {wanted} seconds", flush=True)
    report = fuzz(seed, float(wanted))
    print(f"{report.cases:,} cases")
    for ending, count in sorted(report.endings.items(), key=lambda item: -item[1]):
        print(f"  {count:>9,}  {ending}")
    print(f"slowest: {report.slowest[0] * 1000:.0f} ms of processor time, {report.slowest[1]}")
    print(f"largest: {report.largest[0] / 1024 / 1024:.1f} MB, {report.largest[1]}")
    for finding in report.findings:
        print(f"FOUND {finding.what} in {finding.case}: {finding.detail}")
    sys.exit(bool(report.findings))


def _again(wanted: str) -> None:
    seed, _, index = wanted.partition(":")
    kind, given, scope = case(seed, int(index))
    print(kind)
    pprint.pp(given, width=120)
    print({name: str(value)[:200] for name, value in scope.items()})
    began = time.thread_time()
    try:
        print(str(perform(kind, given, scope))[:2000])
    finally:
        print(f"{time.thread_time() - began:.3f} s of processor time")


if __name__ == "__main__":
    main()
