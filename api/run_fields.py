"""What callers send to start a run."""

from typing import Annotated, Any

import msgspec
from msgspec import Meta


class Execution(msgspec.Struct, frozen=True):
    """The body of ``execute``; it may be left out."""

    context: Annotated[dict[str, Any] | None, Meta(description="an object, or null")] = None
