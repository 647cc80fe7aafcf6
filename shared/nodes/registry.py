"""Every node type of this process: the files of this package, and what installed packages add.

A package adds types through the entry point group ``edgewise.nodes``, each entry naming a `NodeType` subclass.
"""

import pkgutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any, Final, TypeGuard

import msgspec

import shared.nodes
from shared.errors import Fault, NotFoundError, StepFailedError
from shared.graph.catalogue import DOCUMENTATION_FIELDS, OPERATION_FIELD, SETTINGS_FIELDS
from shared.nodes.base import CompiledNode, Kind, Mode, NodeType
from shared.nodes.compiled import Compiled
from shared.nodes.references import check_templates, fields_for, templates_of
from shared.nodes.schema import fields_of, object_faults
from shared.nodes.unusable import Unusable
from shared.questions import Question
from shared.templates import TemplateSyntaxError, limits

ENTRY_POINTS: Final = "edgewise.nodes"
_NOT_CONFIG: Final = frozenset((*SETTINGS_FIELDS, *DOCUMENTATION_FIELDS))


class Registry:
    """The node types by component id and alias; implements `shared.graph.catalogue.Catalogue`."""

    def __init__(self, types: Iterable[NodeType[Any]]) -> None:
        self._types: dict[str, NodeType[Any]] = {}
        self._canonical: dict[str, str] = {}
        for node_type in types:
            self._add(node_type)

    def _add(self, node_type: NodeType[Any]) -> None:
        for name in (node_type.component_id, *node_type.aliases):
            if self._canonical.setdefault(name, node_type.component_id) != node_type.component_id:
                raise ValueError(f"two node types are called {name!r}")
        if node_type.component_id in self._types:
            raise ValueError(f"two node types are called {node_type.component_id!r}")
        self._types[node_type.component_id] = node_type

    def resolve(self, component: str) -> str | None:
        """See `Catalogue.resolve`."""
        return self._canonical.get(component)

    def names(self) -> Sequence[str]:
        """See `Catalogue.names`."""
        return tuple(sorted(self._types))

    def kind(self, component: str) -> Kind | None:
        """See `Catalogue.kind`."""
        found = self._types.get(component)
        return found.kind if found else None

    def mode(self, component: str) -> Mode:
        """See `Catalogue.mode`."""
        return self.type_of(component).mode

    def asks(self, component: str) -> bool:
        """See `Catalogue.asks`."""
        return self.type_of(component).asks

    def operates(self, component: str) -> bool:
        """See `Catalogue.operates`."""
        return _operates(self.type_of(component))

    def handles(self, component: str, data: Mapping[str, Any]) -> tuple[str, ...]:
        """See `Catalogue.handles`."""
        return self.type_of(component).handles(data)

    def check(self, component: str, data: Mapping[str, Any], path: str) -> tuple[list[Fault], frozenset[str]]:
        """See `Catalogue.check`."""
        try:
            return self._check(self.type_of(component), data, path)
        except (RecursionError, TemplateSyntaxError):
            message = f"Objects and lists in it nest at most {limits.DEPTH} deep."
            return [Fault(path, "invalid_value", message)], frozenset()

    def _check(
        self, node_type: NodeType[Any], data: Mapping[str, Any], path: str
    ) -> tuple[list[Fault], frozenset[str]]:
        faults = list(object_faults(node_type.data_type, data, path))
        template_faults, roots = check_templates(templates_of(fields_for(node_type, data), data, path))
        if not faults:
            faults.extend(Fault(f"{path}.{at}", "invalid_value", text) for at, text in node_type.check(data))
        return faults + template_faults, roots

    def compile(self, node_id: str, component: str, data: Mapping[str, Any]) -> CompiledNode:
        """A node ready to run. Settings and documentation fields in ``data`` are passed over.

        Data that the type does not take give a node that fails its step with the reason.

        Raises:
            NotFoundError: if there is no such type, so that the step is left to a newer worker.
        """
        node_type = self.type_of(self._canonical.get(component, component))
        try:
            return Compiled(node_id, node_type, _config(node_type, data))
        except (StepFailedError, TemplateSyntaxError) as error:
            return Unusable(node_id, node_type, str(error))

    def question(self, component: str, data: Mapping[str, Any]) -> Question | None:
        """What a node with this raw ``data`` asks, its templates as they stand; None if it does not ask."""
        node_type = self._types.get(self._canonical.get(component, component))
        if node_type is None or not node_type.asks:
            return None
        try:
            return node_type.question(msgspec.convert(_config(node_type, data), node_type.data_type))
        except msgspec.ValidationError:  # a version of the node that this code does not take
            return None

    def schema(self, component: str) -> dict[str, Any]:
        """The JSON Schema of the type's ``data``."""
        return msgspec.json.schema(self.type_of(component).data_type)

    def type_of(self, component: str) -> NodeType[Any]:
        """The node type of a canonical component id.

        Raises:
            NotFoundError: if there is none.
        """
        try:
            return self._types[component]
        except KeyError:
            raise NotFoundError("unknown_component", f'There is no node type "{component[:80]}".') from None


def _operates(node_type: NodeType[Any]) -> bool:
    return OPERATION_FIELD in fields_of(node_type.data_type)


def _config(node_type: NodeType[Any], data: Mapping[str, Any]) -> dict[str, Any]:
    """``data`` without what belongs to the engine or documents the node."""
    aside = _NOT_CONFIG if _operates(node_type) else _NOT_CONFIG | {OPERATION_FIELD}
    return {name: value for name, value in data.items() if name not in aside}


@lru_cache(maxsize=1)
def default_registry() -> Registry:
    """The registry of this process."""
    return Registry([*_built_in(), *_installed()])


def compile_node(node_id: str, component: str, data: Mapping[str, Any]) -> CompiledNode:
    """See `Registry.compile`, of this process's registry."""
    return default_registry().compile(node_id, component, data)


def _built_in() -> Iterator[NodeType[Any]]:
    for module in pkgutil.iter_modules(shared.nodes.__path__):
        for found in vars(import_module(f"shared.nodes.{module.name}")).values():
            if _is_node_type(found) and found.__module__ == f"{shared.nodes.__name__}.{module.name}":
                yield found()


def _is_node_type(found: object) -> TypeGuard[type[NodeType[Any]]]:
    return isinstance(found, type) and issubclass(found, NodeType) and found is not NodeType


def _installed() -> Iterator[NodeType[Any]]:
    for entry in sorted(entry_points(group=ENTRY_POINTS), key=lambda entry: entry.name):
        yield entry.load()()
