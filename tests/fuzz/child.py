"""The process that runs cases: ``python -m tests.fuzz.child SEED FIRST SECONDS BOARD [LAST]``.

Which case it is at stands in the file BOARD, so that who watches it knows, whatever happens. Its report comes into
BOARD.json.
"""

import mmap
import sys
import time
from contextlib import suppress
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from random import Random
from typing import Any, Final, cast

import msgspec
import structlog

from shared.egress.interface import Egress
from shared.errors import StepFailedError
from shared.graph.catalogue import Kind, Mode
from shared.nodes.base import StepContext, TriggerContext
from shared.nodes.registry import default_registry
from shared.templates import TemplateError, TemplateSyntaxError, parse
from tests.fuzz import nodes, values
from tests.fuzz.judge import Judge
from tests.fuzz.liquid import Author

_SCOPES: Final = 40
_NOW: Final = datetime(2025, 10, 31, 12, tzinfo=UTC)
_CONTEXT: Final = StepContext("fl_run_01h3j4k5l6m7n8p9q0r1s2t3v4", "n", "-", 1, "r:n:-", _NOW, 30.0, cast(Egress, None))


def case(seed: str, index: int) -> tuple[str, Any, dict[str, Any]]:
    """A case by its number: what it is of (``text``, ``json``, ``value`` or a node type), source or data, and scope."""
    random = Random(f"{seed}:{index}")
    scope = _scope(f"{seed}:{random.randrange(_SCOPES)}")
    if random.random() < 0.55:
        kind = random.choice(("text", "json", "value"))
        author = Author(random)
        source = author.value() if kind == "value" and random.random() < 0.7 else author.template()
        return kind, source, scope
    component = random.choice(nodes.components())
    return component, nodes.data_for(component, random), scope


@lru_cache(maxsize=64)
def _scope(seed: str) -> dict[str, Any]:
    """One of the scopes; to make one takes longer than most cases."""
    return values.scope(Random(seed))


def perform(kind: str, given: Any, scope: dict[str, Any]) -> tuple[str, Any]:
    """Render a template, or check a node's data as when it is saved and run it if it may be."""
    if isinstance(given, str):
        return f"rendered {kind}", getattr(parse(given), kind)(scope)
    registry = default_registry()
    faults, _ = registry.check(kind, given, "data")
    registry.handles(kind, given)
    if any(fault.code == "broken_component" for fault in faults):
        raise RuntimeError("checking it broke")
    if faults:
        return "refused when saved", [fault.message for fault in faults]
    node = registry.compile("n", kind, given)
    if node.mode is Mode.EFFECT:
        return "would be called", None
    if node.mode is Mode.WAIT:
        return "waits", msgspec.to_builtins(node.begin(scope, _CONTEXT))
    if node.mode is Mode.ITERATE:
        return "divides", node.divide(scope).items
    if node.kind is Kind.TRIGGER:
        return "started", node.trigger(TriggerContext(_CONTEXT.run_id, "manual", scope)).output
    outcome = node.run(scope, lambda: _NOW)
    return "ran", [outcome.output, outcome.handle]


def main() -> None:
    """Run cases until the time is over."""
    seed, first, seconds, board = sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), Path(sys.argv[4])
    last = int(sys.argv[5]) if len(sys.argv) > 5 else sys.maxsize
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))  # drawing tracebacks takes long
    judge = Judge((TemplateError, TemplateSyntaxError, StepFailedError))
    ends, index = time.monotonic() + seconds, first
    with board.open("r+b") as file, mmap.mmap(file.fileno(), 8) as place:
        _warm_up()
        while index < last and time.monotonic() < ends:
            place[:8] = index.to_bytes(8, "little")
            kind, given, scope = case(seed, index)
            judge.run(f"{seed}:{index} {kind}", lambda: perform(kind, given, scope))  # noqa: B023 — it is called at once
            index += 1
    board.with_suffix(".json").write_bytes(msgspec.json.encode(judge.report))


def _warm_up() -> None:
    """What is imported or made with the first use is no case's doing."""
    for source in ("{{ 1 | date: '%Y', 'Europe/Berlin' }}", "{{ 1 | carbon_date }}", "{{ a | jmespath: '@' }}"):
        perform("text", source, {"a": 1})
    for component in nodes.components():
        node_type = default_registry().type_of(component)
        with suppress(StepFailedError):
            perform(component, dict(node_type.example), {**node_type.example_context})


if __name__ == "__main__":
    main()
