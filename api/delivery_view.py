"""Webhook deliveries, and replays of many of them, as callers send and see them."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final
from uuid import UUID

import msgspec
from msgspec import Meta

from api.call import Call
from api.fields import read_fields
from api.moments import stamp, stamp_or_none
from api.queries import TIME_RULE, least_id
from shared.errors import Fault, InvalidError
from shared.graph.suggest import shown
from shared.ids import Prefix, encode, milliseconds_of, uuid7
from shared.jsontext import to_bytes
from shared.store.deliveries import MISSED, OUTCOMES, Delivery, Filter, Outcome, Replay
from shared.store.runs_read import FIRST_ID, LAST_ID

_OUTCOME_RULE: Final = f"one of {', '.join(OUTCOMES)}"
_MOST_A_SECOND: Final = 100
_USUAL: Final = 10
_LIMIT: Final = 50


class DeliveriesQuery(msgspec.Struct, frozen=True):
    """Which deliveries, and how many of them.

    Attributes:
        from_, to: that came at or after, and before.
    """

    outcome: Annotated[Outcome | None, Meta(description=_OUTCOME_RULE)] = None
    from_: Annotated[str | None, Meta(description="a time in ISO 8601; deliveries from then on")] = msgspec.field(
        default=None, name="from"
    )
    to: Annotated[str | None, Meta(description="a time in ISO 8601; deliveries before")] = None
    limit: Annotated[Annotated[int, Meta(ge=1, le=200)], Meta(description="a whole number from 1 to 200")] = _LIMIT
    cursor: Annotated[str | None, Meta(description="the cursor of a Link header")] = None


class DeliveryRead(msgspec.Struct, frozen=True, kw_only=True):
    """A request to a webhook.

    Attributes:
        run_id: of the run it started; of a repeat, of the first one's.
        status, code: what it was answered with, and the error's code if it was one.
        request: ``{webhook_payload, headers, query, method, received_at}``; null if it was not kept, or is too large
            for a list.
        replayable: whether all of it was kept.
    """

    id: str
    outcome: str
    status: int
    code: str | None
    run_id: str | None
    received_at: str
    replayable: bool
    request: msgspec.Raw


class ReplayFilter(msgspec.Struct, frozen=True, omit_defaults=True):
    """Which deliveries; at least one of these fields."""

    outcome: Annotated[Outcome | list[Outcome], Meta(description=f"{_OUTCOME_RULE}, or a list of them")] = ()  # type: ignore[assignment] # nothing given
    from_: Annotated[str, Meta(description=TIME_RULE)] = msgspec.field(default="", name="from")
    to: Annotated[str, Meta(description=TIME_RULE)] = ""


class NewReplay(msgspec.Struct, frozen=True):
    """Deliveries to be replayed, the oldest first."""

    filter: Annotated[ReplayFilter, Meta(description="an object with outcome, from or to")]
    per_second: Annotated[
        Annotated[int, Meta(ge=1, le=_MOST_A_SECOND)], Meta(description=f"a whole number from 1 to {_MOST_A_SECOND}")
    ] = _USUAL


class ReplayProgress(msgspec.Struct, frozen=True, kw_only=True):
    """A replay of many deliveries and how far it is.

    Attributes:
        status: ``running``, or ``completed`` when every delivery was looked at.
        matched: deliveries it was for, as far as it got; ``done`` of them are new runs, ``failed`` were not kept whole
            or came when the workflow was inactive.
    """

    id: str
    workflow_id: str
    filter: dict[str, Any]
    per_second: int
    status: Annotated[str, Meta(description="running, or completed when every delivery was looked at")]
    matched: int
    done: int
    failed: int
    created_at: str
    completed_at: str | None


class Asked(msgspec.Struct, frozen=True):
    """A replay that was asked for without faults; ``bounds``: ids between which its deliveries lie."""

    wanted: Filter
    bounds: tuple[UUID, UUID]
    per_second: int


def present_delivery(row: Delivery) -> DeliveryRead:
    """A delivery as callers see it."""
    came = datetime.fromtimestamp(milliseconds_of(row.id) / 1000, UTC)
    return DeliveryRead(
        id=encode(Prefix.DELIVERY, row.id),
        outcome=row.outcome,
        status=row.status,
        code=row.code,
        run_id=None if row.run_id is None else encode(Prefix.RUN, row.run_id),
        received_at=stamp(came),
        replayable=row.whole,
        request=msgspec.Raw(b"null" if row.request is None else to_bytes(row.request)),
    )


def present_replay(row: Replay) -> ReplayProgress:
    """A replay as callers see it."""
    return ReplayProgress(
        id=encode(Prefix.REPLAY, row.id),
        workflow_id=encode(Prefix.WORKFLOW, row.workflow_id),
        filter=row.wanted.given,
        per_second=row.per_second,
        status="running" if row.completed_at is None else "completed",
        matched=row.matched,
        done=row.done,
        failed=row.failed,
        created_at=stamp(row.created_at),
        completed_at=stamp_or_none(row.completed_at),
    )


def oldest_kept(call: Call) -> UUID:
    """The least id of the deliveries that are still shown."""
    oldest = call.services.clock.now() - timedelta(days=call.services.config.keep_deliveries_days)
    return uuid7(max(0, int(oldest.timestamp() * 1000)))


def read_replay(call: Call, raw: Mapping[str, Any]) -> Asked:
    """What a request for a replay asks.

    Raises:
        InvalidError: with every fault.
    """
    values, faults = read_fields(NewReplay, {name: value for name, value in raw.items() if name != "filter"})
    given = raw.get("filter")
    if isinstance(given, dict):
        _, wrong = read_fields(ReplayFilter, given, prefix="filter.")
        faults += wrong or _filter_faults(given)
    else:
        faults.append(Fault("filter", "invalid_type", f"filter must be an object, not {shown(given)}."))
    if faults or not isinstance(given, dict):
        raise InvalidError("validation_failed", " ".join(fault.message for fault in faults), faults=faults)
    named = given.get("outcome", MISSED)
    outcomes = (named,) if isinstance(named, str) else tuple(named)
    # What comes from now on is none of this replay's, its own runs least of all.
    newest = uuid7(call.services.clock.milliseconds() + 1)
    low = max(oldest_kept(call), least_id(given["from"]) if "from" in given else FIRST_ID)
    high = min(newest, least_id(given["to"]) if "to" in given else LAST_ID)
    return Asked(Filter(given, outcomes), (low, high), values.get("per_second", _USUAL))


def _filter_faults(given: Mapping[str, Any]) -> list[Fault]:
    faults = []
    if not given:
        message = "filter must name at least one of outcome, from, to: a replay of everything missed says so by from."
        faults.append(Fault("filter", "required", message))
    if given.get("outcome") == []:
        faults.append(Fault("filter.outcome", "invalid_value", f"filter.outcome must be {_OUTCOME_RULE}."))
    for name in ("from", "to"):
        try:
            least_id(given.get(name, "2000-01-01"))
        except (ValueError, OverflowError):
            message = f"filter.{name} must be {TIME_RULE}, not {shown(given[name])}."
            faults.append(Fault(f"filter.{name}", "invalid_value", message))
    return faults
