"""The ``date`` filter: deterministic, in a named time zone."""

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final
from zoneinfo import ZoneInfo

from dateutil import parser  # type: ignore[import-untyped]
from liquid.exceptions import FilterArgumentError

from shared.errors import NotFoundError
from shared.ids import Prefix, decode, milliseconds_of

#: Characters of a date. dateutil reads a megabyte for seconds, and nothing can interrupt it.
_LONGEST: Final = 200


def date(value: Any, form: str, zone: str, *, run: Any) -> str:
    """``{{ trigger.at | date: "%d %b %Y", "Europe/Berlin" }}``.

    Args:
        value: an ISO 8601 text or another that dateutil reads, unix seconds, or ``now``, which is when the run was
            accepted: a step that is run again must write the same. Without an offset it is taken as UTC.
        form: directives of strftime; ``%s`` is unix seconds.
        zone: an IANA name.
        run: the scope's ``run``.

    Raises:
        FilterArgumentError: if the value is no date or the zone is none.
    """
    try:
        moment = _moment(value, run).astimezone(_zone(zone))
        return moment.strftime(form.replace("%s", str(int(moment.timestamp()))))
    except (ValueError, OverflowError, OSError) as error:
        raise FilterArgumentError(f"date: {str(value)[:80]!r} is no date that can be written", token=None) from error


def _moment(value: Any, run: Any) -> datetime:
    if value in ("now", "today"):
        return _accepted(run)
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return datetime.fromtimestamp(value, UTC)
    if not isinstance(value, str):
        raise FilterArgumentError(f"date: takes text or unix seconds, not {type(value).__name__}", token=None)
    if value.isdecimal():
        return datetime.fromtimestamp(int(value), UTC)
    return _read(value, run)


def _read(text: str, run: Any) -> datetime:
    if len(text) > _LONGEST:
        raise ValueError("longer than any date")
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        # What the text leaves out, such as the day of "10:30", is filled from the day of the run.
        moment = parser.parse(text, default=_accepted(run).replace(hour=0, minute=0, second=0, microsecond=0))
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _accepted(run: Any) -> datetime:
    """When the run was accepted: its id carries the time."""
    identifier = run.get("id") if isinstance(run, Mapping) else None
    try:
        return datetime.fromtimestamp(milliseconds_of(decode(Prefix.RUN, str(identifier))) / 1000, UTC)
    except NotFoundError as error:
        raise FilterArgumentError('date: "now" needs the id of a run', token=None) from error


@lru_cache(maxsize=64)
def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (OSError, ValueError) as error:
        raise FilterArgumentError(f"date: {name!r} is no IANA time zone", token=None) from error
