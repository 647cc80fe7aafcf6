"""Extras: named when a graph is saved, and again if one is gone when a step runs."""

import sys

import pytest

from shared.errors import StepFailedError
from shared.nodes.extras import Extra
from shared.nodes.registry import default_registry

REGISTRY = default_registry()


def test_an_installed_extra_has_no_fault() -> None:
    """Its module is given when asked for, and a module below it too."""
    extra = Extra("mail", "json")
    assert extra.faults() == []
    assert extra.load().__name__ == "json"
    assert extra.load("decoder").__name__ == "json.decoder"


def test_looking_does_not_import() -> None:
    """A check when saving costs no import: that comes with the first step."""
    Extra("games", "this").faults()
    assert "this" not in sys.modules


@pytest.mark.parametrize("blocked", [True, False])
def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch, blocked: bool) -> None:
    """The fault says what to install, in the check and in the step's failure."""
    if blocked:
        monkeypatch.setitem(sys.modules, "no_such_module", None)
    extra = Extra("soap", "no_such_module")
    ((path, message),) = extra.faults()
    assert path == "componentId"
    assert 'pip install "edgewise[soap]"' in message
    with pytest.raises(StepFailedError) as caught:
        extra.load()
    assert (caught.value.code, caught.value.message) == ("extra_missing", message)


NEEDING = [(name, extra.name, extra.module) for name in REGISTRY.names() for extra in REGISTRY.type_of(name).extras]


@pytest.mark.parametrize(("component", "name", "module"), NEEDING)
def test_types_without_their_extra(monkeypatch: pytest.MonkeyPatch, component: str, name: str, module: str) -> None:
    """A node whose library is blocked is refused when saved, and told what to install."""
    node_type = REGISTRY.type_of(component)
    for known in [each for each in sys.modules if each == module or each.startswith(f"{module}.")]:
        monkeypatch.setitem(sys.modules, known, None)
    monkeypatch.setitem(sys.modules, module, None)
    told = [(fault.path, fault.message) for fault in REGISTRY.check(component, dict(node_type.example), "data")[0]]
    assert [path for path, _ in told] == ["data.componentId"]
    assert f'pip install "edgewise[{name}]"' in told[0][1]


def test_every_extra_is_used() -> None:
    """Each of the distribution's extras for nodes has a type that asks for it."""
    assert {name for _, name, _ in NEEDING} == {"mail", "ssh", "soap", "notify", "pdf"}
