"""``/workflows``: create, read, list, change, delete, validate."""

from typing import Annotated, Final

import msgspec
from aiohttp import web
from msgspec import Meta

from api import idempotency, workflow_saving
from api.access import Scope
from api.answers import Answer, json_answer
from api.bodies import read_definition
from api.call import Call, found
from api.paging import next_page
from api.queries import read_cursor, read_query
from api.routing import Routes
from api.workflow_fields import CallableWorkflow, NewWorkflow, ScheduleType, Workflow, WorkflowChange
from api.workflow_view import etag, present
from shared import jsontext
from shared.db import Connection
from shared.errors import Fault
from shared.ids import Prefix, encode
from shared.store import calls, workflows
from shared.store.workflows import Filters, WorkflowRow

ROUTES: Final = Routes()
_DEFAULT_LIMIT: Final = 50


class WorkflowQuery(msgspec.Struct, frozen=True):
    """Filters of the list of workflows."""

    is_active: Annotated[bool | None, Meta(description="true or false")] = None
    schedule_type: Annotated[
        ScheduleType | None, Meta(description="one of manual, interval, cron, daily, weekly, monthly")
    ] = None
    q: Annotated[
        Annotated[str, Meta(min_length=1, max_length=255)] | None,
        Meta(description="a text of 1 to 255 characters that stands in the name or the description"),
    ] = None
    limit: Annotated[Annotated[int, Meta(ge=1, le=200)] | None, Meta(description="a whole number from 1 to 200")] = None
    cursor: Annotated[str | None, Meta(description="the cursor of a Link header")] = None


class Validity(msgspec.Struct, frozen=True):
    """What `validate` found: every fault as a sentence, and again with its path."""

    valid: bool
    errors: list[str]
    details: list[Fault]


@ROUTES.route(
    "GET",
    "/workflows",
    access=Scope.WORKFLOWS_READ,
    summary="List workflows, newest first; all of them unless limit or cursor is given",
    query=WorkflowQuery,
    answers={200: list[Workflow]},
)
async def list_workflows(call: Call) -> web.Response:
    """Newest first, without graphs."""
    query = read_query(WorkflowQuery, call.request)
    before = read_cursor(Prefix.WORKFLOW, "cursor", query.get("cursor"))
    limit = query.get("limit", None if before is None else _DEFAULT_LIMIT)
    filters = Filters(query.get("is_active"), query.get("schedule_type"), query.get("q"), before, limit and limit + 1)
    async with call.reading() as connection:
        rows = await workflows.list_all(connection, call.workspace_id, filters)
    shown = rows if limit is None else rows[:limit]
    objects = [_object(call, row) for row in shown]
    headers = next_page(call, objects[-1].id, limit=str(limit)) if len(rows) > len(shown) else {}
    return json_answer(200, objects, headers=headers).response()


@ROUTES.route(
    "POST",
    "/workflows",
    access=Scope.WORKFLOWS_WRITE,
    summary="Create a workflow",
    body=NewWorkflow,
    answers={201: Workflow},
    idempotent=True,
)
async def create_workflow(call: Call) -> web.Response:
    """201 with the workflow, or 422 with every fault."""
    body, raw = await read_definition(call.request)

    async def work(connection: Connection) -> Answer:
        made = _answer(call, 201, row := await workflow_saving.create(connection, call, raw))
        place = f"{call.services.config.public_url}/workflows/{encode(Prefix.WORKFLOW, row.id)}"
        return msgspec.structs.replace(made, headers={**made.headers, "Location": place})

    async with call.services.saves.turn(call.workspace_id):
        return await idempotency.once(call, body, work)


@ROUTES.route(
    "POST",
    "/workflows/validate",
    access=Scope.WORKFLOWS_READ,
    summary="Check a workflow without storing it",
    body=NewWorkflow,
    answers={200: Validity},
)
async def validate_workflow(call: Call) -> web.Response:
    """200 whatever the outcome."""
    _, raw = await read_definition(call.request)
    faults = await workflow_saving.validate(call, raw)
    errors = [f"{fault.path}: {fault.message}" for fault in faults]
    return json_answer(200, Validity(not faults, errors, faults)).response()


@ROUTES.route(
    "GET",
    "/workflows/callable",
    access=Scope.WORKFLOWS_READ,
    summary="List the active workflows that trigger_workflow may call, newest first",
    answers={200: list[CallableWorkflow]},
)
async def list_callable(call: Call) -> web.Response:
    """Those that begin with a workflow_trigger, without graphs, and what each asks of its context."""
    async with call.reading() as connection:
        rows = await workflows.list_callable(connection, call.workspace_id)
        schemas = await calls.input_schemas(connection, [row.id for row in rows])
    shown = [_object(call, row) for row in rows]
    asking = [msgspec.Raw(jsontext.to_bytes(schemas.get(row.id, "null"))) for row in rows]
    found = [
        CallableWorkflow(**msgspec.structs.asdict(each), input_schema=schema)
        for each, schema in zip(shown, asking, strict=True)
    ]
    return json_answer(200, found).response()


@ROUTES.route(
    "GET",
    "/workflows/{id}",
    access=Scope.WORKFLOWS_READ,
    summary="Get a workflow with its graph",
    answers={200: Workflow},
)
async def get_workflow(call: Call) -> web.Response:
    """With an ETag for ``If-Match``."""
    workflow_id = call.path_id(Prefix.WORKFLOW)
    async with call.reading() as connection:
        row = found(await workflows.get(connection, call.workspace_id, workflow_id), "workflow", call)
    return _answer(call, 200, row).response()


@ROUTES.route(
    "PUT",
    "/workflows/{id}",
    access=Scope.WORKFLOWS_WRITE,
    summary="Change what is sent of a workflow; honours If-Match",
    body=WorkflowChange,
    answers={200: Workflow},
)
async def update_workflow(call: Call) -> web.Response:
    """A new version if the graph or the settings change."""
    workflow_id = call.path_id(Prefix.WORKFLOW)
    _, raw = await read_definition(call.request)
    async with call.services.saves.turn(call.workspace_id), call.writing() as connection:
        row = await workflow_saving.update(connection, call, workflow_id, raw)
    call.services.webhooks.forget(row.webhook_token_hash)
    return _answer(call, 200, row).response()


@ROUTES.route(
    "DELETE",
    "/workflows/{id}",
    access=Scope.WORKFLOWS_WRITE,
    summary="Delete a workflow with its runs; honours If-Match",
    answers={204: None},
)
async def delete_workflow(call: Call) -> web.Response:
    """Gone at once, and its open runs are cancelled; 409 while another workflow calls it."""
    workflow_id = call.path_id(Prefix.WORKFLOW)
    async with call.writing() as connection:
        await workflow_saving.delete(connection, call, workflow_id)
    return web.Response(status=204)


def _object(call: Call, row: WorkflowRow) -> Workflow:
    return present(row, call.services.keys, call.services.config.public_url)


def _answer(call: Call, status: int, row: WorkflowRow) -> Answer:
    made = _object(call, row)
    return json_answer(status, made, headers={"ETag": etag(row)}, secret=made.webhook_url is not None)
