"""JSON Schema with limits: patterns are RE2's, nothing is fetched, and no schema works longer than a render may.

Every keyword is the library's, but for those that match patterns and for ``uniqueItems``, which compares each item with
each other there. A schema can refer to itself in ways that double its work with every step, so each keyword looks at
the time.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from datetime import date, datetime
from datetime import time as clock
from functools import cache, lru_cache
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from itertools import islice
from typing import Any, Final
from uuid import UUID

from shared import jsontext
from shared.templates import allowance, limits
from shared.templates.regexes import RegexError, compiled

#: Characters of a schema as JSON text.
LONGEST: Final = 64 * 1024
#: Faults that are told of one value.
MOST_FAULTS: Final = 50
#: Characters of one fault's message.
_MESSAGE: Final = 300
_OUTSIDE: Final = "a schema refers only to parts of itself: nothing is fetched"
_deadline: ContextVar[float] = ContextVar("_deadline")
Keyword = Callable[[Any, Any, Any, Any], Iterator[Any]]


class SchemaFaultError(ValueError):
    """A schema that is none, or that cannot be worked through for this value; the text says why."""


class Schema:
    """A schema, ready to check values. It may be shared."""

    __slots__ = ("_validator",)

    def __init__(self, validator: Any) -> None:
        self._validator = validator

    def faults(self, value: Any, most: int = MOST_FAULTS) -> list[tuple[str, str]]:
        """What is wrong with a value, as (path within it such as ``.items[0].name``, message); the first ``most``.

        Raises:
            SchemaFaultError: if the schema works too long, nests without end, or refers to what is not there.
        """
        from referencing.exceptions import Unresolvable  # noqa: PLC0415 — loaded with the library

        began = _deadline.set(allowance.deadline())
        try:
            errors = islice(self._validator.iter_errors(value), most)
            return [(_place(error.absolute_path), error.message[:_MESSAGE]) for error in errors]
        except RecursionError as error:
            raise SchemaFaultError("the schema or the value nests too deep") from error
        except Unresolvable as error:
            raise SchemaFaultError(f"{error.ref[:100]!r} leads nowhere; {_OUTSIDE}") from error
        except (RegexError, OverflowError, ArithmeticError) as error:
            raise SchemaFaultError(str(error)) from error
        finally:
            _deadline.reset(began)


def _place(path: Any) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)


def schema_of(raw: Mapping[str, Any] | bool) -> Schema:
    """The schema that a JSON value is, of the draft that its ``$schema`` names, or 2020-12.

    Raises:
        SchemaFaultError: if it is none, is too large, holds a pattern that RE2 does not take, or refers outside.
    """
    text = jsontext.encode(raw)
    if len(text) > LONGEST:
        raise SchemaFaultError(f"a schema has at most {LONGEST} characters of JSON, not {len(text)}")
    return _schema_of(text)


@lru_cache(maxsize=256)
def _schema_of(text: str) -> Schema:
    import jsonschema  # type: ignore[import-untyped] # noqa: PLC0415 — 60 ms and 8 MB that most processes never need
    from referencing import Registry  # noqa: PLC0415 — likewise

    raw = jsontext.decode(text)
    try:
        draft = _draft_of(raw)
        draft.check_schema(raw, format_checker=jsonschema.FormatChecker(formats=()))  # patterns are RE2's, not Python's
        for part in _parts(raw):
            _check_part(part)
        _check_unevaluated(raw)
    except jsonschema.SchemaError as error:
        raise SchemaFaultError(f"schema{_place(error.absolute_path)}: {error.message[:_MESSAGE]}") from error
    except RecursionError as error:
        raise SchemaFaultError("the schema nests too deep") from error
    except RegexError as error:
        raise SchemaFaultError(str(error.message)) from error
    validator = _limited(draft)(raw, registry=Registry(), format_checker=_formats())
    return Schema(validator)


def _draft_of(raw: Any) -> Any:
    from jsonschema import Draft202012Validator, validators  # noqa: PLC0415 — see `_schema_of`

    name = raw.get("$schema") if isinstance(raw, dict) else None
    if name is None:
        return Draft202012Validator
    draft = validators.validator_for(raw, default=None) if isinstance(name, str) else None
    if draft is None:
        legal = (
            "https://json-schema.org/draft/2020-12/schema, .../2019-09/schema, http://json-schema.org/draft-07/schema#"
        )
        raise SchemaFaultError(f"schema.$schema: {str(name)[:100]!r} is no draft that is known; legal: {legal}, 06, 04")
    return draft


def _parts(raw: Any) -> Iterator[dict[str, Any]]:
    """Every object in a schema, whether it is a schema itself or not."""
    pending = [raw]
    for part in pending:
        if isinstance(part, dict):
            yield part
            pending.extend(part.values())
        elif isinstance(part, list):
            pending.extend(part)


def _check_part(part: dict[str, Any]) -> None:
    patterns = part.get("patternProperties")
    if isinstance(patterns, dict):
        for pattern in patterns:
            compiled(pattern)
    if isinstance(part.get("pattern"), str):
        compiled(part["pattern"])
    reference = part.get("$ref")
    if isinstance(reference, str) and "://" in reference and "json-schema.org/" not in reference:
        raise SchemaFaultError(f"schema.$ref: {reference[:100]!r} is elsewhere; {_OUTSIDE}")


def _check_unevaluated(raw: Any) -> None:
    """Refuse a schema in which the library would match patterns itself, with an engine that backtracks."""
    names = {name for part in _parts(raw) for name in ("unevaluatedProperties", "patternProperties") if name in part}
    if len(names) > 1:
        raise SchemaFaultError("unevaluatedProperties cannot stand beside patternProperties here, wherever in a schema")


@cache
def _limited(draft: Any) -> Any:
    """The draft with RE2 for patterns, and every keyword watched."""
    from jsonschema import validators  # noqa: PLC0415 — see `_schema_of`

    own: dict[str, Keyword] = {
        "pattern": _pattern,
        "patternProperties": _pattern_properties,
        "additionalProperties": _additional_properties,
        "uniqueItems": _unique_items,
    }
    keywords = {name: own.get(name, function) for name, function in draft.VALIDATORS.items()}
    return validators.extend(draft, {name: _watched(function) for name, function in keywords.items()})


def _watched(keyword: Keyword) -> Keyword:
    def watched(validator: Any, rule: Any, value: Any, schema: Any) -> Any:
        if time.thread_time() > _deadline.get():
            raise SchemaFaultError(f"the schema works longer than {limits.SECONDS:g} s on this value")
        return keyword(validator, rule, value, schema)

    return watched


def _fault(message: str) -> Any:
    from jsonschema import ValidationError  # noqa: PLC0415 — see `_schema_of`

    return ValidationError(message)


def _pattern(_validator: Any, rule: str, value: Any, _schema: Any) -> Iterator[Any]:
    if isinstance(value, str) and compiled(rule).search(value) is None:
        yield _fault(f"{value[:_MESSAGE]!r} does not match {rule!r}")


def _pattern_properties(validator: Any, rule: Mapping[str, Any], value: Any, _schema: Any) -> Iterator[Any]:
    for pattern, inner in rule.items() if isinstance(value, dict) else ():
        for name, item in value.items():
            if compiled(pattern).search(name) is not None:
                yield from validator.descend(item, inner, path=name, schema_path=pattern)


def _additional_properties(validator: Any, rule: Any, value: Any, schema: Mapping[str, Any]) -> Iterator[Any]:
    if not isinstance(value, dict):
        return
    known, patterns = schema.get("properties", {}), schema.get("patternProperties", {})
    for name, item in value.items():
        if name in known or any(compiled(pattern).search(name) is not None for pattern in patterns):
            continue
        if rule is False:
            yield _fault(f"{name[:_MESSAGE]!r} is no property that is allowed here")
        else:
            yield from validator.descend(item, rule, path=name)


def _unique_items(_validator: Any, rule: Any, value: Any, _schema: Any) -> Iterator[Any]:
    if rule is True and isinstance(value, list) and len({_identity(item) for item in value}) < len(value):
        yield _fault("the items are not all different")


def _identity(value: Any) -> Any:
    """Equal for values that JSON Schema takes as equal: 1 and 1.0 are, 1 and true are not."""
    if isinstance(value, dict):
        return frozenset((name, _identity(item)) for name, item in value.items())
    if isinstance(value, list):
        return tuple(_identity(item) for item in value)
    return (isinstance(value, bool), value)


@cache
def _formats() -> Any:
    """The formats that are checked; any other one is a remark."""
    from jsonschema import FormatChecker  # noqa: PLC0415 — see `_schema_of`

    checker = FormatChecker(formats=())
    for name, read in _READERS.items():
        checker.checks(name, raises=(ValueError, AddressValueError))(_reads(read))
    return checker


def _reads(read: Callable[[str], object]) -> Callable[[Any], bool]:
    def reads(value: Any) -> bool:
        return not isinstance(value, str) or read(value) is not False

    return reads


def _is_email(text: str) -> bool:
    name, _, host = text.rpartition("@")
    return len(text) <= 254 and bool(name) and "." in host.strip(".") and not any(map(str.isspace, text))


def _is_uri(text: str) -> bool:
    return len(text) <= 8_192 and compiled(r"^[A-Za-z][A-Za-z0-9+.-]*:[^\s<>\"{}|\\^`]*$").search(text) is not None


def _is_moment(text: str) -> bool:
    return "T" in text.upper() and datetime.fromisoformat(text.upper()).tzinfo is not None


_READERS: Final[Mapping[str, Callable[[str], object]]] = {
    "email": _is_email,
    "ipv4": IPv4Address,
    "ipv6": IPv6Address,
    "date": date.fromisoformat,
    "time": clock.fromisoformat,
    "date-time": _is_moment,
    "uuid": UUID,
    "uri": _is_uri,
}
