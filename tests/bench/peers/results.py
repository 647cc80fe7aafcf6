"""What was found of peers and of ourselves, side by side."""

from statistics import median
from typing import Any, Final, TypeAlias

import msgspec

from tests.bench.tables import Rows, number

#: What a peer tells: ``runs`` and ``chain``, each with executions/s, steps/s, p50_ms and p99_ms.
Found: TypeAlias = dict[str, dict[str, float]]


class Peer(msgspec.Struct, frozen=True):
    """One line of the comparison.

    Attributes:
        durable: what a step has left behind when the next one begins.
    """

    name: str
    script: str
    durable: str


PEERS: Final = (
    Peer("dbos", "with_dbos.py", "each step a committed row"),
    Peer("prefect", "with_prefect.py", "each step's states on its server, committed"),
    Peer("celery", "with_celery.py", "nothing: messages in memory"),
    Peer("dramatiq", "with_dramatiq.py", "nothing: messages in memory"),
)
OURS: Final = Peer("edgewise, calls", "", "each step a committed row before the next call leaves")
OURS_PURE: Final = Peer("edgewise, pure steps", "", "each step a row, committed together")
OURS_LOADED: Final = Peer("edgewise, workload 1", "", "as above; 64 connections that wait for the 202 alone")
#: Not to be had as a package of Python: measured on such a machine before, and not in this run.
QUOTED: Final = ("n8n 1.123 (quoted, not of this run)", "queue mode: main, worker, Postgres, Redis", 57.0, 346.0)

_COLUMNS: Final = ("peer", "durable", "executions/s", "p50 ms", "p99 ms", "ours is", "chain, steps/s", "ours is")


class Results:
    """Everything found so far.

    Args:
        versions: of peers, by name.
    """

    def __init__(self, seconds: float, repeats: int, versions: dict[str, str]) -> None:
        self.seconds = seconds
        self.repeats = repeats
        self.found: dict[str, list[Found]] = {}
        self._versions = versions
        self._peers: dict[str, Peer] = {}

    def add(self, peer: Peer, found: Found) -> None:
        """Take in one repeat."""
        self._peers[peer.name] = peer
        self.found.setdefault(peer.name, []).append(found)

    def median(self, peer: str, shape: str, name: str) -> float:
        """Of one figure over the repeats."""
        return median(one[shape][name] for one in self.found[peer])

    def as_json(self) -> bytes:
        """Every repeat, and what is quoted."""
        quoted = {"peer": QUOTED[0], "executions/s": QUOTED[2], "p50_ms": QUOTED[3]}
        content: dict[str, Any] = {
            "about": {"seconds": self.seconds, "repeats": self.repeats},
            "versions": {name: self._versions[name] for name in self.found if name in self._versions},
            "found": self.found,
            "quoted": quoted,
        }
        return msgspec.json.format(msgspec.json.encode(content))

    def rows(self) -> Rows:
        """As a table; ``ours is`` tells how many times as many executions, or steps, we do."""
        ours = OURS.name if OURS.name in self.found else None
        rows = [self._row(peer, ours) for peer in self._peers.values()]
        times = _times(self.median(ours, "runs", "executions/s"), QUOTED[2]) if ours else "-"
        rows.append((QUOTED[0], QUOTED[1], number(QUOTED[2]), number(QUOTED[3]), "-", times, "-", "-"))
        return Rows("Peers on this machine, 64 executions at once: the median of the repeats", _COLUMNS, rows)

    def _row(self, peer: Peer, ours: str | None) -> tuple[str, ...]:
        version = self._versions.get(peer.name, "")
        runs = [self.median(peer.name, "runs", name) for name in ("executions/s", "p50_ms", "p99_ms")]
        steps = self.median(peer.name, "chain", "steps/s")
        is_other = ours is not None and peer.name in self._versions
        return (
            f"{peer.name} {version}".strip(),
            peer.durable,
            *map(number, runs),
            _times(self.median(ours, "runs", "executions/s"), runs[0]) if ours and is_other else "-",
            number(steps),
            _times(self.median(ours, "chain", "steps/s"), steps) if ours and is_other else "-",
        )


def _times(ours: float, theirs: float) -> str:
    return f"{ours / theirs:.1f}x"
