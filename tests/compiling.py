"""Nodes as a run has them, without a run."""

from collections.abc import Mapping
from typing import Any

from shared.nodes.base import CompiledNode
from shared.nodes.registry import default_registry


def compile_node(node_id: str, component: str, data: Mapping[str, Any]) -> CompiledNode:
    """A node of this data; see `shared.nodes.registry.Registry.compile`."""
    return default_registry().compile(node_id, component, data)
