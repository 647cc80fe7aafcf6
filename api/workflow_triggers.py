"""What the trigger of a workflow asks for, kept where it is looked up, in step with the current version."""

from typing import Any, Final
from uuid import UUID

from api.workflow_draft import Draft
from shared import jsontext
from shared.db import Connection
from shared.store import calls, events

_EVENT: Final = "event_trigger"
_CALLED: Final = "workflow_trigger"


async def store(connection: Connection, workspace_id: UUID, workflow_id: UUID, made: Draft) -> None:
    """Say to which event the draft listens, and what context it may be called with."""
    trigger = None if made.plan is None else made.plan.nodes[made.plan.trigger]
    component, data = (None, {}) if trigger is None else (trigger.component, trigger.data)
    if component == _EVENT:
        await events.listen(connection, workspace_id, workflow_id, data["event"], _filter(data))
    else:
        await events.forget(connection, workflow_id)
    schema = data.get("input_schema") if component == _CALLED else None
    text = None if schema is None else jsontext.encode(schema)
    await calls.set_input_schema(connection, workspace_id, workflow_id, text)


def _filter(data: dict[str, Any]) -> str | None:
    """The filter of an `event_trigger` as it is stored; None if every event passes."""
    rules = data.get("filter")
    if not rules:
        return None
    wanted = {"rules": rules if isinstance(rules, list) else [rules], "logic": data.get("logic", "AND")}
    return jsontext.encode(wanted)
