"""docs/templates.md says of the filters what they do, and of the limits what they are."""

import json
import re
from pathlib import Path
from typing import Any, Final

import pytest

from shared.ids import Prefix, encode, uuid7
from shared.templates import limits, parse
from shared.templates.arguments import Taken, taken_by
from shared.templates.environment import ENVIRONMENT
from shared.templates.filters import FILTERS

PAGE: Final = Path("docs/templates.md").read_text()
#: A filter: its name, what it takes, an example and what that gives.
SECTIONS: Final = re.findall(r"^### `(\w+)(?:: (.*))?`\n\n(?:.+\n)+\n```\n(.+)\n(.+)\n```$", PAGE, re.MULTILINE)
OUTPUTS: Final = json.loads(PAGE.partition("```json\n")[2].partition("```")[0])


def written(arguments: str) -> Taken:
    """What a heading says that a filter takes: ``key, [encoding], [timezone:]``, and ``...`` for any number more."""
    parts = arguments.split(", ") if arguments else []
    keywords = tuple(part.strip("[]:") for part in parts if part.endswith(":]"))
    placed = [part for part in parts if not part.endswith(":]") and part != "..."]
    least = sum(not part.startswith("[") for part in placed)
    return Taken(least, None if "..." in parts else len(placed), keywords)


def test_every_filter_has_its_section() -> None:
    """In the page are the filters that there are beyond Liquid's own, and no others."""
    assert sorted(name for name, *_ in SECTIONS) == sorted(FILTERS)
    assert len(re.findall("^### ", PAGE, re.MULTILINE)) == len(SECTIONS)


@pytest.mark.parametrize(("name", "arguments", "example", "gives"), SECTIONS)
def test_sections_are_true(name: str, arguments: str, example: str, gives: str) -> None:
    """The arguments in a heading are those of the filter, and its example gives what stands below it."""
    assert written(arguments) == taken_by(ENVIRONMENT.filters[name])
    assert f"| {name}" in example
    scope: dict[str, Any] = {**OUTPUTS, "run": {"id": encode(Prefix.RUN, uuid7(1_761_912_000_000))}}
    assert parse(example).value(scope) == json.loads(gives)


def test_limits_are_true() -> None:
    """The table of limits has the figures of the code."""
    table = PAGE.partition("## Limits")[2].partition("## ")[0]
    mebibyte = 1024 * 1024
    for figure in (
        f"{limits.SOURCE:,} characters",
        f"{limits.OUTPUT // mebibyte} MiB",
        f"{limits.ITERATIONS:,}",
        f"{limits.NESTING}",
        f"{limits.LOCALS // mebibyte} MiB",
        f"{limits.INTEGER_BITS:,} bits",
        f"{limits.UNIQUE_ITEMS:,}",
        f"{limits.DEPTH}",
        f"{limits.SECONDS:g} s",
    ):
        assert f"| {figure} |" in table
