"""Extras: named when a graph is saved, and again if one is gone when a step runs."""

import sys

import pytest

from shared.errors import StepFailedError
from shared.nodes.extras import Extra


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
