"""A node that cannot be compiled: its step fails with the reason when it comes to it, and no other step does."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, NoReturn

from shared.errors import StepFailedError
from shared.nodes.base import Division, Exposed, NodeType, Outcome, StepContext, TriggerContext, Wait, this_clock


class Unusable:
    """Implements `CompiledNode` for data that this version of the type does not take.

    Data are checked when a workflow is saved, so this is an old version of a workflow under newer code, or the reverse.
    """

    def __init__(self, node_id: str, node_type: NodeType[Any], reason: str) -> None:
        self.id = node_id
        self.component_id = node_type.component_id
        self.kind = node_type.kind
        self.mode = node_type.mode
        self.references: frozenset[str] = frozenset()
        self.vault: frozenset[str] = frozenset()
        self.secretive = False
        self.authorized = False
        self._reason = reason

    def trigger(self, context: TriggerContext) -> Outcome:
        """Fail."""
        self._fail(context)

    def run(self, scope: Mapping[str, Any], now: Callable[[], datetime] = this_clock) -> Outcome:
        """Fail."""
        self._fail(scope, now)

    async def call(self, scope: Mapping[str, Any], context: StepContext) -> Outcome:
        """Fail."""
        self._fail(scope, context)

    async def exposes(self, scope: Mapping[str, Any]) -> Exposed:  # noqa: ARG002 — nothing is rendered
        """Nothing."""
        return Exposed([])

    def begin(self, scope: Mapping[str, Any], context: StepContext) -> Wait:
        """Fail."""
        self._fail(scope, context)

    def resume(self, scope: Mapping[str, Any], context: StepContext) -> Outcome:
        """Fail."""
        self._fail(scope, context)

    def divide(self, scope: Mapping[str, Any]) -> Division:
        """Fail."""
        self._fail(scope)

    def _fail(self, *_: object) -> NoReturn:
        raise StepFailedError("invalid_data", f"The node cannot run: {self._reason}")
