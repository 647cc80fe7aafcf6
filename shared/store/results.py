"""What iterators and runs give out: composed of rows when it is read, and never stored as one value."""

from collections.abc import Iterable
from typing import Any, Final
from uuid import UUID

from shared.db import Executes
from shared.errors import StepFailedError
from shared.graph.catalogue import Mode
from shared.graph.paths import ROOT, child
from shared.graph.plan import Plan
from shared.jsontext import decode
from shared.queries import load

_SQL = load("results")

#: The most bytes of results that are put together.
MAX_RESULTS: Final = 64 * 1024 * 1024
#: The most bytes of a run's outputs that are put together for the step that called it.
MAX_RUN_OUTPUT: Final = 1024 * 1024


async def iterator_output(
    connection: Executes, plan: Plan, run_id: UUID, iterator: str, path: str, *, most: int = MAX_RESULTS
) -> dict[str, Any]:
    """``{"results", "count", "failed"}`` of an iterator that has ended.

    ``results`` stand in the order of the items: the output of the body's only leaf that ran, else an object of outputs
    by node id, null for an item that failed.

    Args:
        connection: to read from.
        plan: of the run's version.
        run_id: of the run.
        iterator: its node id.
        path: its own item path.
        most: bytes of results.

    Raises:
        StepFailedError: ``output_too_large`` if there is more than that to put together.
    """
    nested = [name for name in plan.leaves[iterator] if plan.nodes[name].mode is Mode.ITERATE]
    plain = [name for name in plan.leaves[iterator] if name not in nested]
    await _check_size(connection, run_id, plain, path, most)
    items = await connection.fetch(_SQL["items"], run_id, iterator, path)
    ran = _by_item(await connection.fetch(_SQL["leaves"], run_id, plain, path))
    results: list[Any] = []
    failed = []
    for place, error in items:
        if error is not None:
            results.append(None)
            failed.append({"index": place, "error": decode(error)})
            continue
        item = child(path, place)
        given = ran.get(item, {})
        for name in await ended(connection, run_id, nested, item):
            given[name] = await iterator_output(connection, plan, run_id, name, item, most=most)
        results.append(next(iter(given.values())) if len(given) == 1 else given)
    return {"results": results, "count": len(items), "failed": failed}


async def count(connection: Executes, run_id: UUID, iterator: str) -> int:
    """How many items an iterator outside other iterators had."""
    return len(await connection.fetch(_SQL["items"], run_id, iterator, ROOT))


async def run_output(connection: Executes, plan: Plan, run_id: UUID) -> Any:
    """What a run gave out that has ended without `terminate`.

    It is the output of the only node that ran and that nothing follows, else an object of outputs by node id.

    Raises:
        StepFailedError: ``output_too_large`` if there is more than `MAX_RUN_OUTPUT` to put together.
    """
    nested = [name for name in plan.ends if plan.nodes[name].mode is Mode.ITERATE]
    plain = [name for name in plan.ends if name not in nested]
    await _check_size(connection, run_id, plain, ROOT, MAX_RUN_OUTPUT)
    given = _by_item(await connection.fetch(_SQL["leaves"], run_id, plain, ROOT)).get(ROOT, {})
    for name in await ended(connection, run_id, nested, ROOT):
        given[name] = await iterator_output(connection, plan, run_id, name, ROOT)
    return next(iter(given.values())) if len(given) == 1 else given


async def called_version(connection: Executes, run_id: UUID) -> tuple[UUID, int] | None:
    """Workflow and version of a run that a step waits for; None if none waits, or the run is gone."""
    records = await connection.fetch(_SQL["called_version"], run_id)
    return tuple(records[0]) if records else None


async def _check_size(
    connection: Executes, run_id: UUID, leaves: list[str], path: str, limit: int = MAX_RESULTS
) -> None:
    (record,) = await connection.fetch(_SQL["size"], run_id, leaves, path)
    if record["bytes"] > limit:
        message = f"The results are {record['bytes']:,} bytes of JSON; at most {limit:,} are put together."
        raise StepFailedError("output_too_large", message)


async def ended(connection: Executes, run_id: UUID, iterators: list[str], item: str) -> list[str]:
    """Which of the iterators in an item have ended by `done`; they store no output."""
    if not iterators:
        return []
    return [record["node_id"] for record in await connection.fetch(_SQL["ended"], run_id, iterators, item)]


def _by_item(records: Iterable[Any]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for node_id, item, output in records:
        found.setdefault(item, {})[node_id] = decode(output)
    return found
