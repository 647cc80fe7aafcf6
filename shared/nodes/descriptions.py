"""What a node type is, for whoever draws workflows: the entries of the catalogue."""

from collections.abc import Mapping
from typing import Any

import msgspec

from shared.nodes.data_schema import settings_names
from shared.nodes.docstrings import summary
from shared.nodes.registry import Registry


class NeededExtra(msgspec.Struct, frozen=True):
    """What a type needs beside the plain installation.

    Attributes:
        name: of the extra.
        install: the command that brings it.
        installed: whether this process has it; the workers need it too.
    """

    name: str
    install: str
    installed: bool


class NodeTypeEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One node type.

    Attributes:
        component_id: what stands in ``data.componentId``.
        aliases: other names that are taken there.
        title: for people.
        description: what it does and what it gives out.
        kind: where it may stand: trigger, action or condition.
        mode: how it runs. pure: in process, touching nothing outside; effect: at least once, after what it depends on
            is stored; wait: until a time or an answer; iterate: once per item of a list.
        handles: the named outputs of the example; empty for the single unnamed one.
        handles_vary: whether they depend on the data.
        settings: the fields of data that belong to the engine and that such nodes take.
        schema: the JSON Schema (2020-12) of data.
        example: the data of a node.
        example_context: the outputs, by node id, that the example's templates refer to.
        authorized: whether its nodes present the authorization of their workflow, which must have one.
        extra: None if the plain installation is enough.
        origin: "edgewise", or the entry point and the distribution of an outside package.
    """

    component_id: str
    aliases: tuple[str, ...]
    title: str
    description: str
    kind: str
    mode: str
    handles: tuple[str, ...]
    handles_vary: bool
    settings: tuple[str, ...]
    schema: dict[str, Any]
    example: dict[str, Any]
    example_context: Mapping[str, Any]
    authorized: bool
    extra: NeededExtra | None
    origin: str


def described(registry: Registry) -> list[NodeTypeEntry]:
    """Every type of a registry, by name."""
    return [_entry(registry, component) for component in registry.names()]


def _entry(registry: Registry, component: str) -> NodeTypeEntry:
    node_type = registry.type_of(component)
    example = dict(node_type.example)
    handles = registry.handles(component, example)
    return NodeTypeEntry(
        component_id=component,
        aliases=node_type.aliases,
        title=node_type.title,
        description=summary(type(node_type)),
        kind=node_type.kind.value,
        mode=node_type.mode.value,
        handles=handles,
        handles_vary=registry.handles(component, {}) != handles,
        settings=settings_names(node_type),
        schema=registry.schema(component),
        example={"componentId": component, **example},
        example_context=node_type.example_context,
        authorized=node_type.authorized,
        extra=_extra(registry, component),
        origin=registry.origin(component),
    )


def _extra(registry: Registry, component: str) -> NeededExtra | None:
    extras = registry.type_of(component).extras
    if not extras:
        return None
    return NeededExtra(extras[0].name, extras[0].command, all(extra.is_installed for extra in extras))
