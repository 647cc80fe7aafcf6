"""Which names the templates of a node may and do begin with."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from msgspec import structs

from shared.errors import Fault
from shared.graph.suggest import ended, listed, shown
from shared.nodes.base import NodeType
from shared.nodes.schema import Field, fields_of
from shared.templates import TemplateSyntaxError, parse
from shared.templates.fields import templates_in
from shared.templates.secrets import NOTHING, VAULT
from shared.templates.secrets import VaultUse as TemplateUse


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
        roots |= used
    return faults, frozenset(roots)


class VaultUse(NamedTuple):
    """A vault item that a node names, and the field that does, as a path."""

    path: str
    name: str


def vault_uses(fields: Mapping[str, Field], data: Mapping[str, Any], path: str) -> Iterator[VaultUse]:
    """The vault items that the templates of a node name."""
    for at, source in templates_of(fields, data, path):
        for name in sorted(_vault(source).names):
            yield VaultUse(at, name)


def vault_faults(fields: Mapping[str, Field], data: Mapping[str, Any], path: str) -> Iterator[Fault]:
    """Where templates read the vault in a field that may not hold a secret, or in a way that cannot be followed."""
    for name, field in fields.items():
        for at, source in templates_of({name: field}, data, path):
            use = _vault(source)
            if (use.names or use.faults) and not field.secret:
                yield Fault(at, "secret_not_allowed", _not_allowed(name, fields))
            else:
                yield from (Fault(at, "secret_not_allowed", f"Here {fault}.") for fault in use.faults)


def _vault(source: str) -> TemplateUse:
    if VAULT not in source:
        return NOTHING
    try:
        return parse(source).vault
    except TemplateSyntaxError:
        return NOTHING  # which is a fault of its own


def _not_allowed(name: str, fields: Mapping[str, Field]) -> str:
    legal = [field.name for field in fields.values() if field.secret]
    where = f"of this node only {listed(legal)} may" if legal else "no field of this node may"
    return f"{shown(name)} may not read the vault, for its value would be stored; {where}."
