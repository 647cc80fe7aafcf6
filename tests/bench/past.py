"""A past for a database: millions of finished runs, loaded through COPY while nothing but Postgres is running.

Each is a copy of a run that the system has finished itself, with its steps: another id, another time, and mostly
another workflow. They are spread evenly over days up to now and over workflows, and lie in the partitions that their
ids belong to. What is loaded is frozen, vacuumed and analysed partition by partition, as autovacuum leaves it.
"""

import asyncio
import os
import random
import struct
import time
from collections.abc import AsyncIterator, Awaitable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path
from typing import NamedTuple
from uuid import UUID

import asyncpg

from shared.ids import uuid7
from tests.bench.blocks import HEADER, TRAILER, Template
from tests.bench.offline import offline

#: Runs in a block, which is some megabytes.
_BLOCK = 20_000
_AHEAD_DAYS = 14
_DAY = timedelta(days=1)
#: Where Postgres's time begins, in milliseconds of unix time.
_EPOCH = 946_684_800_000
#: Milliseconds from a run's creation to its start and to its end.
_STARTED, _COMPLETED = 3, 8
#: What the random bytes that carry the version and the variant of a UUIDv7 become.
_VERSION = bytes(0x70 | value & 0x0F for value in range(256))
_VARIANT = bytes(0x80 | value & 0x3F for value in range(256))
_VARYING = ("id", "run_id", "workflow_id", "created_at", "started_at", "completed_at")


class Past(NamedTuple):
    """What is wanted.

    Attributes:
        runs: in all.
        days: that they are spread over; the last is today and ends now.
        workflows: that they are spread over, the one they are copied from among them.
    """

    runs: int
    days: int = 10
    workflows: int = 100


class Made(NamedTuple):
    """What was loaded: runs, their steps, the seconds that copying and vacuuming took, the bytes of the database."""

    runs: int
    steps: int
    copying: float
    vacuuming: float
    size: int


class _Part(NamedTuple):
    """What goes into the partitions of a day: runs between two moments, at even distances."""

    begin: datetime
    end: datetime
    runs: int


class _Model(NamedTuple):
    """The rows of a finished run: those of a table, and the names of its columns."""

    table: str
    columns: list[str]
    rows: Template


async def load(folder: Path, wanted: Past, workflow_id: UUID) -> Made:
    """Give the stopped installation of a folder a past; see `fill`."""
    async with offline(folder) as url, asyncpg.create_pool(url, min_size=1, max_size=os.cpu_count() or 1) as pool:
        return await fill(pool, wanted, workflow_id)


async def fill(pool: asyncpg.Pool, wanted: Past, workflow_id: UUID) -> Made:
    """Give a database a past, in place of the runs it has in these days.

    Args:
        pool: its connections load at the same time.
        wanted: how much.
        workflow_id: whose newest finished run is copied.
    """
    run_id = await pool.fetchval(
        "SELECT id FROM runs WHERE workflow_id = $1 AND completed_at IS NOT NULL ORDER BY id DESC LIMIT 1", workflow_id
    )
    steps = await pool.fetchval("SELECT count(*) FROM steps WHERE run_id = $1", run_id)
    tables = await pool.fetchval("SELECT partitioned_tables()")
    models = [model for table in tables if (model := await _model(pool, table, run_id)) is not None]
    await pool.fetchval("SELECT make_partitions($1, $2)", wanted.days - 1, _AHEAD_DAYS)
    parts, flows = _parts(wanted), _workflows(wanted.workflows, workflow_id)
    copying = await _timed(_copy(pool, model, part, flows) for part in parts for model in models)
    vacuuming = await _timed(_vacuum(pool, _partition(model, part)) for part in parts for model in models)
    size = await pool.fetchval("SELECT pg_database_size(current_database())")
    return Made(wanted.runs, wanted.runs * steps, copying, vacuuming, size)


