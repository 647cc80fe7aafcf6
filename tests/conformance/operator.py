"""A package of the operator, with the function that the example of ``python_function`` calls."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from shared.nodes.functions import GROUP
from tests.packages import importable, install

_SOURCE = "def quote_price(customer):\n    return {'customer': customer, 'price': 100}\n"


def installed(folder: Path) -> Path:
    """Install it below a folder; gives where it can be imported from."""
    return install(folder, "operator_prices", GROUP, {"quote_price": "operator_prices:quote_price"}, _SOURCE)


@contextmanager
def operator_package(place: Path) -> Iterator[None]:
    """It can be imported from where it is `installed`, and so is registered."""
    with importable(place, "operator_prices"):
        yield
