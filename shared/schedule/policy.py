"""What the settings of a workflow say about its schedule, beside its type and value."""

from datetime import timedelta
from hashlib import blake2b
from typing import Final, Literal
from uuid import UUID

import msgspec

from shared.schedule.model import Schedule

#: The longest `jitter`, in seconds: a day.
MOST_JITTER: Final = 86_400


class Policy(msgspec.Struct, frozen=True):
    """The settings of a schedule; other settings are passed over.

    Attributes:
        dst_gap, dst_fold: see `Schedule`.
        jitter: seconds over which workflows with one schedule are spread.
        missed_runs: which of the slots are made up for that passed while nobody could fire them.
        overlap: what becomes of a slot that comes while a run of an earlier one is under way.
    """

    dst_gap: Literal["shift", "skip"] = "shift"
    dst_fold: Literal["first", "last", "both"] = "first"
    jitter: int = 0
    missed_runs: Literal["one", "all", "none"] = "one"
    overlap: Literal["allow", "skip", "queue", "cancel_running"] = "allow"

    def schedule(self, kind: str, value: str | None, timezone: str) -> Schedule:
        """The schedule of this type, value and zone."""
        return Schedule(kind, value, timezone, self.dst_gap, self.dst_fold)

    def delay(self, workflow_id: UUID) -> timedelta:
        """How long after its slot a workflow starts: whole seconds from 0 to `jitter`, the same for every slot."""
        if not self.jitter:
            return timedelta(0)
        drawn = int.from_bytes(blake2b(workflow_id.bytes, digest_size=8).digest(), "big")
        return timedelta(seconds=drawn % (self.jitter + 1))


_decoder: Final = msgspec.json.Decoder(Policy)
_DEFAULT: Final = Policy()


def read_policy(settings: str) -> Policy:
    """The policy in the settings of a workflow.

    Args:
        settings: JSON text.

    Raises:
        msgspec.DecodeError: if it is not an object with legal values.
    """
    return _DEFAULT if settings == "{}" else _decoder.decode(settings)
