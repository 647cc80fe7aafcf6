"""What the examples of node types find around them."""

from collections.abc import Iterator

import pytest

from tests.conformance.operator import operator_package


@pytest.fixture(scope="session", autouse=True)
def _operator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The function that the example of ``python_function`` calls."""
    with operator_package(tmp_path_factory.mktemp("operator")):
        yield
