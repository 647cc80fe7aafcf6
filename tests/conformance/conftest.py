"""What the examples of node types find around them."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conformance.operator import installed, operator_package


@pytest.fixture(scope="session")
def _installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the package of the operator is."""
    return installed(tmp_path_factory.mktemp("operator"))


@pytest.fixture(scope="module", autouse=True)
def _operator(_installed: Path) -> Iterator[None]:
    """The function that the example of ``python_function`` calls; other tests have others of its name."""
    with operator_package(_installed):
        yield
