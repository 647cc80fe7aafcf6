"""What a run of a shape must come to: a small model of the graph's rules, told only how each effect ended.

It looks at every edge again and again until nothing changes, knows nothing of workers, batches or tables, and shares no
code with the engine.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from tests.faults.shapes import Shape

#: A node that ended in failure with nothing to catch it: no edge of it fires or dies.
UNCAUGHT: Final = "uncaught"
Ends = Mapping[str, str | None]


@dataclass
class Prediction:
    """Of one run.

    Attributes:
        runs: whether each node runs (True) or is skipped (False); a node that cannot be told yet is missing.
        handles: on which each condition that runs must end.
    """

    runs: dict[str, bool] = field(default_factory=dict)
    handles: dict[str, str] = field(default_factory=dict)


def predict(shape: Shape, payload: Mapping[str, Any], ends: Ends, numbers: Mapping[str, float]) -> Prediction:
    """Follow the edges as far as the ends of effects that are known lead.

    Args:
        shape: the graph.
        payload: what the run was started with.
        ends: the handle (None: the unnamed one) of every node but conditions that has ended, `UNCAUGHT` for a failure
            without an ``error`` edge.
        numbers: what the calls that succeeded were answered, by node.
    """
    told = Prediction({"start": True})
    while True:
        before = len(told.runs)
        for raw in shape.nodes:
            name = raw["id"]
            if name not in told.runs and (verdict := _verdict(shape, name, told, ends)) is not None:
                told.runs[name] = verdict
            if told.runs.get(name) and shape.kinds[name] in {"number", "switch"}:
                told.handles[name] = _decide(shape, name, payload, numbers)
        if len(told.runs) == before:
            return told


def _verdict(shape: Shape, name: str, told: Prediction, ends: Ends) -> bool | None:
    """Whether a node runs; None while that is open."""
    incoming = shape.incoming(name)
    fates = [_fires(shape, edge, told, ends) for edge in incoming]
    join = shape.data(name).get("join", "all")
    needed = join["count"] if isinstance(join, dict) else 1
    if join != "all" and fates.count(True) >= needed:
        return True
    if None in fates:
        return None
    return fates.count(True) >= needed


def _fires(shape: Shape, edge: Mapping[str, Any], told: Prediction, ends: Ends) -> bool | None:
    """Whether an edge fired (True), is dead (False), or neither yet."""
    source = edge["source"]
    if source not in told.runs:
        return None
    if not told.runs[source]:
        return False
    if source in told.handles:
        return bool(edge.get("sourceHandle") == told.handles[source])
    if source == "start":
        return True
    if source not in ends or ends[source] == UNCAUGHT:
        return None
    return bool(edge.get("sourceHandle") == ends[source])


def _decide(shape: Shape, name: str, payload: Mapping[str, Any], numbers: Mapping[str, float]) -> str:
    asked = str(shape.data(name)["input"])
    if shape.kinds[name] == "switch":
        word = payload["word"]
        return word if word in {"a", "b"} else "default"
    number = payload["pick"] if 'nodes["' not in asked else numbers.get(asked.split('"')[1], 0)
    return "true" if number >= 50 else "false"
