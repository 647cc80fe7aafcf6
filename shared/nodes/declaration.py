"""What a node type must declare, whoever wrote it: told in sentences, so that its author can mend it."""

import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import msgspec

from shared.graph.catalogue import DOCUMENTATION_FIELDS, SETTINGS_FIELDS, Kind, Mode
from shared.nodes.base import NodeType
from shared.nodes.extras import Extra
from shared.nodes.references import check_templates, fields_for, templates_of
from shared.nodes.schema import fields_of, object_faults

_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,63}")
#: What each mode calls; a trigger and a type that is `timed` call another method instead of the first.
_METHODS: Final = {
    Mode.PURE: ("run",),
    Mode.EFFECT: ("call",),
    Mode.WAIT: ("begin", "resume"),
    Mode.ITERATE: ("divide",),
}


def flaws(node_type: NodeType[Any]) -> list[str]:
    """Everything that is wrong with what a type declares; empty if it may be used. It raises nothing."""
    found: list[str] = []
    # What comes later takes for granted what was asked before.
    for rules in (_named, _typed, _shown):
        try:
            found.extend(rules(node_type))
        except Exception as error:  # noqa: BLE001 — declarations of others may be anything
            found.append(f"Asking it for its declaration broke: {type(error).__name__}: {error}.")
        if found:
            break
    return found


def _named(node_type: Any) -> Iterator[str]:
    rule = "1-64 of a-z, 0-9 and _, beginning with a letter"
    component = getattr(node_type, "component_id", None)
    if not _is_name(component):
        yield f"component_id must be {rule}, not {component!r}."
    aliases = node_type.aliases
    if not isinstance(aliases, tuple) or not all(map(_is_name, aliases)):
        yield f"aliases must be a tuple of names, each {rule}, not {aliases!r}."
    if not isinstance(getattr(node_type, "title", None), str) or not node_type.title.strip():
        yield "title must be a text for people."
    if not (inspect.getdoc(type(node_type)) or "").strip() or not type(node_type).__doc__:
        yield "The class needs a docstring: it is what the catalogue says of the type."


def _is_name(name: object) -> bool:
    return isinstance(name, str) and _NAME.fullmatch(name) is not None


def _typed(node_type: Any) -> Iterator[str]:
    if not isinstance(getattr(node_type, "kind", None), Kind):
        yield f"kind must be one of {', '.join(map(str, Kind.__members__))} of shared.nodes.base.Kind."
    if not isinstance(node_type.mode, Mode):
        yield f"mode must be one of {', '.join(Mode.__members__)} of shared.nodes.base.Mode."
    elif getattr(node_type, "kind", None) is not Kind.ACTION and node_type.mode is not Mode.PURE:
        yield "Only an action may have another mode than PURE."
    elif isinstance(getattr(node_type, "kind", None), Kind):
        yield from _implemented(node_type)
    if not isinstance(node_type.extras, tuple) or not all(isinstance(extra, Extra) for extra in node_type.extras):
        yield "extras must be a tuple of shared.nodes.extras.Extra."
    yield from _data(getattr(node_type, "data_type", None))


def _implemented(node_type: Any) -> Iterator[str]:
    methods = _METHODS[node_type.mode]
    if node_type.kind is Kind.TRIGGER:
        methods = ("trigger",)
    elif node_type.mode is Mode.PURE and node_type.timed:
        methods = ("run_at",)
    for name in (*methods, *(("question",) if node_type.asks else ())):
        if getattr(type(node_type), name) is getattr(NodeType, name):
            yield f"A {node_type.kind.value} of the mode {node_type.mode.name} implements {name}()."
    if node_type.authorized and node_type.mode is not Mode.EFFECT:
        yield "Only a type of the mode EFFECT may be authorized: it presents the workflow's authorization in its call."
    if node_type.mode is Mode.EFFECT and not inspect.iscoroutinefunction(type(node_type).call):
        yield "call() must be a coroutine function (async def)."


def _data(data_type: Any) -> Iterator[str]:
    if not isinstance(data_type, type) or not issubclass(data_type, msgspec.Struct):
        yield "data_type must be a msgspec.Struct."
        return
    if not data_type.__struct_config__.forbid_unknown_fields:
        yield "data_type must have forbid_unknown_fields=True, so that misspelt fields are found."
    if not (data_type.__doc__ or "").strip():
        yield "data_type needs a docstring: its section Attributes documents the fields."
    taken = sorted({*fields_of(data_type)} & {*SETTINGS_FIELDS, *DOCUMENTATION_FIELDS})
    if taken:
        yield f"The fields {', '.join(taken)} belong to the engine; no type may declare them."
    msgspec.json.schema(data_type)


def _shown(node_type: Any) -> Iterator[str]:
    example, context = node_type.example, node_type.example_context
    if not isinstance(example, Mapping) or not isinstance(context, Mapping):
        yield "example and example_context must be objects."
        return
    data = msgspec.json.decode(msgspec.json.encode(example))
    for fault in object_faults(node_type.data_type, data, "example"):
        yield f"{fault.path}: {fault.message}"
    faults, roots = check_templates(templates_of(fields_for(node_type, data), data, "example"))
    yield from (f"{fault.path}: {fault.message}" for fault in faults)
    if not roots <= {*context, "trigger", "run", "workflow", "vault", "nodes"}:
        yield f"The example refers to {', '.join(sorted(roots - {*context}))}, which example_context lacks."
    yield from _handled(node_type.handles, data)


def _handled(handles: Callable[[Mapping[str, Any]], Any], data: Mapping[str, Any]) -> Iterator[str]:
    for given in (data, {}):
        named = handles(given)
        if not isinstance(named, tuple) or not all(isinstance(name, str) and name for name in named):
            yield f"handles() must give a tuple of names, not {named!r}."
        elif "error" in named:
            yield 'No handle may be called "error": it is the one that continue_on_error opens.'
