"""Reading query parameters."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import msgspec
from aiohttp import web

from api.fields import read_fields
from shared.errors import BadRequestError, Fault, NotFoundError
from shared.graph.suggest import shown
from shared.ids import Prefix, decode
from shared.store.runs_read import FIRST_ID, LAST_ID

_UUID7_MILLISECONDS = (1 << 48) - 1
TIME_RULE = "a time in ISO 8601, such as 2025-10-31T12:00:00Z"


def read_query(struct: type[msgspec.Struct], request: web.Request) -> dict[str, Any]:
    """The parameters that were given, by name.

    Raises:
        BadRequestError: ``invalid_parameter`` with every fault: unknown, given twice, or not legal.
    """
    query = request.query
    faults = [
        Fault(name, "given_twice", f"{name} is given more than once.")
        for name in set(query)
        if len(query.getall(name)) > 1
    ]
    values, wrong = read_fields(struct, query, strict=False)
    refuse([*faults, *wrong])
    return values


def refuse(faults: list[Fault]) -> None:
    """Raise what is wrong with the parameters, if anything is.

    Raises:
        BadRequestError: ``invalid_parameter``.
    """
    if faults:
        raise BadRequestError(
            "invalid_parameter", "A query parameter is not legal: " + " ".join(f.message for f in faults), faults=faults
        )


def read_cursor(prefix: Prefix, name: str, text: str | None) -> UUID | None:
    """The id that a cursor names.

    Raises:
        BadRequestError: if no list ever gave such a cursor.
    """
    if text is None:
        return None
    try:
        return decode(prefix, text)
    except NotFoundError:
        fault = Fault(name, "invalid_cursor", f"{name} must be one that a Link header gave, not {shown(text)}.")
        refuse([fault])
        raise


def bound_of(name: str, text: str | None) -> UUID | None:
    """The least run id of a time.

    Args:
        name: of the parameter.
        text: ISO 8601; UTC unless it says otherwise.

    Raises:
        BadRequestError: if it is no such time.
    """
    if text is None:
        return None
    try:
        return least_id(text)
    except (ValueError, OverflowError):
        refuse([Fault(name, "invalid_value", f"{name} must be {TIME_RULE}, not {shown(text)}.")])
        raise


def least_id(text: str) -> UUID:
    """The least id of a time in ISO 8601; UTC unless it says otherwise.

    Raises:
        ValueError, OverflowError: if it is no such time.
    """
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    milliseconds = int(moment.timestamp() * 1000)
    if milliseconds < 0:
        return FIRST_ID
    return UUID(int=milliseconds << 80) if milliseconds <= _UUID7_MILLISECONDS else LAST_ID
