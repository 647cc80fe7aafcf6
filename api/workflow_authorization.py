"""Nodes that present the workflow's authorization: a workflow with one of them has one."""

from collections.abc import Iterator
from typing import Any, Final

from api.workflow_draft import Draft
from shared.errors import Fault
from shared.graph.suggest import listed
from shared.nodes.registry import Registry

#: The most nodes that a message names.
_NAMED: Final = 10


def missing(made: Draft, registry: Registry) -> list[Fault]:
    """The fault of a workflow without an authorization, if it needs one; a node that is disabled needs none."""
    nodes = made.values.get("nodes")
    names = list(_authorized(nodes, registry)) if isinstance(nodes, list) else []
    if not names:
        return []
    told = listed(names[:_NAMED]) + (f" and {more} more" if (more := len(names) - _NAMED) > 0 else "")
    message = f"authorization_id is required: {told} present the authorization of the workflow."
    return [Fault("authorization_id", "authorization_required", message)]


def _authorized(nodes: list[Any], registry: Registry) -> Iterator[str]:
    """The ids of nodes of types that are authorized, whatever else is wrong with the graph."""
    for node in nodes:
        data = node.get("data") if isinstance(node, dict) else None
        if not isinstance(data, dict) or data.get("disabled") is True:
            continue
        component = data.get("componentId") or node.get("type")
        known = registry.resolve(component) if isinstance(component, str) else None
        if known is not None and registry.type_of(known).authorized:
            yield str(node.get("id"))
