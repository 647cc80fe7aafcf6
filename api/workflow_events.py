"""The event that a workflow listens to, kept in step with its current version."""

from uuid import UUID

from api.workflow_draft import Draft
from shared import jsontext
from shared.db import Connection
from shared.store import events

_TRIGGER = "event_trigger"


async def store(connection: Connection, workspace_id: UUID, workflow_id: UUID, made: Draft) -> None:
    """Say what the draft listens to, if anything."""
    trigger = None if made.plan is None else made.plan.nodes[made.plan.trigger]
    if trigger is None or trigger.component != _TRIGGER:
        await events.forget(connection, workflow_id)
        return
    data = trigger.data
    rules = data.get("filter") or []
    text = None
    if rules:
        wanted = {"rules": rules if isinstance(rules, list) else [rules], "logic": data.get("logic", "AND")}
        text = jsontext.encode(wanted)
    await events.listen(connection, workspace_id, workflow_id, data["event"], text)
