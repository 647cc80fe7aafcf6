"""What Postgres plans and reads: named queries as planned for any parameters, and statements as they were run."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import asyncpg

from shared.queries import load, tables

Plan = dict[str, Any]
_DAY = re.compile(r"_\d{8}$")
_ANY_DAY = re.compile(r"_\d{8}")
#: What reads all of its input before it gives a row, so that a LIMIT above it stops nothing below.
_WHOLE_INPUT = {"Sort", "Hash", "BitmapAnd", "BitmapOr", "Bitmap Heap Scan", "WindowAgg", "ModifyTable"}
#: Statements that have no plan.
_UNPLANNED = re.compile(r"^(DO|EXPLAIN)\b", re.MULTILINE)
_PLAN_OF = """
    CREATE FUNCTION pg_temp.plan_of(query text) RETURNS text LANGUAGE plpgsql AS $$
    DECLARE plan text;
    BEGIN EXECUTE 'EXPLAIN (GENERIC_PLAN, FORMAT JSON) ' || query INTO plan; RETURN plan; END $$
"""
_FIRSTS = """
    SELECT c.relname, pg_get_indexdef(c.oid, 1, true) FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
"""
_TRACE = """
    LOAD 'auto_explain';
    SET auto_explain.log_min_duration = 0; SET auto_explain.log_analyze = on; SET auto_explain.log_buffers = on;
    SET auto_explain.log_timing = off; SET auto_explain.log_nested_statements = on; SET auto_explain.log_format = json;
    SET auto_explain.log_level = notice; SET client_min_messages = notice
"""


class Traced:
    """The plans of what was run while it was traced, those of statements inside functions among them.

    Attributes:
        plans: as they ended; a function's come before that of the statement that called it.
    """

    def __init__(self) -> None:
        self.plans: list[Plan] = []

    def hear(self, _: Any, message: asyncpg.PostgresLogMessage) -> None:
        """Take a message of auto_explain."""
        _, found, text = str(message.message).partition("plan:\n")
        if found:
            self.plans.append(json.loads(text)["Plan"])

    def nodes(self) -> Iterator[Plan]:
        """Every node that was carried out."""
        return (node for plan in self.plans for node in nodes(plan) if node.get("Actual Loops"))

    def scanned(self) -> set[str]:
        """The tables and partitions that were read whole."""
        return {node["Relation Name"] for node in self.nodes() if node["Node Type"] == "Seq Scan"}

    def partitions(self, parent: str) -> set[str]:
        """The partitions of a table that were read or written."""
        names = {node["Relation Name"] for node in self.nodes() if "Relation Name" in node}
        return {name for name in names if _DAY.search(name) and parent_of(name) == parent}

    def pages(self) -> int:
        """How many pages were looked at, one that was looked at twice counted twice."""
        return sum(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"] for plan in self.plans[-1:])

    def rows(self) -> int:
        """How many rows scans of tables and indexes gave, or threw away by their filters."""
        scans = (node for node in self.nodes() if "Relation Name" in node and "Scan" in node["Node Type"])
        given = ("Actual Rows", "Rows Removed by Filter", "Rows Removed by Index Recheck")
        return round(sum(node["Actual Loops"] * sum(node.get(name, 0) for name in given) for node in scans))


class Query(NamedTuple):
    """A named query, such as ``advance.commit``, and what it is planned as for any parameters.

    ``firsts`` has the first column, or expression, of each index.
    """

    name: str
    plan: Plan
    firsts: Mapping[str, str]

    def scanned(self) -> set[str]:
        """The tables that it would read whole; partitions under the name of their table."""
        found = (node["Relation Name"] for node in nodes(self.plan) if node["Node Type"] == "Seq Scan")
        return {parent_of(name) for name in found}

    def walked(self) -> set[str]:
        """The indexes that it would read from end to end, those of partitions under the name of their table's.

        That a condition on other columns than the first leaves out parts of an index does not count: what is left
        depends on how many values the first has.
        """
        scans = _endless(self.plan, limited=False)
        return {_ANY_DAY.sub("", scan["Index Name"]) for scan in scans if not self._begins(scan)}

    def _begins(self, scan: Plan) -> bool:
        """Whether a condition tells a scan where in its index to begin."""
        first = re.escape(self.firsts[scan["Index Name"]])
        return re.search(rf"(?<![\w.]){first}\b", scan.get("Index Cond", "")) is not None


def _endless(plan: Plan, *, limited: bool) -> Iterator[Plan]:
    """Scans of indexes that no LIMIT above them tells where to stop."""
    gathers = plan["Node Type"] in _WHOLE_INPUT or plan.get("Strategy") in {"Plain", "Hashed"}
    limited = plan["Node Type"] == "Limit" or (limited and not gathers)
    if not limited and "Index Name" in plan:
        yield plan
    for part in plan.get("Plans", ()):
        apart = part["Parent Relationship"] in {"InitPlan", "SubPlan"}
        yield from _endless(part, limited=limited and not apart)


def nodes(plan: Plan) -> Iterator[Plan]:
    """A plan's nodes, itself first."""
    yield plan
    for part in plan.get("Plans", ()):
        yield from nodes(part)


def parent_of(relation: str) -> str:
    """A partition's table; any other table itself."""
    return _DAY.sub("", relation)


async def planned(connection: asyncpg.Connection) -> list[Query]:
    """Every named query that has a plan, as planned without regard to parameters."""
    await connection.execute("DROP FUNCTION IF EXISTS pg_temp.plan_of(text)")
    await connection.execute(_PLAN_OF)
    firsts = dict(await connection.fetch(_FIRSTS))
    found = []
    for table in tables():
        for name, text in load(table).items():
            if not _UNPLANNED.search(text):
                plan = await connection.fetchval("SELECT pg_temp.plan_of($1)", text)
                found.append(Query(f"{table}.{name}", json.loads(plan)[0]["Plan"], firsts))
    return found


@asynccontextmanager
async def traced(connection: asyncpg.Connection) -> AsyncIterator[Traced]:
    """Trace the statements of a connection."""
    trace = Traced()
    await connection.execute(_TRACE)
    connection.add_log_listener(trace.hear)
    try:
        yield trace
        await asyncio.sleep(0)  # listeners are called by the loop, after the statement
    finally:
        connection.remove_log_listener(trace.hear)
        await connection.execute("SET auto_explain.log_min_duration = -1")
