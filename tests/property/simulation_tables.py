"""The rows of the engine's tables, as the simulation keeps them in memory."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from uuid import UUID

from shared.advances import Key


@dataclass
class Run:
    """A row of ``runs``."""

    id: UUID
    payload: str = "{}"
    status: str = "pending"
    open_steps: int = 1
    seq: int = 0
    outcome: str | None = None
    error_message: str | None = None
    output: str | None = None

    @property
    def is_terminal(self) -> bool:
        return self.status in {"completed", "failed", "cancelled"}


@dataclass
class Open:
    """A row of ``open_steps``; times are seconds of the virtual clock."""

    key: Key
    status: str = "ready"
    attempt: int = 1
    claim_id: UUID | None = None
    incarnation: UUID | None = None
    sent_at: float | None = None
    sends: int = 0
    due_at: float | None = None
    crashes: int = 0
    fired: bool = True
    claim_first: bool = True
    stop: bool = False
    wake: str | None = None
    waits: str | None = None

    def give_back(self, *, crashed: bool) -> None:
        """Ready again, unsent, to be claimed."""
        self.status, self.claim_id, self.incarnation, self.sent_at = "ready", None, None, None
        self.claim_first = True
        if crashed:
            self.sends, self.crashes = 0, self.crashes + 1


@dataclass
class Settled:
    """A row of ``steps``."""

    seq: int
    status: str
    handle: str | None = None
    output: str | None = None
    error: str | None = None


@dataclass
class Iteration:
    """A row of ``iterations`` and its ``items``."""

    started: int
    halts: bool
    values: Sequence[str]
    finished: int = 0
    failed: int = 0
    stopped: bool = False
    open_steps: list[int] = field(default_factory=list)
    ended: list[bool] = field(default_factory=list)
    errors: list[str | None] = field(default_factory=list)
