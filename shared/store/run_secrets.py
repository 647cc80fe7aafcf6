"""The secrets that runs under way have used, encrypted with the key ring: blanked in what the runs leave behind."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple
from uuid import UUID

from shared.db import Connection
from shared.queries import columns, load
from shared.store.duties import changed

_SQL = load("run_secrets")


class Note(NamedTuple):
    """A secret that a run is about to use.

    Attributes:
        digest: 32 bytes that only who has the key ring can make of the secret; each stands once.
        secret: encrypted; `secret_context` of the run decrypts it.
    """

    run_id: UUID
    workspace_id: UUID
    digest: bytes
    secret: bytes


def secret_context(run_id: UUID) -> str:
    """What binds an encrypted secret to its run."""
    return f"run_secrets.secret:{run_id}"


async def note(connection: Connection, notes: Iterable[Note]) -> None:
    """Keep secrets of runs; those that are kept already stay."""
    await connection.execute(_SQL["note"], *columns(sorted(set(notes)), 4))


async def of_runs(connection: Connection, run_ids: Sequence[UUID]) -> dict[UUID, list[bytes]]:
    """What runs have used so far, encrypted."""
    found: dict[UUID, list[bytes]] = {run_id: [] for run_id in run_ids}
    for run_id, secret in await connection.fetch(_SQL["of_runs"], list(found)):
        found[run_id].append(secret)
    return found


async def remove_old(connection: Connection, limit: int) -> int:
    """Remove secrets of runs that have ended; gives how many."""
    return changed(await connection.execute(_SQL["remove_old"], limit))
