"""`make bench-step`: the processor time of a pure step with templates, in a worker's walk without database and broker.

A chain of such steps is walked as a worker does it: templates rendered, data converted, the node run, its output put
into the scope of those behind it and written as the JSON that is stored, its result kept for the commit. That time by
the number of steps is what a step costs a worker besides its share of commits. The same chain without templates stands
beside it.
"""

import random
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

import click

from shared import jsontext
from shared.db import Clock
from shared.graph.plan import compile_plan
from shared.nodes.registry import default_registry
from shared.store.taken import Loaded
from tests.engine import LINKS, edge, mint, node
from worker.plans import Blueprint
from worker.walk import Tools, Walk

#: Microseconds that a pure step with templates may take.
BUDGET: Final = 150.0
_LENGTH: Final = 100

#: Data of the nodes of a chain, for the node before: with templates, and without.
KINDS: Final[Mapping[str, Callable[[str], tuple[dict[str, Any], dict[str, Any]]]]] = {
    "text_transform, 2 expressions and a filter": lambda before: (
        _text(f"Hello {{{{ trigger.name | upcase }}}}, {{{{ {before}.text | slice: 0, 9 }}}}"),
        _text("Hello ADA, Hello ADA"),
    ),
    "string_condition, 2 templates": lambda _: (
        _condition("{{ trigger.name }}", "{{ trigger.name }}"),
        _condition("ada", "ada"),
    ),
    "data_mapper, 6 leaves with their types": lambda _: (
        {"component": "data_mapper", "mapping": {name: f"{{{{ trigger.{name} }}}}" for name in _VALUES}},
        {"component": "data_mapper", "mapping": _VALUES},
    ),
    "text_transform, a loop over 10 items": lambda _: (
        _text("{% for tag in trigger.ten %}{{ tag }},{% endfor %}"),
        _text("a,a,a,a,a,a,a,a,a,a,"),
    ),
}
_VALUES: Final = {"name": "ada", "tags": ["x", "y"], "age": 36, "a": 1, "b": 2, "c": 3}
_PAYLOAD: Final = jsontext.encode({**_VALUES, "text": "Hello ADA", "ten": ["a"] * 10})


def _text(template: str) -> dict[str, Any]:
    return {"component": "text_transform", "template": template}


def _condition(text: str, value: str) -> dict[str, Any]:
    return {"component": "string_condition", "input": text, "operator": "equals", "value": value}


def chain(kind: str, length: int, *, templated: bool) -> Callable[[], Walk]:
    """What makes walks of a chain of so many nodes."""
    nodes, edges = [node("t", component="manual_trigger")], []
    before = "t"
    for number in range(length):
        name = f"n{number}"
        data = KINDS[kind](before)[0 if templated else 1]
        nodes.append(node(name, **data))
        edges.append(edge(before, name, "true" if before != "t" and "condition" in kind else None))
        before = name
    registry = default_registry()
    plan = compile_plan(nodes, edges, registry)
    compiled = {name: registry.compile(name, planned.component, planned.data) for name, planned in plan.nodes.items()}
    blueprint = Blueprint(plan, compiled, {"id": "fl_x", "name": "w", "version": 1})
    tools = Tools(Clock(), mint.uuid, random.Random(1).random, None, LINKS)
    return lambda: Walk(_loaded(), blueprint, {}, tools)


def walked(walk: Walk) -> None:
    """Walk from the trigger to the end, up to what would be committed."""
    walk.start()
    advance, _ = walk.advance(keep_going=True)
    if advance.error_message is not None:
        raise RuntimeError(advance.error_message)


def _loaded() -> Loaded:
    now = Clock().now()
    run_id, workspace_id, workflow_id = (mint.uuid() for _ in range(3))
    return Loaded(
        run_id,
        "t",
        "-",
        claim_id=None,
        attempt=1,
        fired=True,
        wake=None,
        crashes=0,
        ending=False,
        sent_at=now,
        started_at=now,
        workspace_id=workspace_id,
        workflow_id=workflow_id,
        version=1,
        trigger_type="manual",
        trigger_payload=_PAYLOAD,
        created_at=now,
        priority=1,
    )


def microseconds(kind: str, *, templated: bool, repeats: int) -> float:
    """The processor time of a step, the median of so many walks."""
    make = chain(kind, _LENGTH, templated=templated)
    walked(make())
    taken = []
    for _ in range(repeats):
        walk = make()
        began = time.thread_time_ns()
        walked(walk)
        taken.append((time.thread_time_ns() - began) / 1000 / _LENGTH)
    return statistics.median(taken)


@click.command()
@click.option("--repeats", envvar="REPEATS", type=click.IntRange(5), default=100, show_default=True)
def main(repeats: int) -> None:
    """Measure, and say whether every kind of step keeps to its budget."""
    over = False
    click.echo(f"{'microseconds of processor time a step':50} templates  without")
    for kind in KINDS:
        costs = [microseconds(kind, templated=templated, repeats=repeats) for templated in (True, False)]
        over |= costs[0] > BUDGET
        click.echo(f"{kind:50} {costs[0]:9.1f} {costs[1]:8.1f}")
    click.echo(f"{'over' if over else 'within'} the budget of {BUDGET:g} microseconds")
    raise SystemExit(over)


if __name__ == "__main__":
    main()
