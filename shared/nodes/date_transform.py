"""``date_transform``: a date written, moved, compared, or put at the border of a unit; in a time zone."""

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any, ClassVar, Final, Literal, cast

import msgspec

from shared.errors import StepFailedError
from shared.nodes.base import Kind, NodeType, Outcome
from shared.nodes.fields import Plain, Text
from shared.templates import is_template
from shared.templates.dateforms import writer
from shared.templates.moments import MomentError, between, elapsed, end_of, read, shifted, start_of, unit_of, zone

Verb = Literal["format", "add", "subtract", "diff", "start_of", "end_of", "convert"]
#: What each operation needs besides its input.
_NEEDS: Final[Mapping[str, tuple[str, ...]]] = {
    "add": ("amount", "unit"),
    "subtract": ("amount", "unit"),
    "diff": ("to",),
    "start_of": ("unit",),
    "end_of": ("unit",),
    "convert": ("timezone",),
}


class Data(msgspec.Struct, forbid_unknown_fields=True):
    """Configuration.

    Attributes:
        input: ISO 8601 or another text that is a date, unix seconds or milliseconds, ``now``, ``today``, ``tomorrow``,
            ``yesterday``, ``+3 days``, ``2 weeks ago``; at most 200 characters.
        operation: ``format`` writes the date, ``add`` and ``subtract`` move it, ``diff`` counts whole units to ``to``,
            ``start_of`` and ``end_of`` give the borders of a unit, ``convert`` writes it in ``timezone``.
        amount: units to move by; whole for months, quarters and years.
        unit: millisecond, second, minute, hour, day, week (from Monday), month, quarter, year; plurals too.
        to: of ``diff``, the other date.
        timezone: IANA name; the wall clock that days and longer are counted on, and that the result is written in.
        input_timezone: IANA name; where a date without an offset is; ``timezone`` if it is not given, and UTC for
            ``convert``.
        format: of the result: of PHP (``Y-m-d H:i``), moment.js (``YYYY-MM-DD``) or strftime (``%Y-%m-%d``), or
            ``iso``, ``date``, ``time``, ``datetime``, ``rfc2822``, ``unix``, ``unix_ms``.
    """

    input: Any = "now"
    operation: Plain[Verb] = "format"
    amount: int | float | None = None
    unit: Text[str | None] = None
    to: Any = None
    timezone: Text[str | None] = None
    input_timezone: Text[str | None] = None
    format: Text[str] = "iso"


class DateTransform(NodeType[Data]):
    """Changes a date; output ``{result}``: text, or for ``diff`` a number of units, negative if ``to`` is earlier.

    Days and longer are counted on the zone's wall clock, hours and shorter are time that passes. A day that a month has
    not becomes its last one; a wall time that a clock change leaves out is moved behind it.
    """

    component_id = "date_transform"
    title = "Date transform"
    kind = Kind.ACTION
    data_type = Data
    timed = True
    example: ClassVar[Mapping[str, Any]] = {
        "input": "{{ n1.ordered_at }}",
        "operation": "add",
        "amount": 1,
        "unit": "month",
        "timezone": "Europe/Berlin",
        "format": "d.m.Y H:i",
    }
    example_context: ClassVar[Mapping[str, Any]] = {"n1": {"ordered_at": "2025-01-31T09:30:00Z"}}

    def check(self, data: Mapping[str, Any]) -> list[tuple[str, str]]:
        """See `NodeType.check`."""
        name = data.get("operation", "format")
        needs = _NEEDS.get(name, ())
        faults = [
            (field, f'"{field}" is required by the operation "{name}".') for field in needs if data.get(field) is None
        ]
        checks: Mapping[str, Callable[[str], object]] = {
            "unit": unit_of,
            "timezone": zone,
            "input_timezone": zone,
            "format": writer,
        }
        for field, read_it in checks.items():
            value = data.get(field)
            if value is not None and not is_template(value):
                faults += _faults(field, read_it, value)
        return faults

    def run_at(self, data: Data, now: Callable[[], datetime]) -> Outcome:
        """Do the operation."""
        around = _made("timezone", zone, data.timezone or "UTC")
        beside = "UTC" if data.operation == "convert" else data.timezone or "UTC"
        assumed = _made("input_timezone", zone, data.input_timezone or beside)
        moment = _made("input", lambda value: read(value, now, assumed).astimezone(around), data.input)
        unit = None if data.unit is None else _made("unit", unit_of, data.unit)
        if data.operation == "diff":
            other = _made("to", lambda value: read(value, now, assumed), data.to)
            return Outcome({"result": _difference(moment, other, unit)})
        changed = _changed(moment, data, unit)
        return Outcome({"result": _made("format", lambda form: writer(form)(changed), data.format)})


def _changed(moment: datetime, data: Data, unit: str | None) -> datetime:
    needs = _NEEDS.get(data.operation, ())
    if unit is None:
        if "unit" in needs:
            raise StepFailedError("invalid_data", f'data.unit: it is required by the operation "{data.operation}".')
        return moment
    around = moment.tzinfo or zone("UTC")
    if data.operation in ("start_of", "end_of"):
        border = start_of if data.operation == "start_of" else end_of
        return cast(datetime, _made("input", lambda value: border(value, unit, around), moment))
    if data.operation in ("add", "subtract"):
        if data.amount is None:
            raise StepFailedError("invalid_data", f'data.amount: it is required by the operation "{data.operation}".')
        amount = data.amount if data.operation == "add" else -data.amount
        return cast(datetime, _made("amount", lambda value: shifted(moment, value, unit, around), amount))
    return moment


def _difference(moment: datetime, other: datetime, unit: str | None) -> int | float:
    """Whole units, or without a unit seconds with their fraction."""
    if unit is None:
        return elapsed(moment, other) / timedelta(seconds=1)
    return between(moment, other, unit, moment.tzinfo or zone("UTC"))


def _made(field: str, make: Callable[[Any], Any], value: Any) -> Any:
    try:
        return make(value)
    except (MomentError, OverflowError) as error:
        raise StepFailedError("invalid_date", f"data.{field}: {error}.") from error


def _faults(field: str, make: Callable[[Any], Any], value: Any) -> list[tuple[str, str]]:
    try:
        make(value)
    except MomentError as error:
        return [(field, f"{str(error)[:1].upper()}{str(error)[1:]}.")]
    return []
