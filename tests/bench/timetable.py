"""A timetable: workflows by the hundred thousand with schedules such as people make them, loaded through COPY."""

import random
from collections.abc import Iterator
from datetime import datetime, timedelta
from functools import cache
from typing import NamedTuple
from uuid import UUID

import asyncpg

from shared.ids import Mint
from shared.schedule import Schedule, first_slot
from tests.bench.system import System, Workflow

_PER_WORKSPACE = 100
#: Until then nothing is due but what is asked for.
_QUIET = timedelta(minutes=30)
_ZONES = ("UTC", "Europe/Berlin", "America/New_York", "America/Los_Angeles", "Asia/Tokyo", "Asia/Kolkata")
#: Of a hundred schedules, how many are of each type.
_SHARES = {"interval": 30, "cron": 30, "daily": 25, "weekly": 10, "monthly": 5}
_INTERVALS = ("1 minute", "5 minutes", "15 minutes", "30 minutes", "1 hour", "6 hours", "1 day")
_DAYS = ("mon", "tue", "wed", "thu", "fri")
_WORKFLOW = (
    "id", "workspace_id", "name", "is_active", "schedule_type", "schedule_value", "timezone", "version", "trigger_node",
    "trigger_component", "next_run_at",
)  # fmt: skip
_VERSION = (
    "workspace_id", "workflow_id", "version", "nodes", "edges", "settings", "plan", "plan_format", "created_by",
)  # fmt: skip
#: The name of the workflows that `arm` makes due.
_DUE = "due"


class _Entry(NamedTuple):
    """A workflow to be, by its workspace and its schedule."""

    id: UUID
    workspace_id: UUID
    schedule: Schedule


async def load(system: System, model: Workflow, count: int, due: int) -> None:
    """So many active schedules, over a workspace for every hundred; ``due`` of them, here and there, can be armed.

    Args:
        system: where.
        model: its graph is theirs.
        count: of schedules.
        due: how many of them `arm` makes due.
    """
    database = system.database
    now = await database.fetchval("SELECT /* bench */ now()")
    entries = list(_entries(count))
    workspaces = dict.fromkeys(entry.workspace_id for entry in entries)
    armed = set(random.Random(due).sample(range(count), due))
    names = [_DUE if number in armed else "later" for number in range(count)]
    version = await database.fetchrow("SELECT /* bench */ * FROM workflow_versions WHERE workflow_id = $1", model.id)
    trigger = await database.fetchrow(
        "SELECT /* bench */ trigger_node, trigger_component FROM workflows WHERE id = $1", model.id
    )
    assert version is not None
    assert trigger is not None
    same = tuple(version[name] for name in _VERSION[2:])
    rows = (
        (*entry[:2], name, True, *_told(entry.schedule), 1, *trigger, _next(entry, now))
        for entry, name in zip(entries, names, strict=True)
    )
    await _copy(database, "workspaces", ("id", "claim"), ((one, str(one)) for one in workspaces))
    await _copy(database, "workflows", _WORKFLOW, rows)
    await _copy(database, "workflow_versions", _VERSION, ((entry.workspace_id, entry.id, *same) for entry in entries))
    await database.execute("VACUUM (ANALYZE) workspaces, workflows, workflow_versions")


async def arm(system: System, moment: datetime, count: int) -> None:
    """Make so many of those that can be armed due at this moment."""
    await system.database.execute(
        "UPDATE /* bench */ workflows SET next_run_at = $1"
        " WHERE id IN (SELECT id FROM workflows WHERE name = $2 LIMIT $3)",
        moment,
        _DUE,
        count,
    )


def _entries(count: int) -> Iterator[_Entry]:
    mint, chosen = Mint(), random.Random(count)
    for number in range(count):
        if number % _PER_WORKSPACE == 0:
            workspace = mint.uuid()
        yield _Entry(mint.uuid(), workspace, _schedule(chosen))


def _schedule(chosen: random.Random) -> Schedule:
    (kind,) = chosen.choices(list(_SHARES), list(_SHARES.values()))
    hour, minute = chosen.randrange(24), chosen.choice((0, 0, 0, 15, 30, 45, chosen.randrange(60)))
    values = {
        "interval": chosen.choice(_INTERVALS),
        "cron": chosen.choice((f"{minute} * * * *", f"{minute} {hour} * * *", f"{minute} {hour} * * 1-5")),
        "daily": f"{hour:02}:{minute:02}",
        "weekly": f"{chosen.choice(_DAYS)} {hour:02}:{minute:02}",
        "monthly": f"{chosen.randrange(1, 29)} {hour:02}:{minute:02}",
    }
    return Schedule(kind, values[kind], chosen.choice(_ZONES))


def _told(schedule: Schedule) -> tuple[str, str | None, str]:
    return schedule.type, schedule.value, schedule.timezone


def _next(entry: _Entry, now: datetime) -> datetime:
    """The next slot once it is quiet no longer; an interval's is anywhere within the interval."""
    slot = _first(entry.schedule, now + _QUIET)
    return slot + timedelta(seconds=entry.id.int % 3600) if entry.schedule.type == "interval" else slot


@cache
def _first(schedule: Schedule, after: datetime) -> datetime:
    slot = first_slot(schedule, after)
    assert slot is not None
    return slot


async def _copy(
    database: asyncpg.Connection, table: str, columns: tuple[str, ...], rows: Iterator[tuple[object, ...]]
) -> None:
    await database.copy_records_to_table(table, records=rows, columns=columns)
