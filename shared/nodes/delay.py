"""``delay``: waits for a duration or until a moment; the wait is a row in Postgres and holds no worker."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, ClassVar, Final, Literal

import msgspec

from shared.errors import StepFailedError
from shared.nodes.base import Kind, Mode, NodeType, Outcome, StepContext, Wait
from shared.nodes.fields import Plain, Text
from shared.templates import is_template

LONGEST: Final = timedelta(days=365)
Unit = Literal["seconds", "second", "minutes", "minute", "hours", "hour", "days", "day"]


class Data(msgspec.Struct, forbid_unknown_fields=True):
    """Configuration: either ``duration`` with its ``unit``, or ``until``.

    Attributes:
        duration: how long, at least 0 and at most 365 days.
        unit: of the duration.
        until: ISO 8601, at most 365 days ahead; without an offset it is UTC; a past moment does not wait.
    """

    duration: Annotated[int, msgspec.Meta(ge=0)] | Annotated[float, msgspec.Meta(ge=0)] | None = None
    unit: Plain[Unit] = "seconds"
    until: Text[str | None] = None


class Delay(NodeType[Data]):
    """Waits, then goes on; output ``{resumed_at}``."""

    component_id = "delay"
    title = "Delay"
    kind = Kind.ACTION
    mode = Mode.WAIT
    data_type = Data
    example: ClassVar[Mapping[str, Any]] = {"duration": 15, "unit": "minutes"}

    def check(self, data: Mapping[str, Any]) -> list[tuple[str, str]]:
        """See `NodeType.check`."""
        duration, until = data.get("duration"), data.get("until")
        if (duration is None) == (until is None):
            return [("duration", 'A delay takes "duration" (with "unit") or "until": exactly one of them.')]
        try:
            if isinstance(duration, (int, float)):
                _span(duration, data.get("unit", "seconds"))
            if until is not None and not is_template(until):
                _moment(until)
        except StepFailedError as error:
            return [("until" if until is not None else "duration", error.message)]
        return []

    def begin(self, data: Data, context: StepContext) -> Wait:
        """Say until when the step waits."""
        if data.until is not None:
            return Wait(_ahead(_moment(data.until), context.now))
        if data.duration is None:
            raise StepFailedError("invalid_data", "data.duration: a delay needs a duration or a moment; it is null.")
        return Wait(context.now + _span(data.duration, data.unit))

    def resume(self, data: Data, context: StepContext) -> Outcome:  # noqa: ARG002 — the wait is over
        """Say when it ended."""
        return Outcome({"resumed_at": context.now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")})


def _span(duration: float, unit: str) -> timedelta:
    try:
        span = timedelta(**{f"{unit.rstrip('s')}s": duration})
    except (OverflowError, ValueError):
        span = timedelta.max
    if span > LONGEST:
        raise StepFailedError("invalid_data", f"A delay lasts at most 365 days, not {duration} {unit}.")
    return span


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError as error:
        message = f'"{text[:60]}" is no moment of ISO 8601 such as 2025-10-31T12:00:00Z.'
        raise StepFailedError("invalid_data", message) from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _ahead(moment: datetime, now: datetime) -> datetime:
    if moment - now > LONGEST:
        raise StepFailedError("invalid_data", f"A delay lasts at most 365 days; {moment.isoformat()} is further ahead.")
    return moment.astimezone(UTC)
