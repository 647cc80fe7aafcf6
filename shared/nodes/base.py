"""What a node type is: the interface every file of this package, and every plugin, implements.

A node type declares its ``componentId``, what kind of node it is, how the engine runs it, a msgspec Struct for its
``data``, its handles and one example. The engine never asks what type a node is; it asks for its `Mode`.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, ClassVar, Generic, Literal, Protocol, TypeVar
from uuid import UUID

import msgspec

from shared.egress.interface import Egress
from shared.graph.catalogue import Kind, Mode
from shared.nodes.extras import Extra
from shared.questions import Question
from shared.states import Waits
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


class Terminate(msgspec.Struct, frozen=True):
    """Ends the whole run at once, with this status, message and output."""

    status: Literal["completed", "failed"]
    message: str | None = None
    output: Any = None


class Outcome(msgspec.Struct, frozen=True):
    """How a step ended well.

    Attributes:
        output: an object; what templates behind this node see under its id.
        handle: the named handle taken, or None for the single unnamed output.
        step_input: what an effect was called with, for its log entry; never a secret.
        terminate: set by `terminate` alone.
    """

    output: dict[str, Any]
    handle: str | None = None
    step_input: Any = None
    terminate: Terminate | None = None


class WorkflowCall(msgspec.Struct, frozen=True):
    """A run that the step starts, in the transaction in which it begins to wait.

    Attributes:
        workflow_id: of the same workspace.
        payload: what the run is started with.
        waits: whether the step goes on with the run's end; if not it goes on at once.
    """

    workflow_id: UUID
    payload: dict[str, Any]
    waits: bool


class EventCall(msgspec.Struct, frozen=True):
    """An event that the step publishes, in the transaction in which it begins to wait; it goes on in the same one.

    What ends the wait is an ``answer`` whose outcome is ``published``, with ``run_ids`` as its data, or says why not.
    """

    name: str
    payload: Any


class Wait(msgspec.Struct, frozen=True):
    """The step waits until a moment of Postgres's clock, or for an answer, or a run's end, that comes before it.

    Attributes:
        reason: what it waits for: a timer, a callback, a person or a run.
        question: what is asked of whoever follows the step's link; only for callbacks and persons.
        call: the run that it starts and waits for.
        event: what it publishes.
    """

    until: datetime
    reason: Waits = Waits.TIMER
    question: Question | None = None
    call: WorkflowCall | None = None
    event: EventCall | None = None


class Division(msgspec.Struct, frozen=True):
    """What an iterator goes over.

    Attributes:
        items: at most 10,000 values.
        concurrency: how many of them may be under way at once.
        halts: whether a failed item stops the others.
    """

    items: list[Any]
    concurrency: int
    halts: bool


class Grant(msgspec.Struct, frozen=True):
    """What a step presents to the API that its workflow's authorization is for.

    Attributes:
        base_url: of the API, without a slash at its end.
        header: name and value of the one header that is put in.
        secrets: every text that must show nowhere; the run is told them before this is given.
        renewable: whether there may be another one after a refusal (401).
        generation: which of the authorization's tokens it is.
        renewed: whether it was given in answer to a refusal.
    """

    base_url: str
    header: tuple[str, str]
    secrets: tuple[str, ...]
    renewable: bool = False
    generation: int = 0
    renewed: bool = False

    def __repr__(self) -> str:
        """Nothing secret."""
        return f"Grant({self.base_url!r}, generation={self.generation})"


class Authorization(Protocol):
    """The authorization of the version that a run is of."""

    async def grant(self, refused: Grant | None = None) -> Grant:
        """What to present now; a token that is about to end was renewed before.

        Args:
            refused: the grant that was just answered with 401, so that a newer one is wanted.

        Raises:
            StepFailedError: ``authorization_revoked``, which stays so; ``authorization_pending`` before anybody has
                consented; ``token_unavailable`` if the provider is away or in trouble (a category that is retried).
        """
        ...


async def _nobody(_: str) -> None:
    """Where nothing of a step is kept, nothing needs to be blanked."""


class StepContext(msgspec.Struct, frozen=True):
    """What a running step may know and use besides its data.

    Attributes:
        idempotency_key: ``<run>:<node>:<item>``, equal in every attempt.
        attempt: 1 for the first.
        now: Postgres's time when the step started, UTC.
        started: for `NodeType.resume`, when the wait began.
        timeout: seconds this attempt may take.
        egress: the one client for everything that leaves.
        wake: for `NodeType.resume`, what ended the wait: ``timer``, ``answer``, ``child`` (the run that it started), or
            why that run could not start: ``gone``, ``inactive``, ``not_callable``, ``too_deep``.
        authorization: of the workflow, or None if it has none; types that are not `NodeType.authorized` have None, too.
        uses_secret: is told every secret that the step presents to somebody and that its templates do not read, such as
            an access token, before it does. It returns once the secret is durably among those that are blanked in
            whatever this run leaves behind. The type must be `NodeType.secretive`.
        brought: what came with it; of an answer ``{"outcome", "data"}``, of a run ``{"run_id", "status", "output",
            "error"}``.
        rendered: seconds of processor time that its templates have taken already, out of what they have together.
    """

    run_id: str
    node_id: str
    item: str
    attempt: int
    idempotency_key: str
    now: datetime
    timeout: float
    egress: Egress
    wake: str = "timer"
    brought: Mapping[str, Any] = {}
    authorization: Authorization | None = None
    uses_secret: Callable[[str], Awaitable[None]] = _nobody
    rendered: float = 0.0


class Exposed(msgspec.Struct, frozen=True):
    """Texts that the templates of a step make of values of the vault.

    Attributes:
        seconds: of processor time that it took to find them out; what calls the step has so much less.
    """

    texts: list[str]
    seconds: float = 0.0


class TriggerContext(msgspec.Struct, frozen=True):
    """What a trigger makes its output of.

    Attributes:
        payload: the run's stored ``trigger_payload``: for a webhook `{webhook_payload, headers, query, method,
            received_at}`, for a manual start the caller's context, for a schedule `{scheduled_at}`. An object, unless
            the type says `NodeType.any_payload`.
        trigger_type: what really started the run (any workflow can be started by hand).
    """

    run_id: str
    trigger_type: str
    payload: Any


def this_clock() -> datetime:
    """The time by this process's own clock, UTC; in a worker Postgres's clock stands in for it."""
    return datetime.now(UTC)


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
