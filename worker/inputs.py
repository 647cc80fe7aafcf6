"""Calls of workflows that ask something of their input: those that do not fit start no run, and their steps fail."""

import asyncio
from collections.abc import Sequence
from uuid import UUID

import msgspec

from shared.advances import Advance, ChildCall
from shared.db import Connection
from shared.inputs import input_faults
from shared.jsontext import decode, encode
from shared.store import calls
from shared.store.advance import Committed


async def refuse_calls(connection: Connection, advances: Sequence[Advance], committed: Committed) -> set[UUID]:
    """Refuse calls whose context the workflow does not take, in the transaction of their steps' commit.

    Returns:
        The ids of the runs that are not to start.
    """
    made = [
        (advance.run_id, call)
        for unit, advance in enumerate(advances)
        if committed.held.get(unit)
        for call in advance.calls
    ]
    if not made:
        return set()
    schemas = await calls.input_schemas(connection, {call.workflow_id for _, call in made})
    refused = set()
    for run_id, call in made:
        schema = schemas.get(call.workflow_id)
        if schema is not None and (faults := await asyncio.to_thread(_faults, schema, call)):
            committed.bells.extend(await calls.refuse(connection, run_id, call.node_id, call.item, faults))
            refused.add(call.child_run_id)
    return refused


def _faults(schema: str, call: ChildCall) -> str | None:
    """What is wrong with the context of a call, as JSON; None if nothing is."""
    found = input_faults(schema, decode(call.payload))
    return encode(msgspec.to_builtins(found)) if found else None
