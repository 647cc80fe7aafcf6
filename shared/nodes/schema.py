"""The ``data`` of a node type, field by field: what each field takes, and every fault of a value, with its path.

msgspec stops at the first fault; an author wants all of them at once. So objects, lists and fields are walked here, and
msgspec judges the leaves. Templates are judged when they have been rendered.
"""

import types
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin, get_type_hints

import msgspec

from shared.errors import Fault
from shared.graph.suggest import Nearest, listed, shown
from shared.nodes.fields import fallbacks_of, is_secret, rendering_of
from shared.templates import is_template
from shared.templates.fields import Rendering

#: What the types of Python are called in messages; the longer names first.
_WORDS: Final = {"str": "text", "int": "an integer", "float": "a number", "bool": "true or false", "null": "null"} | {
    "object": "an object",
    "array": "a list",
}


class Field(msgspec.Struct, frozen=True):
    """One field of a ``data`` Struct.

    Attributes:
        annotation: what it takes.
        required: whether it must be given.
        fallbacks: the name of the field that stands in for undefined names in this one, or empty.
        secret: whether its templates may read the vault.
    """

    name: str
    annotation: Any
    rendering: Rendering
    required: bool
    fallbacks: str
    secret: bool


@cache
def fields_of(struct: type[msgspec.Struct]) -> Mapping[str, Field]:
    """The fields of a Struct by name."""
    hints = get_type_hints(struct, include_extras=True)
    return {field.encode_name: _field(field, hints[field.name]) for field in msgspec.structs.fields(struct)}


def _field(field: msgspec.structs.FieldInfo, annotation: Any) -> Field:
    rendering, fallbacks = rendering_of(annotation), fallbacks_of(annotation)
    return Field(field.encode_name, annotation, rendering, field.required, fallbacks, is_secret(annotation))


def object_faults(struct: type[msgspec.Struct], data: Mapping[str, Any], path: str) -> Iterator[Fault]:
    """Every fault of an object that should be ``struct``: unknown, missing and wrong fields."""
    fields = fields_of(struct)
    nearest = Nearest()
    for name in data:
        if name not in fields:
            yield Fault(f"{path}.{name}", "unknown_field", _unknown(name, tuple(fields), nearest))
    for field in fields.values():
        if field.name in data:
            yield from _field_faults(field, data[field.name], f"{path}.{field.name}")
        elif field.required:
            yield Fault(f"{path}.{field.name}", "required", f'"{field.name}" is required.')


def _field_faults(field: Field, value: Any, path: str) -> Iterator[Fault]:
    if field.rendering is not Rendering.NONE:
        yield from _value_faults(field.annotation, value, path)
    elif isinstance(value, str) and is_template(value):
        yield Fault(path, "no_template", f'"{field.name}" takes no template: it is settled when the workflow is saved.')
    else:
        yield from _leaf_fault(field.annotation, value, path)


def _unknown(name: str, legal: Sequence[str], nearest: Nearest) -> str:
    fields = f"the fields of its own are {listed(legal)}" if legal else "it has no fields of its own"
    return f"{shown(name)} is no field of this node; {fields}{nearest.hint(name, lambda: legal)}"


def _value_faults(annotation: Any, value: Any, path: str) -> Iterator[Fault]:
    if isinstance(value, str) and is_template(value):
        return
    struct = _arm(annotation, value)
    if isinstance(value, list) and get_origin(struct) is list:
        yield from _length_fault(annotation, value, path)
        for index, item in enumerate(value):
            yield from _value_faults(get_args(struct)[0], item, f"{path}[{index}]")
    elif isinstance(value, dict) and isinstance(struct, type) and issubclass(struct, msgspec.Struct):
        yield from object_faults(struct, value, path)
    elif isinstance(value, dict) and get_origin(struct) is dict:
        for key, item in value.items():
            yield from _value_faults(get_args(struct)[1], item, f"{path}.{key}")
    else:
        yield from _leaf_fault(annotation, value, path)


def _length_fault(annotation: Any, value: list[Any], path: str) -> Iterator[Fault]:
    """Too few or too many items; judged apart from them, since some may be templates."""
    for meta in _list_metas(annotation):
        least, most = meta.min_length or 0, meta.max_length
        if len(value) < least or (most is not None and len(value) > most):
            rule = f"{least} to {most}" if most is not None else f"at least {least}"
            yield Fault(path, "invalid_value", f"It has {len(value)} items and takes {rule}.")


def _list_metas(annotation: Any) -> list[Any]:
    """What is said about the length of lists, by an annotation or by those of its parts that take lists."""
    bare = _bare(annotation)
    arms = get_args(bare) if get_origin(bare) in (Union, types.UnionType) else ()
    lists = [annotation, *(arm for arm in arms if get_origin(_bare(arm)) is list)]
    return [meta for part in lists if get_origin(part) is Annotated for meta in get_args(part)[1:]]


def _arm(annotation: Any, value: Any) -> Any:
    """The part of an annotation that takes lists, if the value is one, or objects, if it is one; else the whole."""
    bare = _bare(annotation)
    if get_origin(bare) not in (Union, types.UnionType):
        return bare
    arms = [_bare(arm) for arm in get_args(bare)]
    if isinstance(value, list):
        return next((arm for arm in arms if get_origin(arm) is list), bare)
    if isinstance(value, dict):
        return next((arm for arm in arms if get_origin(arm) is dict or _is_struct(arm)), bare)
    return bare


def _bare(annotation: Any) -> Any:
    return get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation


def _is_struct(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, msgspec.Struct)


def _leaf_fault(annotation: Any, value: Any, path: str) -> Iterator[Fault]:
    try:
        msgspec.convert(value, annotation)
    except msgspec.ValidationError as error:
        literals = _literals(annotation)
        rule = f"must be one of {listed(literals)}" if literals else _worded(error)
        yield Fault(path, "invalid_value", _sentence(f"{shown(value)} will not do: {rule}"))
    except (RecursionError, UnicodeEncodeError):
        yield Fault(path, "invalid_value", "The value cannot be read.")


def _literals(annotation: Any) -> list[str]:
    bare = _bare(annotation)
    arms = get_args(bare) if get_origin(bare) in (Union, types.UnionType) else (bare,)
    return [str(legal) for arm in arms if get_origin(_bare(arm)) is Literal for legal in get_args(_bare(arm))]


def _worded(error: msgspec.ValidationError) -> str:
    text = str(error).partition(" - at `")[0]
    for python, word in _WORDS.items():
        text = text.replace(f"`{python}`", word)
    return (text[:1].lower() + text[1:]).replace("`", "")


def _sentence(text: str) -> str:
    return text if text.endswith(("?", ".")) else f"{text}."
