"""What a node type is: the interface every file of this package, and every plugin, implements.

A node type declares its ``componentId``, what kind of node it is, how the engine runs it, a msgspec Struct for its
``data``, its handles and one example. The engine never asks what type a node is; it asks for its `Mode`.

What steps are given is in `shared.nodes.contexts`, what they give in `shared.nodes.outcomes`; types take all of it from
here.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, ClassVar, Generic, Protocol, TypeVar

import msgspec

from shared.graph.catalogue import Kind, Mode
from shared.nodes.contexts import Authorization, Exposed, Grant, StepContext, TriggerContext, this_clock
from shared.nodes.extras import Extra
from shared.nodes.outcomes import Division, EventCall, Outcome, Terminate, Wait, WorkflowCall
from shared.questions import Question
from shared.templates.fields import Rendering

__all__ = [
    "Authorization",
    "CompiledNode",
    "DataT",
    "Division",
    "EventCall",
    "Exposed",
    "Grant",
    "Kind",
    "Mode",
    "NodeType",
    "Outcome",
    "StepContext",
    "Terminate",
    "TriggerContext",
    "Wait",
    "WorkflowCall",
    "this_clock",
]

DataT = TypeVar("DataT", bound=msgspec.Struct)


class NodeType(Generic[DataT]):
    """One type of node. Subclasses set the class attributes and implement the method of their mode.

    Attributes:
        component_id: its name in ``data.componentId``.
        aliases: other names accepted on input.
        title: for people.
        kind, mode: see `Kind` and `Mode`. A pure type implements `run` (a trigger `trigger`), an effect `call`, a wait
            `begin` and `resume`, an iterator `divide`.
        data_type: the Struct of ``data`` without the fields every node takes; a field's annotation says how templates
            in it are rendered (`shared.nodes.fields`).
        example: a ``data`` object that validates, and runs in the conformance suite.
        example_context: outputs by node id that the example's templates refer to.
        extras: what it needs beside the plain installation; each of them is looked for when a graph is saved.
        timed: whether a pure type needs the time; such a type implements `run_at` instead of `run`.
        secretive: whether its steps use secrets that its templates do not read; `StepContext.uses_secret` is told.
        asks: whether its steps wait for an answer to their link (``run.links``); such a type implements `question`.
        any_payload: whether a trigger takes a payload that is no object; others get such a one as ``{payload}``.
        authorized: whether its steps use the workflow's authorization, which such a workflow must have; that makes it
            secretive, too.
    """

    component_id: ClassVar[str]
    aliases: ClassVar[tuple[str, ...]] = ()
    title: ClassVar[str]
    kind: ClassVar[Kind]
    mode: ClassVar[Mode] = Mode.PURE
    data_type: ClassVar[type[msgspec.Struct]]
    example: ClassVar[Mapping[str, Any]]
    example_context: ClassVar[Mapping[str, Any]] = {}
    extras: ClassVar[tuple[Extra, ...]] = ()
    timed: ClassVar[bool] = False
    asks: ClassVar[bool] = False
    any_payload: ClassVar[bool] = False
    authorized: ClassVar[bool] = False
    secretive: ClassVar[bool] = False

    def handles(self, data: Mapping[str, Any]) -> tuple[str, ...]:  # noqa: ARG002 — most types have none
        """The named handles of a node with this raw ``data``; empty for the single unnamed output."""
        return ()

    def check(self, data: Mapping[str, Any]) -> list[tuple[str, str]]:  # noqa: ARG002 — most types need none
        """Faults that a schema cannot state, as (path within data, message).

        ``data`` is as the author wrote it: every value has its field's type or is a template (`is_template`).
        """
        return []

    def calls(self, data: Mapping[str, Any]) -> str | None:  # noqa: ARG002 — most types call none
        """The id of the workflow that a node with this raw, faultless ``data`` calls."""
        return None

    def answers(self, data: Mapping[str, Any]) -> bool:  # noqa: ARG002 — most types do not
        """Whether what a node with this raw ``data`` gives out answers the request that started the run.

        Its output has ``text``, and what its step was called with is a `shared.responses.Head`.
        """
        return False

    def vault_names(self, data: Mapping[str, Any]) -> Iterable[tuple[str, str]]:  # noqa: ARG002 — most types name none
        """The vault items that a node with this raw, faultless ``data`` names besides its templates.

        As (path within data, name): ``("signature.secret", "github")``. They must exist when a workflow is saved.
        """
        return ()

    def renderings(self, data: Mapping[str, Any]) -> Mapping[str, Rendering]:  # noqa: ARG002 — most types need none
        """Fields whose rendering depends on this raw ``data`` rather than on their annotation alone."""
        return {}

    def payload_type(self, paths: Iterable[Sequence[object]]) -> Any:  # noqa: ARG002 — most take all of it
        """What a request's payload is decoded to for templates that follow these paths from the trigger's output.

        The type, one of msgspec's, may leave out what none of them reaches. Segments are names, indices, and lists for
        what is computed.
        """
        return Any

    def trigger(self, data: DataT, context: TriggerContext) -> Outcome:
        """The output of a trigger node."""
        raise NotImplementedError

    def run(self, data: DataT) -> Outcome:
        """Run a pure node on its rendered data.

        Raises:
            StepFailedError: with the path of what is wrong, if the data will not do.
        """
        raise NotImplementedError

    def run_at(self, data: DataT, now: Callable[[], datetime]) -> Outcome:
        """Run a pure node that is `timed`; ``now`` gives the time, by Postgres's clock in a worker, UTC.

        Raises:
            StepFailedError: as `run`.
        """
        raise NotImplementedError

    async def call(self, data: DataT, context: StepContext) -> Outcome:
        """Run an effect.

        Raises:
            StepFailedError: with the category that decides about a retry.
        """
        raise NotImplementedError

    def begin(self, data: DataT, context: StepContext) -> Wait:
        """Start a wait."""
        raise NotImplementedError

    def resume(self, data: DataT, context: StepContext) -> Outcome:
        """End a wait that came due, or was answered."""
        raise NotImplementedError

    def question(self, data: DataT) -> Question:
        """What is asked by a step with this data, rendered or as the author wrote it: both ask for the same fields."""
        raise NotImplementedError

    def divide(self, data: DataT) -> Division:
        """Say what an iterator goes over.

        Raises:
            StepFailedError: if that is no list, or too long a one.
        """
        raise NotImplementedError


class CompiledNode(Protocol):
    """A node of one workflow version, ready to run: templates parsed, constant data converted. Cached by the worker.

    Attributes:
        references: the names its templates begin with.
        vault: the vault items that they read.
        secretive: whether its steps use secrets, of the vault or others.
        authorized: whether its steps are handed the workflow's authorization.
    """

    id: str
    component_id: str
    kind: Kind
    mode: Mode
    references: frozenset[str]
    vault: frozenset[str]
    secretive: bool
    authorized: bool

    def trigger(self, context: TriggerContext) -> Outcome:
        """See `NodeType.trigger`."""

    def run(self, scope: Mapping[str, Any], now: Callable[[], datetime] = this_clock) -> Outcome:
        """Render the data in ``scope`` (outputs by node id, ``trigger``, ``nodes``, ``run``, ``workflow``) and run."""

    async def call(self, scope: Mapping[str, Any], context: StepContext) -> Outcome:
        """Render the data and call the effect; ``vault`` of the scope has the items that `vault` names."""

    async def exposes(self, scope: Mapping[str, Any]) -> Exposed:
        """What the data will hold that is made of the vault's values.

        Raises:
            StepFailedError: ``template_error`` if that takes all the time that the node's templates have.
        """

    def begin(self, scope: Mapping[str, Any], context: StepContext) -> Wait:
        """Render the data and start the wait."""

    def resume(self, scope: Mapping[str, Any], context: StepContext) -> Outcome:
        """Render the data and end the wait."""

    def divide(self, scope: Mapping[str, Any]) -> Division:
        """Render the data and say what the iterator goes over."""
