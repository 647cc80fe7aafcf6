"""What iterators and runs give out: composed of rows when it is read, and never stored as one value."""

from collections.abc import Sequence
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
    given = await _read(connection, plan, run_id, plan.leaves[iterator], path, most, above=[iterator])
    return given.of_iterator(iterator, path)


async def count(connection: Executes, run_id: UUID, iterator: str) -> int:
    """How many items an iterator outside other iterators had."""
    return len(await connection.fetch(_SQL["items"], run_id, [iterator], ROOT))


async def run_output(connection: Executes, plan: Plan, run_id: UUID) -> Any:
    """What a run gave out that has ended without `terminate`.

    It is the output of the only node that ran and that nothing follows, else an object of outputs by node id.

    Raises:
        StepFailedError: ``output_too_large`` if there is more than `MAX_RUN_OUTPUT` to put together.
    """
    given = await _read(connection, plan, run_id, plan.ends, ROOT, MAX_RUN_OUTPUT)
    return given.of_leaves(plan.ends, ROOT)


async def called_version(connection: Executes, run_id: UUID) -> tuple[UUID, int] | None:
    """Workflow and version of a run that a step waits for; None if none waits, or the run is gone."""
    records = await connection.fetch(_SQL["called_version"], run_id)
    return tuple(records[0]) if records else None


async def ended(connection: Executes, run_id: UUID, iterators: Sequence[str], path: str) -> set[tuple[str, str]]:
    """Which iterators at or under a path have ended by `done`, with their own paths; they store no output."""
    if not iterators:
        return set()
    records = await connection.fetch(_SQL["ended"], run_id, iterators, path)
    return {(node_id, item) for node_id, item in records}


class _Given:
    """What nodes gave out, as read at once, and what is made of it."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self.outputs: dict[tuple[str, str], Any] = {}
        self.items: dict[tuple[str, str], list[tuple[int, str | None]]] = {}
        self.ended: set[tuple[str, str]] = set()

    def of_iterator(self, iterator: str, path: str) -> dict[str, Any]:
        """The output of an iterator at a path."""
        results: list[Any] = []
        failed = []
        for place, error in self.items.get((iterator, path), []):
            if error is None:
                results.append(self.of_leaves(self._plan.leaves[iterator], child(path, place)))
            else:
                results.append(None)
                failed.append({"index": place, "error": decode(error)})
        return {"results": results, "count": len(results), "failed": failed}

    def of_leaves(self, leaves: Sequence[str], path: str) -> Any:
        """The output of the only one that ran, else an object by node id."""
        given = {name: self.outputs[name, path] for name in sorted(leaves) if (name, path) in self.outputs}
        given |= {name: self.of_iterator(name, path) for name in leaves if (name, path) in self.ended}
        return next(iter(given.values())) if len(given) == 1 else given


async def _read(  # noqa: PLR0917 — where, what, and how much of it
    connection: Executes,
    plan: Plan,
    run_id: UUID,
    leaves: Sequence[str],
    path: str,
    most: int,
    above: Sequence[str] = (),
) -> _Given:
    """Read what leaves at or under a path gave out, those of the iterators among them included.

    Raises:
        StepFailedError: ``output_too_large`` if that is more than ``most`` bytes.
    """
    plain, nested = _inside(plan, leaves)
    (record,) = await connection.fetch(_SQL["size"], run_id, plain, path)
    if record["bytes"] > most:
        message = f"The results are {record['bytes']:,} bytes of JSON; at most {most:,} are put together."
        raise StepFailedError("output_too_large", message)
    given = _Given(plan)
    for node_id, item, place, error in await connection.fetch(_SQL["items"], run_id, [*above, *nested], path):
        given.items.setdefault((node_id, item), []).append((place, error))
    for node_id, item, output in await connection.fetch(_SQL["leaves"], run_id, plain, path):
        given.outputs[node_id, item] = decode(output)
    given.ended = await ended(connection, run_id, nested, path)
    return given


def _inside(plan: Plan, leaves: Sequence[str]) -> tuple[list[str], list[str]]:
    """Of leaves, and of the leaves of iterators among them: those that store an output, and the iterators."""
    plain: list[str] = []
    nested: list[str] = []
    pending = list(leaves)
    for name in pending:  # grows while it is read
        if plan.nodes[name].mode is Mode.ITERATE:
            nested.append(name)
            pending.extend(plan.leaves[name])
        else:
            plain.append(name)
    return plain, nested
