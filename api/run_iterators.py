"""What iterators gave out, for the run object: it is put together of their items' rows, as far as that is small."""

from collections.abc import Sequence
from typing import Final

from api.run_graphs import RunGraph
from shared import jsontext
from shared.db import Connection
from shared.errors import EdgewiseError
from shared.graph.paths import ROOT
from shared.graph.plan import Plan
from shared.nodes.registry import Registry
from shared.states import StepStatus
from shared.store import plans, results
from shared.store.runs_read import RunRow, SettledStep

#: The most bytes of results that an answer puts together for one iterator.
MAX_SHOWN: Final = 1024 * 1024


async def with_results(
    connection: Connection, registry: Registry, row: RunRow, graph: RunGraph, settled: Sequence[SettledStep]
) -> list[SettledStep]:
    """The steps, those of iterators outside other iterators with their output.

    One with more than `MAX_SHOWN` bytes of results shows how many items it had, and null for the results.
    """
    wanted = [step for step in settled if _is_composed(step, graph)]
    if not wanted:
        return list(settled)
    plan = await plans.plan(connection, registry, row.workflow_id, row.version)
    if plan is None:
        return list(settled)
    outputs = {step.node_id: await _output(connection, plan, row, step.node_id) for step in wanted}
    return [step._replace(output=outputs[step.node_id]) if step in wanted else step for step in settled]


def _is_composed(step: SettledStep, graph: RunGraph) -> bool:
    return step.node_id in graph.iterators and step.item == ROOT and step.status == StepStatus.SUCCESS


async def _output(connection: Connection, plan: Plan, row: RunRow, iterator: str) -> str:
    try:
        output = await results.iterator_output(connection, plan, row.id, iterator, ROOT, most=MAX_SHOWN)
    except EdgewiseError:
        output = {"results": None, "count": await results.count(connection, row.id, iterator), "failed": None}
    return jsontext.encode(output)
