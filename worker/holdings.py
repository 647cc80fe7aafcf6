"""The steps this worker holds under a claim, and how each can be aborted."""

import asyncio
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum
from uuid import UUID


class Abort(Enum):
    """Why a step in flight is aborted.

    ``LOST``: somebody else has it; nothing is written. ``STOPPED``: its run is being ended; it is recorded as
    cancelled. ``SHUTDOWN``: the grace period is over; it is given back.
    """

    LOST = "lost"
    STOPPED = "stopped"
    SHUTDOWN = "shutdown"


class LostError(Exception):
    """This worker does not hold the step any more; nothing of it is written."""


@dataclass(slots=True)
class Entry:
    """One claim; made before the claim is sent, so that the database can never know more than memory.

    Attributes:
        begun: the step's effect may have happened, in part or whole.
        once: it must not happen again.
    """

    entered_at: float = field(default_factory=time.monotonic)
    confirmed: bool = False
    task: "asyncio.Task[object] | None" = None
    abort: Abort | None = None
    begun: bool = False
    once: bool = False


class Held:
    """All claims of this worker. Implements `worker.incarnation.Holdings`."""

    def __init__(self) -> None:
        self._entries: dict[UUID, Entry] = {}
        self._left: dict[UUID, float] = {}  # claims whose effect began, and when they were left

    def __len__(self) -> int:
        return len(self._entries)

    def enter(self, claim_id: UUID) -> Entry:
        """A claim is about to be sent."""
        entry = self._entries[claim_id] = Entry()
        return entry

    def confirm(self, claim_id: UUID) -> None:
        """The database has the claim."""
        entry = self._entries.get(claim_id)
        if entry is not None:
            entry.confirmed = True
            entry.entered_at = time.monotonic()

    def leave(self, claim_id: UUID) -> None:
        """The claim is settled, given back, or was never granted."""
        entry = self._entries.pop(claim_id, None)
        if entry is not None and entry.begun:
            self._left[claim_id] = time.monotonic()

    def get(self, claim_id: UUID) -> Entry | None:
        """The entry of a claim, None once it was dropped."""
        return self._entries.get(claim_id)

    def compare(self, asked_at: float, held: dict[UUID, bool]) -> list[UUID]:
        """See `worker.incarnation.Holdings.compare`."""
        for claim_id, entry in list(self._entries.items()):
            if claim_id in held:
                if held[claim_id]:
                    self._abort(entry, Abort.STOPPED)
            elif entry.confirmed and entry.entered_at < asked_at and entry.task is not None:
                self._abort(entry, Abort.LOST)
        self._left = {
            claim_id: left_at for claim_id, left_at in self._left.items() if claim_id in held or left_at >= asked_at
        }
        return [claim_id for claim_id in held if claim_id not in self._entries]

    def begun(self, claims: Iterable[UUID]) -> list[UUID]:
        """Those of these claims that were left although their effect began, and are still not settled."""
        return [claim_id for claim_id in claims if claim_id in self._left]

    def drop(self) -> None:
        """Everything is lost."""
        self.abort_all(Abort.LOST)
        self._entries.clear()
        self._left.clear()

    def abort_all(self, reason: Abort) -> None:
        """Abort every effect in flight."""
        for entry in list(self._entries.values()):
            self._abort(entry, reason)

    def claims(self) -> list[UUID]:
        """The ids of all claims."""
        return list(self._entries)

    def spent(self) -> list[UUID]:
        """The ids of claims whose effect began and must not happen again."""
        return [claim_id for claim_id, entry in self._entries.items() if entry.begun and entry.once]

    @staticmethod
    def _abort(entry: Entry, reason: Abort) -> None:
        if entry.abort is None and entry.task is not None:
            entry.abort = reason
            entry.task.cancel()
