"""The pages about node types, held together with the code and with what their examples do."""

from pathlib import Path

import pytest

from shared.nodes.registry import default_registry
from tests.conformance.pages import pages

_FOLDER = Path(__file__).parents[2] / "docs" / "nodes"


@pytest.fixture(scope="module")
def made() -> dict[str, str]:
    """Every page as the code has it now; each example has run for it."""
    return pages(default_registry())


def test_the_pages_are_what_the_code_says(made: dict[str, str]) -> None:
    """`make docs` would change nothing: fields, handles, settings, and outputs of examples."""
    there = {path.name: path.read_text(encoding="utf-8") for path in _FOLDER.glob("*.md")}
    assert there.keys() == made.keys(), "run `make docs`"
    for name, page in made.items():
        assert there[name] == page, f"{name}: run `make docs`"


def test_every_type_has_its_page_and_every_field_is_told(made: dict[str, str]) -> None:
    """The index links each type; a page names each of its fields."""
    registry = default_registry()
    for component in registry.names():
        assert f"({component}.md)" in made["README.md"]
        page = made[f"{component}.md"]
        fields = registry.schema(component)["properties"]
        assert all(f"| `{name}` |" in page for name, rule in fields.items() if "x-templates" in rule)
