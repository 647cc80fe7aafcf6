"""What the examples of node types find around them."""

from collections.abc import Iterator

import pytest

from shared.nodes.functions import GROUP
from tests.packages import importable, install

_SOURCE = "def quote_price(customer):\n    return {'customer': customer, 'price': 100}\n"


@pytest.fixture(scope="module", autouse=True)
def operator_package(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A package of the operator, with the function that the example of ``python_function`` calls."""
    entries = {"quote_price": "operator_prices:quote_price"}
    installed = install(tmp_path_factory.mktemp("operator"), "operator_prices", GROUP, entries, _SOURCE)
    with importable(installed, "operator_prices"):
        yield
