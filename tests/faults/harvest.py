"""Reads what a drill left in the database, as records."""

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import asyncpg

from shared.ids import Prefix, encode
from shared.jsontext import decode
from tests.faults.records import Run, Slot, Step
from tests.faults.shapes import Shape

_MARKER: Final = re.compile(r'"marker": ?(\d+)')
_RUNS: Final = """
    SELECT id, workflow_id, status, open_steps, seq, error_message, output, trigger_payload, started_at, completed_at,
           (SELECT count(*) FROM open_steps WHERE run_id = runs.id) AS left_open
    FROM runs ORDER BY id"""
_STEPS: Final = "SELECT * FROM steps WHERE run_id = ANY ($1)"
_SLOTS: Final = """
    SELECT workflow_id, slot, run_id, (SELECT count(*) FROM runs WHERE id = run_id) AS runs FROM schedule_slots"""


async def runs_of(connection: asyncpg.Connection, shapes: Mapping[str, Shape]) -> list[Run]:
    """Every run there is."""
    names = {shape.id: shape.name for shape in shapes.values()}
    return [_run(row, names) for row in await connection.fetch(_RUNS)]


async def steps_of(connection: asyncpg.Connection, runs: Sequence[Run]) -> Mapping[str, list[Step]]:
    """The steps of some runs, by run."""
    from shared.ids import decode as decode_id

    found: dict[str, list[Step]] = defaultdict(list)
    for row in await connection.fetch(_STEPS, [decode_id(Prefix.RUN, run.id) for run in runs]):
        found[encode(Prefix.RUN, row["run_id"])].append(_step(row))
    return found


async def slots_of(connection: asyncpg.Connection, shapes: Mapping[str, Shape]) -> list[Slot]:
    """Every slot of a schedule that was taken."""
    names = {shape.id: shape.name for shape in shapes.values()}
    return [
        Slot(
            names[encode(Prefix.WORKFLOW, row["workflow_id"])],
            row["slot"].timestamp(),
            encode(Prefix.RUN, row["run_id"]),
            row["runs"],
        )
        for row in await connection.fetch(_SLOTS)
    ]


def _run(row: asyncpg.Record, names: Mapping[str, str]) -> Run:
    marker = _MARKER.search(row["trigger_payload"])
    return Run(
        encode(Prefix.RUN, row["id"]),
        names[encode(Prefix.WORKFLOW, row["workflow_id"])],
        int(marker[1]) if marker else None,
        row["status"],
        row["open_steps"],
        row["left_open"],
        row["seq"],
        row["error_message"],
        _json(row["output"]),
        _seconds(row["started_at"]),
        _seconds(row["completed_at"]),
    )


def _step(row: asyncpg.Record) -> Step:
    return Step(
        row["node_id"],
        row["item"],
        row["attempt"],
        row["seq"],
        row["status"],
        row["handle"],
        _json(row["output"]),
        _json(row["error"]),
        row["started_at"].timestamp(),
        row["duration_ms"] / 1000,
    )


def _json(text: str | None) -> Any:
    return None if text is None else decode(text)


def _seconds(moment: datetime | None) -> float | None:
    return None if moment is None else moment.timestamp()
