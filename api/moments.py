"""Times as the contract writes them."""

from datetime import datetime


def stamp(moment: datetime) -> str:
    """ISO 8601 in UTC with six fraction digits: ``2025-10-31T12:00:00.000000Z``.

    Args:
        moment: aware, in UTC.
    """
    return moment.isoformat(timespec="microseconds")[:26] + "Z"


def stamp_or_none(moment: datetime | None) -> str | None:
    """The same, and null for no time."""
    return None if moment is None else stamp(moment)
