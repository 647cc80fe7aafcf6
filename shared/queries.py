"""Loads the named queries of ``shared/sql``.

A file holds the queries of one table. Each starts with ``-- name: <name>`` and at least one line of comment that says
what it is for; the text up to the next name is the query.
"""

import re
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Any, TypeAlias

#: One array parameter of a statement; None stands for one that says nothing.
Column: TypeAlias = list[Any] | None

_NAME = re.compile(r"^-- name: (?P<name>[a-z][a-z0-9_]*)\s*$", re.MULTILINE)


@cache
def load(table: str) -> dict[str, str]:
    """The queries of ``shared/sql/<table>.sql`` by name.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if a name stands there twice.
    """
    return parse((files("shared") / "sql" / f"{table}.sql").read_text(encoding="utf-8"))


def parse(text: str) -> dict[str, str]:
    """Split the text of one file into its queries."""
    parts = _NAME.split(text)[1:]
    queries = dict(zip(parts[::2], (part.strip().rstrip(";") for part in parts[1::2]), strict=True))
    if len(queries) * 2 != len(parts):
        names = parts[::2]
        raise ValueError(f"query names stand twice: {sorted({name for name in names if names.count(name) > 1})}")
    return queries


def tables() -> list[str]:
    """The names of all files of queries."""
    return sorted(entry.name[:-4] for entry in (files("shared") / "sql").iterdir() if entry.name.endswith(".sql"))


def columns(rows: Sequence[Sequence[Any]], width: int) -> list[list[Any]]:
    """Rows as the arrays of their columns, which is how a statement takes many of them (`unnest`)."""
    return [[row[column] for row in rows] for column in range(width)]


def sparse(values: list[Any], usual: object = None) -> Column:
    """A column, or None if it says only what is usual, which the statement knows.

    Each value takes asyncpg 0.3 to 0.8 microseconds to encode, even NULL, and most of a commit's columns say nothing.
    """
    return None if values.count(usual) == len(values) else values
