"""Writes the page of the documentation that is made from the configuration."""

import sys
from pathlib import Path

from shared.config import table

_HEAD = """\
# Configuration

Every process reads its configuration from environment variables, once, at start, and refuses to start if any of them
is missing, unknown or illegal; it names every fault at once. `edgewise check-config` does nothing else. A variable
marked `_FILE` may be given as the path of a file that holds the value. Durations are in seconds, sizes in bytes.

This page is made from the code by `make docs`.

"""


def page() -> str:
    """The whole page."""
    return _HEAD + table()


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(page(), encoding="utf-8")
