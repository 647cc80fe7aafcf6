"""What reading a run needs of the version it is of: component ids by node, and the trigger that makes its output."""

from collections.abc import Mapping
from functools import partial
from typing import Any, Final
from uuid import UUID

import msgspec

from api.bounded import BoundedCache
from shared import jsontext
from shared.db import Connection
from shared.errors import EdgewiseError
from shared.nodes.base import CompiledNode, Kind, Mode, TriggerContext
from shared.nodes.registry import Registry
from shared.off_loop import off_loop
from shared.store.runs_read import graph_nodes

#: Versions never change, so they are kept until there are too many.
_SIZE: Final = 512
_REMEMBERED: Final = 3600.0


class RunGraph(msgspec.Struct, frozen=True):
    """The nodes of one version.

    Attributes:
        components: canonical component id by node id.
        waits: ids of the nodes that wait.
        iterators: ids of the iterators.
        trigger: the trigger node, None if no such type is installed here.
    """

    components: Mapping[str, str]
    waits: frozenset[str]
    trigger: CompiledNode | None
    iterators: frozenset[str] = frozenset()

    def trigger_output(self, run_id: str, trigger_type: str, payload: str) -> Any:
        """What the trigger gave out; None if that can't be told here."""
        if self.trigger is None:
            return None
        try:
            context = TriggerContext(run_id, trigger_type, jsontext.decode(payload))
            return self.trigger.trigger(context).output
        except EdgewiseError:
            return None


EMPTY: Final = RunGraph({}, frozenset(), None)


class RunGraphs:
    """The graphs of versions that were read lately."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._known: BoundedCache[tuple[UUID, int], RunGraph] = BoundedCache(_SIZE, _REMEMBERED)

    async def get(self, connection: Connection, workflow_id: UUID, version: int) -> RunGraph:
        """The graph of a version; empty once its workflow was removed."""
        key = (workflow_id, version)
        graph = self._known.get(key)
        if graph is None:
            source = await graph_nodes(connection, workflow_id, version)
            graph = EMPTY
            if source is not None:
                graph = await off_loop(partial(self._read, jsontext.decode(source)), len(source))
            self._known.put(key, graph)
        return graph

    def _read(self, nodes: list[dict[str, Any]]) -> RunGraph:
        registry = self._registry
        components = {node["id"]: _component(registry, node) for node in nodes}
        waits = {name for name, component in components.items() if _is(registry, component, Mode.WAIT)}
        triggers = (node for node in nodes if registry.kind(components[node["id"]]) is Kind.TRIGGER)
        trigger = next(triggers, None)
        compiled = None
        if trigger is not None:
            compiled = registry.compile(trigger["id"], components[trigger["id"]], trigger.get("data", {}))
        iterators = {name for name, component in components.items() if _is(registry, component, Mode.ITERATE)}
        return RunGraph(components, frozenset(waits), compiled, frozenset(iterators))


def _component(registry: Registry, node: Mapping[str, Any]) -> str:
    """The canonical component id of a node, or what it says if no such type is installed here."""
    name = node.get("data", {}).get("componentId")
    said = str(node.get("type") if name is None else name)
    return registry.resolve(said) or said


def _is(registry: Registry, component: str, mode: Mode) -> bool:
    return registry.kind(component) is not None and registry.mode(component) is mode
