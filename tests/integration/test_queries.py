"""The named queries against the migrated schema, and where SQL may stand."""

import ast
import gc
import re
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from shared.queries import load, tables

ROOT = Path(__file__).parents[2]
PACKAGES = ("api", "scheduler", "worker", "shared")
#: SQL outside of shared/sql, each with the reason.
INLINE = {
    ("shared/db.py", "SELECT clock_timestamp()"): "the clock has no table",
    ("scheduler/main.py", "SELECT 1"): "a probe has no table",
    ("worker/main.py", "SELECT 1"): "a probe has no table",
    (
        "shared/nodes/postgres_query.py",
        "SELECT number, total FROM orders WHERE customer = $1 AND placed_at > $2",
    ): "an example of what an author writes",
}
_SQL = re.compile(
    r"\b(SELECT\s+\S|INSERT INTO\s|UPDATE\s+\w+\s+SET\b|DELETE FROM\s"
    r"|(CREATE|ALTER|DROP|TRUNCATE) (TABLE|INDEX|DATABASE)\b)"
)


def _parsed(text: str) -> ast.Module:
    """The module, parsed while no garbage is collected.

    Python before 3.11.8 counts the depth of trees in one place for all threads (gh-106905). What a collection in the
    middle of one ends, or another thread that it lets in, may parse too, and the first then says "AST constructor
    recursion depth mismatch".
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        return ast.parse(text)
    finally:
        if enabled:
            gc.enable()


def modules() -> Iterator[tuple[str, ast.Module]]:
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            yield str(path.relative_to(ROOT)), _parsed(path.read_text(encoding="utf-8"))


def _loaded(node: ast.AST) -> str | None:
    """The table of a call ``load("table")``."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "load" and node.args:
        argument = node.args[0]
        return argument.value if isinstance(argument, ast.Constant) else None
    return None


def used() -> set[tuple[str, str]]:
    """Every query that some module takes by its name, as (table, name)."""
    found = set()
    for _, module in modules():
        names = {
            target.id: table
            for node in ast.walk(module)
            if isinstance(node, ast.Assign) and (table := _loaded(node.value))
            for target in node.targets
            if isinstance(target, ast.Name)
        }
        for node in ast.walk(module):
            if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant):
                table = _loaded(node.value) or (names.get(node.value.id) if isinstance(node.value, ast.Name) else None)
                if table:
                    found.add((table, str(node.slice.value)))
    return found


QUERIES = [(table, name) for table in tables() for name in load(table)]


async def test_every_query_prepares(database_url):
    """Each named query parses, and every table, column, function and type in it exists."""
    connection = await asyncpg.connect(database_url)
    broken = {}
    try:
        for table, name in QUERIES:
            try:
                await connection.prepare(load(table)[name])
            except asyncpg.PostgresError as error:
                broken[table, name] = str(error)
    finally:
        await connection.close()
    assert broken == {}


def test_every_query_is_used_and_there():
    """No module asks for a query that does not exist, and none lies about unused."""
    assert sorted(used() - set(QUERIES)) == []
    assert sorted(set(QUERIES) - used()) == []


@pytest.mark.parametrize("table", tables())
def test_every_query_says_what_it_is_for(table):
    """A line of comment stands between its name and its first word."""
    assert [name for name, text in load(table).items() if not text.startswith("-- ")] == []


def _prose(module: ast.Module) -> set[int]:
    """The docstrings, by identity."""
    found = set()
    for node in ast.walk(module):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            found.add(id(node.value))
    return found


def test_no_sql_stands_in_python():
    """Strings that look like SQL stand in no module of the services, but where there is a reason, which still holds."""
    found = set()
    for path, module in modules():
        prose = _prose(module)
        for node in ast.walk(module):
            text = node.value if isinstance(node, ast.Constant) and id(node) not in prose else None
            if isinstance(text, str) and _SQL.search(text):
                found.add((path, text))
    assert found == set(INLINE)
