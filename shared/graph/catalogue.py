"""What the graph core asks about node types. `shared.nodes` answers; the graph core knows no type by name."""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any, Final, Protocol

from shared.errors import Fault

#: Fields of ``data`` that belong to the engine. The graph core reads and checks them; no node type may declare them.
SETTINGS_FIELDS: Final = ("continue_on_error", "timeout", "retry", "join", "disabled", "on_crash")
#: Fields of ``data`` that every node takes and nothing executes.
DOCUMENTATION_FIELDS: Final = ("componentId", "description", "label", "uiId", "notes")
#: The field that some types have as a field of their own, while editors write it beside the data of any node.
OPERATION_FIELD: Final = "operation"
#: Names a template may start with besides the ids of its ancestors. ``nodes`` alone is a look-up by a computed id.
CONTEXT_ROOTS: Final = ("trigger", "run", "workflow", "vault", "nodes")
#: What stands before a node's id where a template names the link of its step.
LINK_ROOT: Final = "run.links."


class Kind(StrEnum):
    """Where a node may stand in a graph."""

    TRIGGER = "trigger"
    ACTION = "action"
    CONDITION = "condition"


class Mode(StrEnum):
    """How the engine runs a node.

    ``pure``: `NodeType.run`, in process, microseconds, touches nothing outside; may be run again at will.
    ``effect``: `NodeType.call`, after a commit that says it is running; at least once, with the same key.
    ``wait``: `NodeType.begin` says until when; the step is a row in Postgres meanwhile; `NodeType.resume` ends it.
    ``iterate``: `NodeType.divide` gives items; the nodes behind its handle ``item`` run once for each, then ``done``.
    """

    PURE = "pure"
    EFFECT = "effect"
    WAIT = "wait"
    ITERATE = "iterate"


class Catalogue(Protocol):
    """The node types of this process, by component id.

    All methods but `resolve` take a canonical id, as `resolve` returned it, and ``data`` without `SETTINGS_FIELDS` and
    `DOCUMENTATION_FIELDS`, and without `OPERATION_FIELD` unless the type `operates`. None of them raises because of
    what a caller put into ``data``.
    """

    def resolve(self, component: str) -> str | None:
        """The canonical id of a component id or alias, or None if there is no such type."""
        ...

    def names(self) -> Sequence[str]:
        """Every legal component id, for "did you mean"."""
        ...

    def kind(self, component: str) -> Kind | None:
        """Where nodes of this type may stand, or None if there is no such type."""
        ...

    def mode(self, component: str) -> Mode:
        """How nodes of this type run."""
        ...

    def asks(self, component: str) -> bool:
        """Whether steps of this type wait for an answer to their link."""
        ...

    def operates(self, component: str) -> bool:
        """Whether `OPERATION_FIELD` is a field of this type's own; if not, it documents the node."""
        ...

    def handles(self, component: str, data: Mapping[str, Any]) -> tuple[str, ...]:
        """The named handles of a node with this unchecked ``data``; empty for the single unnamed output."""
        ...

    def check(self, component: str, data: Mapping[str, Any], path: str) -> tuple[list[Fault], frozenset[str]]:
        """Check ``data``: unknown fields, types, templates.

        Args:
            component: a canonical id.
            data: what stands flat in the node's ``data``, as the caller sent it.
            path: where ``data`` stands, to begin the faults' paths with: ``nodes[2].data``.

        Returns:
            Every fault, and the root names its templates use: node ids and `CONTEXT_ROOTS`. ``nodes["x"]`` counts as
            ``x``; ``nodes`` with a computed key counts as ``nodes``, which stands for every ancestor; ``run.links.x``
            counts as ``run``, and as ``run.links.x`` besides (`LINK_ROOT`).
        """
        ...
