"""Values between JSON and Postgres: parameters as the server expects them, and what it answers as JSON types."""

import base64
import math
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, Final

import asyncpg

from shared import jsontext
from shared.errors import StepFailedError
from shared.graph.suggest import shown
from shared.templates.values import text_of

Convert = Callable[[Any], Any]
_WORDS: Final = {"true": True, "false": False}


def to_parameters(values: Sequence[Any], types: Sequence[str]) -> list[Any]:
    """JSON values as asyncpg wants them.

    Args:
        values: of JSON, one for each parameter.
        types: the server's names for what it expects, ``[]`` behind those of arrays.

    Raises:
        StepFailedError: ``invalid_data`` if they are too many or too few, or one has no such form.
    """
    if len(values) != len(types):
        message = f"data.parameters: the query takes {len(types)} and {len(values)} are given."
        raise StepFailedError("invalid_data", message)
    return [_parameter(value, name, index) for index, (value, name) in enumerate(zip(values, types, strict=True))]


def _parameter(value: Any, name: str, index: int) -> Any:
    try:
        return _sent(value, name)
    except (ValueError, TypeError, ArithmeticError, KeyError) as error:
        message = f"data.parameters[{index}]: {shown(value)} cannot be sent as {name}."
        raise StepFailedError("invalid_data", message) from error


def _sent(value: Any, name: str) -> Any:
    if value is None:
        return None
    if name.endswith("[]"):
        if not isinstance(value, list):
            raise TypeError(name)
        return [_sent_element(item, name[:-2]) for item in value]
    return _TO[name](value) if name in _TO else value


def _sent_element(item: Any, name: str) -> Any:
    """An element of an array; in Postgres one of more dimensions has the same type."""
    nests = isinstance(item, list) and not name.startswith("json")
    return [_sent_element(inner, name) for inner in item] if nests else _sent(item, name)


def _integer(value: Any) -> int:
    number = int(value)
    if isinstance(value, float) and number != value:
        raise ValueError("it is no whole number")
    return number


def _boolean(value: Any) -> bool:
    return value if isinstance(value, bool) else _WORDS[value]


def _aware(value: Any) -> datetime:
    moment = datetime.fromisoformat(value)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _naive(value: Any) -> datetime:
    moment = datetime.fromisoformat(value)
    return moment.astimezone(UTC).replace(tzinfo=None) if moment.tzinfo else moment


#: By the server's name of a type; values of any other go as they are.
_TO: Final[Mapping[str, Convert]] = {
    **dict.fromkeys(("int2", "int4", "int8", "oid"), _integer),
    **dict.fromkeys(("float4", "float8"), float),
    "numeric": lambda value: Decimal(str(value)),
    "bool": _boolean,
    **dict.fromkeys(("text", "varchar", "bpchar", "name", "char", "citext"), text_of),
    **dict.fromkeys(("json", "jsonb"), jsontext.encode),
    "timestamptz": _aware,
    "timestamp": _naive,
    "date": date.fromisoformat,
    **dict.fromkeys(("time", "timetz"), time.fromisoformat),
    "interval": lambda value: timedelta(seconds=float(value)),
    "bytea": lambda value: base64.b64decode(value, validate=True),
}


def from_rows(rows: Sequence[Any], columns: Sequence[tuple[str, str]]) -> list[dict[str, Any]]:
    """Records as objects of JSON types.

    Args:
        rows: of asyncpg.
        columns: the name and the type's name of each.

    Raises:
        StepFailedError: ``ambiguous_columns`` if two columns have one name.
    """
    names = [name for name, _ in columns]
    repeated = next((name for name in names if names.count(name) > 1), None)
    if repeated is not None:
        message = f"Several columns of the result are called {shown(repeated)}; name them apart with AS."
        raise StepFailedError("ambiguous_columns", message)
    return [{name: _read(value, kind) for (name, kind), value in zip(columns, row, strict=True)} for row in rows]


def _read(value: Any, name: str) -> Any:
    if isinstance(value, list) and name.endswith("[]"):
        return [_read(item, name if isinstance(item, list) else name[:-2]) for item in value]
    if isinstance(value, str):
        return jsontext.decode(value) if name in {"json", "jsonb"} else value
    return _json_form(value)


def _json_form(value: Any) -> Any:
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, asyncpg.Record):
        return {name: _json_form(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_json_form(item) for item in value]
    form = next((form for kind, form in _FORMS if isinstance(value, kind)), str)
    return form(value)


def _range(value: Any) -> dict[str, Any]:
    return {
        "lower": _json_form(value.lower),
        "upper": _json_form(value.upper),
        "lower_inc": value.lower_inc,
        "upper_inc": value.upper_inc,
        "empty": value.isempty,
    }


#: What has a form of its own; anything else stands as its text.
_FORMS: Final[Sequence[tuple[type | tuple[type, ...], Convert]]] = (
    (float, lambda value: value if math.isfinite(value) else str(value)),
    ((date, time), lambda value: value.isoformat()),
    (timedelta, lambda value: value.total_seconds()),
    (bytes, lambda value: base64.b64encode(value).decode()),
    (asyncpg.BitString, lambda value: value.as_string().replace(" ", "")),
    (asyncpg.Range, _range),
)
