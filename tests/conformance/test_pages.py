"""The pages about node types, held together with the code and with what their examples do."""

import re
from pathlib import Path

import pytest

from shared.nodes.base import NodeType
from shared.nodes.registry import default_registry
from shared.nodes.schema import fields_of
from tests.conformance.pages import pages

_FOLDER = Path(__file__).parents[2] / "docs" / "nodes"
_VAULT = _FOLDER.parent / "vault.md"


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
        own = [name for name, rule in fields.items() if "x-templates" in rule]
        assert [name for name in own if f"| `{name}` |" not in page] == []
        assert len(own) == len(fields_of(registry.type_of(component).data_type)), component


def test_the_page_of_the_vault_has_every_field_that_may_read_it() -> None:
    """Of each type those whose templates may, and no others; a type that names items otherwise has its row, too."""
    section = _VAULT.read_text(encoding="utf-8").partition("## In workflows")[2]
    told: dict[str, set[str]] = {}
    for names, fields in re.findall(r"^\| (`[a-z_`, ]+`) \| (.+) \|$", section, re.MULTILINE):
        told |= {name: {*re.findall(r"`([a-z_.]+)`", fields)} for name in re.findall("[a-z_]+", names)}
    registry = default_registry()
    types = [registry.type_of(name) for name in registry.names()]
    (names_otherwise,) = (each for each in types if type(each).vault_names is not NodeType.vault_names)
    assert told.pop(names_otherwise.component_id) == {"signature.secret", "secret"}
    secret = {each.component_id: {f.name for f in fields_of(each.data_type).values() if f.secret} for each in types}
    assert told == {component: fields for component, fields in secret.items() if fields}
