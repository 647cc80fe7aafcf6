"""What a schedule leads to: ``/workflows/{id}/schedule`` and ``/workflows/schedule/preview``."""

from typing import Final

from aiohttp import web

from api import schedule_slots
from api.access import Scope
from api.answers import json_answer
from api.bodies import read_definition
from api.call import Call, found
from api.queries import read_query
from api.routing import Routes
from api.schedule_slots import Slots, SlotsQuery
from api.workflow_fields import ScheduleFields
from shared.ids import Prefix
from shared.store import workflows

ROUTES: Final = Routes()


@ROUTES.route(
    "GET",
    "/workflows/{id}/schedule",
    access=Scope.WORKFLOWS_READ,
    summary="List the next times at which a workflow's schedule starts it; none while it is paused or manual",
    query=SlotsQuery,
    answers={200: Slots},
)
async def list_slots(call: Call) -> web.Response:
    """The first is ``next_run_at``; fewer than ``next`` if there are no more, or finding them takes too long."""
    count = read_query(SlotsQuery, call.request).get("next", SlotsQuery().next)
    workflow_id = call.path_id(Prefix.WORKFLOW)
    async with call.reading() as connection:
        row = found(await workflows.get(connection, call.workspace_id, workflow_id), "workflow", call)
        now = await workflows.now(connection)
    return json_answer(200, await schedule_slots.of_workflow(row, now, count)).response()


@ROUTES.route(
    "POST",
    "/workflows/schedule/preview",
    access=Scope.WORKFLOWS_READ,
    summary="List the next times of a schedule without storing it",
    body=ScheduleFields,
    query=SlotsQuery,
    answers={200: Slots},
)
async def preview_slots(call: Call) -> web.Response:
    """As if a workflow with it were saved now; 422 with every fault."""
    count = read_query(SlotsQuery, call.request).get("next", SlotsQuery().next)
    _, raw = await read_definition(call.request)
    async with call.reading() as connection:
        now = await workflows.now(connection)
    return json_answer(200, await schedule_slots.of_draft(raw, now, count)).response()
