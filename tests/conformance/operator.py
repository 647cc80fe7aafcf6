"""A package of the operator, with the function that the example of ``python_function`` calls."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from shared.nodes.functions import GROUP
from tests.packages import importable, install

_SOURCE = "def quote_price(customer):\n    return {'customer': customer, 'price': 100}\n"


@contextmanager
def operator_package(folder: Path) -> Iterator[None]:
    """It is installed below a folder, and can be imported meanwhile."""
    entries = {"quote_price": "operator_prices:quote_price"}
    with importable(install(folder, "operator_prices", GROUP, entries, _SOURCE), "operator_prices"):
        yield
