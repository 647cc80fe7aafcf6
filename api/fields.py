"""Reading an object field by field, so that every fault is told and not the first alone.

A Struct says which fields there are and, by their annotations, which values are legal; ``description`` of the field's
`Meta` is the rule as a message quotes it.
"""

from collections.abc import Collection, Mapping, Sequence
from functools import cache
from typing import Any, Final, get_args, get_type_hints

import msgspec
from msgspec import Meta

from api.text import storable
from shared.errors import Fault
from shared.graph.suggest import Nearest, listed, shown


def read_fields(
    struct: type[msgspec.Struct],
    raw: Mapping[str, Any],
    *,
    prefix: str = "",
    ignored: Collection[str] = (),
    strict: bool = True,
    secret: Collection[str] = (),
) -> tuple[dict[str, Any], list[Fault]]:
    """The legal values of the fields that are there, by the name they have in ``raw``, and every fault.

    Args:
        struct: the fields there are.
        raw: the object.
        prefix: what paths of faults begin with: ``settings.``.
        ignored: names that are passed over.
        strict: False for text that stands for numbers and booleans, as in a query string.
        secret: names whose values no message shows.
    """
    rules = _rules(struct)
    values: dict[str, Any] = {}
    faults = [_unknown(prefix, name, tuple(rules)) for name in raw if name not in rules and name not in ignored]
    for name, (annotation, rule) in rules.items():
        if name not in raw:
            continue
        try:
            values[name] = _convert(raw[name], annotation, strict=strict)
        except (msgspec.ValidationError, UnicodeEncodeError):  # half of a surrogate pair where no text should be
            given = "" if name in secret else f", not {shown(raw[name])}"
            message = f"{name} must be {rule}{given}."
            faults.append(Fault(f"{prefix}{name}", "invalid_value", message))
    return values, faults


def _convert(value: Any, annotation: Any, *, strict: bool) -> Any:
    converted = msgspec.convert(value, annotation, strict=strict)
    if isinstance(converted, str) and not storable(converted):
        raise msgspec.ValidationError("NUL or a lone surrogate")
    return converted


def _unknown(prefix: str, name: str, legal: Sequence[str]) -> Fault:
    hint = Nearest().hint(name, lambda: legal)
    return Fault(f"{prefix}{name}", "unknown_field", f"Unknown field {shown(name)}{hint} Legal here: {listed(legal)}.")


@cache
def _rules(struct: type[msgspec.Struct]) -> dict[str, tuple[Any, str]]:
    """Annotation and rule of each field, by its encoded name."""
    hints: Final = get_type_hints(struct, include_extras=True)
    return {
        field.encode_name: (hints[field.name], _rule(hints[field.name])) for field in msgspec.structs.fields(struct)
    }


def _rule(annotation: Any) -> str:
    metas = [meta for meta in get_args(annotation) if isinstance(meta, Meta)]
    return next(meta.description for meta in metas if meta.description)
