"""Installations for the tests of whole processes."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.running import Starter, Up, until


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Starter]:
    """Starts `edgewise up`, by default in a folder whose name has spaces; ends it with the test."""
    started: list[Up] = []

    def run(*options: str, folder: str = "a data dir", **more: Any) -> Up:
        started.append(Up(tmp_path / folder, *options, **more))
        return started[-1]

    yield run
    for one in started:
        one.kill()
    until(lambda: not any(one.members() for one in started))


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """One `edgewise up` for all tests of a module."""
    one = Up(tmp_path_factory.mktemp("up") / "a data dir")
    try:
        yield one.ready()
    finally:
        one.kill()
        until(lambda: not one.members())