async def _model(pool: asyncpg.Pool, table: str, run_id: UUID) -> _Model | None:
    """The rows of a run in one table; None if it has none there."""
    columns = await pool.fetch(
        "SELECT attname FROM pg_attribute WHERE attrelid = $1::regclass AND attnum > 0 AND NOT attisdropped"
        " ORDER BY attnum",
        table,
    )
    names = [column["attname"] for column in columns]
    copied = BytesIO()
    query = f"SELECT {', '.join(names)} FROM {table} WHERE {'id' if table == 'runs' else 'run_id'} = $1"
    status = await pool.copy_from_query(query, run_id, output=copied, format="binary")
    return None if status == "COPY 0" else _Model(table, names, Template(copied.getvalue(), names, _VARYING))


def _parts(wanted: Past) -> list[_Part]:
    now = datetime.now(UTC)
    today = now.replace(hour=0, minute=0, second=0, microsecond=0)
    begins = [today - back * _DAY for back in range(wanted.days)]
    share, rest = divmod(wanted.runs, wanted.days)
    runs = [share + (number < rest) for number in range(wanted.days)]
    return [_Part(begin, min(now, begin + _DAY), count) for begin, count in zip(begins, runs, strict=True)]


def _workflows(count: int, own: UUID) -> list[bytes]:
    """Ids on both sides of one that is among them."""
    chosen = random.Random(count)
    milliseconds = own.int >> 80
    others = [uuid7(milliseconds + chosen.randrange(-(10**9), 10**9), chosen.getrandbits(74)) for _ in range(count - 1)]
    return [one.bytes for one in (own, *others)]


def _partition(model: _Model, part: _Part) -> str:
    return f"{model.table}_{part.begin:%Y%m%d}"


async def _copy(pool: asyncpg.Pool, model: _Model, part: _Part, flows: Sequence[bytes]) -> None:
    """Fill a partition; in the transaction that truncates it, rows are frozen and no WAL is written."""
    partition = _partition(model, part)
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute(f"TRUNCATE {partition}")
        await connection.copy_to_table(
            partition, source=_blocks(model, part, flows), columns=model.columns, format="binary", freeze=True
        )


async def _blocks(model: _Model, part: _Part, flows: Sequence[bytes]) -> AsyncIterator[bytes]:
    """The binary form of a partition; the same ids for runs and for steps."""
    yield HEADER
    for first in range(0, part.runs, _BLOCK):
        count = min(_BLOCK, part.runs - first)
        yield model.rows.block(count, _values(part, first, count, flows))
    yield TRAILER


def _values(part: _Part, first: int, count: int, flows: Sequence[bytes]) -> dict[str, bytes]:
    """What varies in consecutive runs of a part, column by column."""
    chosen = random.Random(f"{part.begin} {first}")
    begin = round(part.begin.timestamp() * 1000)
    span = round((part.end - part.begin).total_seconds() * 1000)
    created = [begin + span * number // part.runs for number in range(first, first + count)]
    ids = _ids(created, chosen)
    return {
        "id": ids,
        "run_id": ids,
        "workflow_id": b"".join(chosen.choices(flows, k=count)),
        "created_at": _moments(created),
        "started_at": _moments([moment + _STARTED for moment in created]),
        "completed_at": _moments([moment + _COMPLETED for moment in created]),
    }


def _ids(created: Sequence[int], chosen: random.Random) -> bytes:
    """A UUIDv7 for each unix time in milliseconds."""
    count = len(created)
    times, noise = struct.pack(f">{count}q", *created), chosen.randbytes(10 * count)
    ids = bytearray(16 * count)
    for place in range(6):
        ids[place::16] = times[place + 2 :: 8]
    for place in range(10):
        ids[place + 6 :: 16] = noise[place::10]
    ids[6::16] = ids[6::16].translate(_VERSION)
    ids[8::16] = ids[8::16].translate(_VARIANT)
    return bytes(ids)


def _moments(milliseconds: Sequence[int]) -> bytes:
    """Postgres's form of unix times in milliseconds."""
    return struct.pack(f">{len(milliseconds)}q", *((moment - _EPOCH) * 1000 for moment in milliseconds))


async def _vacuum(pool: asyncpg.Pool, partition: str) -> None:
    await pool.execute(f"VACUUM (ANALYZE) {partition}")


async def _timed(tasks: Iterable[Awaitable[None]]) -> float:
    """Seconds until all of them are done; the pool bounds how many run at once."""
    began = time.monotonic()
    await asyncio.gather(*tasks)
    return time.monotonic() - began
