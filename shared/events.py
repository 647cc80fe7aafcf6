"""Which workflows an event starts.

A filter is its author's, and an event has many: each has a little processor time of its own, all of them together a
second, and one that cannot be judged for an event, whatever it is, does not match it.
"""

import asyncio
import time
from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any, Final
from uuid import UUID

import msgspec
import structlog

from shared.db import Executes
from shared.errors import EdgewiseError, InvalidError, StepFailedError
from shared.event_names import MAX_BYTES
from shared.jsontext import decode
from shared.metrics import EVENT_FILTERS
from shared.nodes.budget import Budget
from shared.nodes.rules import ItemRule, predicate
from shared.store import events

_log = structlog.get_logger(__name__)

#: Seconds of processor time of one filter, and of all filters of one event.
_EACH: Final = 0.01
_TOGETHER: Final = 1.0
#: Filters past which they are judged in a thread, so that they hold up nobody.
_INLINE: Final = 16
_MATCHED: Final = EVENT_FILTERS.labels("matched")
_PASSED_OVER: Final = EVENT_FILTERS.labels("passed_over")
_FAILED: Final = EVENT_FILTERS.labels("failed")


class Filter(msgspec.Struct, frozen=True):
    """Conditions on the payload of an event."""

    rules: list[ItemRule]
    logic: str = "AND"


async def matching(
    connection: Executes, workspace_id: UUID, event: str, payload: str, now: datetime, *, most: int
) -> Sequence[UUID]:
    """The active workflows of a workspace that an event starts, by id.

    Args:
        connection: to read from.
        workspace_id: of the event.
        event: its name.
        payload: JSON text.
        now: the moment that filters take for the present.
        most: how many workflows may listen to it.

    Raises:
        InvalidError: ``too_many_listeners``, ``event_too_large``, or ``filters_too_slow``.
    """
    found = await events.listeners(connection, workspace_id, event, most + 1)
    if len(found) > most:
        raise InvalidError("too_many_listeners", f"At most {most:,} workflows may listen to one event.")
    filters = sum(listener.filter is not None for listener in found)
    if filters > _INLINE:
        matched = await asyncio.to_thread(_judge, found, payload, now)
    else:
        matched = _judge(found, payload, now)
    if len(matched) * len(payload) > MAX_BYTES:
        message = f"The event starts {len(matched):,} runs, whose payloads may have {MAX_BYTES:,} bytes together."
        raise InvalidError("event_too_large", message)
    return matched


def _judge(listeners: Sequence[events.Listener], payload: str, now: datetime) -> list[UUID]:
    value = decode(payload) if any(listener.filter is not None for listener in listeners) else None
    deadline = time.thread_time() + _TOGETHER
    matched = []
    for workflow_id, text in listeners:
        if time.thread_time() > deadline:
            raise InvalidError(
                "filters_too_slow", f"The filters of this event take more than {_TOGETHER:g} s of processor time."
            )
        if text is None or _matches(workflow_id, text, value, now):
            matched.append(workflow_id)
    return matched


def _matches(workflow_id: UUID, text: str, value: Any, now: datetime) -> bool:
    try:
        wanted = _read(text)
        matches = predicate(wanted.rules, wanted.logic, "filter", now, Budget(_EACH))(value, 0)
    except EdgewiseError as error:
        _FAILED.inc()
        _log.info("a filter could not be judged", workflow=str(workflow_id), code=error.code)
        return False
    except Exception:  # noqa: BLE001 — no filter may keep an event from the others
        _FAILED.inc()
        _log.exception("a filter broke", workflow=str(workflow_id))
        return False
    (_MATCHED if matches else _PASSED_OVER).inc()
    return matches


@lru_cache(maxsize=4096)
def _read(text: str) -> Filter:
    """A stored filter.

    Raises:
        StepFailedError: ``invalid_data`` if this code does not take it.
    """
    try:
        return msgspec.convert(decode(text), Filter)
    except msgspec.ValidationError as error:
        raise StepFailedError("invalid_data", str(error)) from error
