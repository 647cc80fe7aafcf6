"""The JSON Schema of a node's ``data`` as an author writes it.

Besides the type's own fields it has those that belong to the engine and those that document the node, and where a field
takes templates a text with a template stands for any value. ``x-templates`` says how a field renders them, ``x-secret``
that they may read the vault, and ``x-setting`` which fields are the engine's.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final, get_args, get_type_hints

import msgspec

from shared.graph.catalogue import OPERATION_FIELD
from shared.graph.settings import JoinCount, NodeSettings, Retry, settings_of
from shared.nodes.base import NodeType
from shared.nodes.docstrings import field_docs, summary
from shared.nodes.schema import fields_of
from shared.templates.fields import Rendering

_REF: Final = "#/$defs/{name}"
#: A text that holds a template, which may stand for a value of any type.
_TEMPLATE: Final = {"type": "string", "pattern": r"\{[{%]", "description": "A template that gives the value."}
_IS_TEMPLATE: Final = {"$ref": _REF.format(name="template")}
#: What of a schema says more about a text than that it is one.
_NARROW: Final = frozenset({"pattern", "minLength", "maxLength", "format"})
_NOTES: Final = {
    "description": "What the node is for; nothing executes it.",
    "label": "What the node is called on a canvas.",
    "uiId": "The name of the node in an editor.",
    "notes": "Notes of its authors.",
    OPERATION_FIELD: "What editors write beside the data of nodes; nothing executes it.",
}


def data_schema(node_type: NodeType[Any]) -> dict[str, Any]:
    """The schema of ``data`` of a node of this type, in JSON Schema 2020-12."""
    structs = {struct.__name__: struct for struct in _structs(node_type.data_type)}
    taken = (Retry, JoinCount) if settings_names(node_type) else ()
    (own, settings, *_), defs = msgspec.json.schema_components(
        [node_type.data_type, NodeSettings, *taken], ref_template=_REF
    )
    rules = defs.pop(settings["$ref"].rpartition("/")[2])["properties"]
    kept = {Retry.__name__, JoinCount.__name__} if taken else set()
    for name, definition in defs.items():
        if name in structs:
            _as_written(definition, structs[name])
        elif name in (Retry.__name__, JoinCount.__name__):
            _documented(definition, Retry if name == Retry.__name__ else JoinCount)
    whole = defs.pop(own["$ref"].rpartition("/")[2])
    for name in (Retry.__name__, JoinCount.__name__):
        if name not in kept:
            defs.pop(name, None)
    properties = {**_named(node_type), **whole["properties"], **_settings(node_type, rules), **_documenting(node_type)}
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": node_type.title,
        "description": summary(type(node_type)),
        "type": "object",
        "properties": properties,
        "required": ["componentId", *whole.get("required", [])],
        "additionalProperties": False,
        "$defs": {**defs, "template": _TEMPLATE},
    }
    made: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(schema))  # some of its lists are tuples
    return made


def settings_names(node_type: NodeType[Any]) -> tuple[str, ...]:
    """The engine's fields that nodes of this type take."""
    return settings_of(node_type.kind, node_type.mode, node_type.handles(dict(node_type.example)))


def _structs(annotation: Any) -> Iterator[type[msgspec.Struct]]:
    """The Structs that an annotation is made of."""
    pending, seen = [annotation], set()
    while pending:
        each = pending.pop()
        if isinstance(each, type) and issubclass(each, msgspec.Struct):
            if each in seen:
                continue
            seen.add(each)
            yield each
            pending.extend(get_type_hints(each, include_extras=True).values())
        else:
            pending.extend(get_args(each))


def _as_written(definition: dict[str, Any], struct: type[msgspec.Struct]) -> None:
    """Complete the schema of a Struct: what its fields mean, and where templates may stand."""
    _documented(definition, struct)
    for name, field in fields_of(struct).items():
        schema = definition["properties"][name]
        if field.rendering is not Rendering.NONE:
            schema = _or_template(schema)
        marks = {"x-templates": str(field.rendering), **({"x-secret": True} if field.secret else {})}
        definition["properties"][name] = {**schema, **marks}


def _documented(definition: dict[str, Any], struct: type[msgspec.Struct]) -> None:
    definition["description"] = summary(struct)
    for name, text in field_docs(struct).items():
        if name in definition["properties"]:
            definition["properties"][name] = {**definition["properties"][name], "description": text}


def _or_template(schema: Mapping[str, Any]) -> dict[str, Any]:
    """A schema that takes a template wherever it takes a value."""
    made: dict[str, Any] = {name: _inside(name, part) for name, part in schema.items()}
    if _takes_any_text(made):
        return made
    about: dict[str, Any] = {name: made.pop(name) for name in ("default", "description") if name in made}
    arms = made.pop("anyOf") if made.keys() == {"anyOf"} else [made]
    return {"anyOf": [*(arm for arm in arms if arm != _IS_TEMPLATE), _IS_TEMPLATE], **about}


def _inside(keyword: str, part: Any) -> Any:
    if keyword in ("items", "additionalProperties") and isinstance(part, dict):
        return _or_template(part)
    if keyword == "anyOf":
        return [{name: _inside(name, inner) for name, inner in arm.items()} for arm in part]
    return part


def _takes_any_text(schema: Mapping[str, Any]) -> bool:
    if "anyOf" in schema:
        return any(map(_takes_any_text, schema["anyOf"]))
    if schema.keys() & {"$ref", "enum", "const", *_NARROW}:
        return False
    return bool(schema.get("type", "string") == "string")


def _named(node_type: NodeType[Any]) -> dict[str, Any]:
    about = "The type of the node."
    return {"componentId": {"enum": [node_type.component_id, *node_type.aliases], "description": about}}


def _settings(node_type: NodeType[Any], rules: Mapping[str, Any]) -> dict[str, Any]:
    meaning = field_docs(NodeSettings)
    return {
        name: {**rules[name], "description": meaning[name], "x-setting": True} for name in settings_names(node_type)
    }


def _documenting(node_type: NodeType[Any]) -> dict[str, Any]:
    own = fields_of(node_type.data_type)
    return {name: {"description": text} for name, text in _NOTES.items() if name not in own}
