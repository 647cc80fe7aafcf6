"""Which names the templates of a node may and do begin with."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from msgspec import structs

from shared.errors import Fault
from shared.graph.suggest import ended
from shared.nodes.base import NodeType
from shared.nodes.schema import Field, fields_of
from shared.templates import TemplateSyntaxError, parse
from shared.templates.fields import templates_in

#: Names of the contract that nothing stands behind yet, with the reason. An entry goes when its feature comes.
UNAVAILABLE: Final[Mapping[str, str]] = {"vault": "this installation keeps no vault items that templates could read"}


def fields_for(node_type: NodeType[Any], data: Mapping[str, Any]) -> Mapping[str, Field]:
    """The fields of a type by name, rendered as a node with this raw ``data`` wants them."""
    fields = fields_of(node_type.data_type)
    chosen = node_type.renderings(data)
    return {name: structs.replace(field, rendering=chosen.get(name, field.rendering)) for name, field in fields.items()}


def templates_of(fields: Mapping[str, Field], data: Mapping[str, Any], path: str) -> Iterable[tuple[str, str]]:
    """Every (path, source) of the templates in a node's ``data``."""
    for name, field in fields.items():
        if name in data:
            yield from templates_in(data[name], f"{path}.{name}", field.rendering)


def check_templates(templates: Iterable[tuple[str, str]]) -> tuple[list[Fault], frozenset[str]]:
    """Every fault of some templates, and the names they begin with."""
    faults: list[Fault] = []
    roots: set[str] = set()
    for path, source in templates:
        try:
            used = parse(source).roots
        except TemplateSyntaxError as error:
            faults.append(Fault(path, "template_syntax", ended(f"The template cannot be read: {error}")))
            continue
        faults.extend(_unavailable(path, name) for name in sorted(used & UNAVAILABLE.keys()))
        roots |= used
    return faults, frozenset(roots - UNAVAILABLE.keys())


def _unavailable(path: str, name: str) -> Fault:
    return Fault(path, "not_available", f'"{name}" is not available: {UNAVAILABLE[name]}.')
