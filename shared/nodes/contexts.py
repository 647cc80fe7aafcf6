"""What steps and triggers may know and use besides their data."""

from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Protocol

import msgspec

from shared.egress.interface import Egress


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
