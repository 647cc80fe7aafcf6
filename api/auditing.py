"""The audit rows of what callers do."""

from api.call import Call
from shared.db import Connection
from shared.store import audit


async def note(
    connection: Connection, call: Call, action: str, target: str, *, before: str | None, after: str | None
) -> None:
    """Write the audit row of something done in the caller's workspace, in the transaction that does it.

    ``target`` is the id of what was made or changed, ``before`` and ``after`` what is kept a digest of.
    """
    entry = audit.Entry(
        id=call.services.mint.uuid(),
        workspace_id=call.workspace_id,
        actor=call.principal.subject,
        action=action,
        target=target,
        before=before,
        after=after,
        request_id=call.request_id,
    )
    await audit.add(connection, entry)
