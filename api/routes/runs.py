"""Runs: start one by hand, read one, list those of all workflows or of one."""

from typing import Final
from uuid import UUID

from aiohttp import web

from api import idempotency
from api.access import Scope
from api.answers import Answer, json_answer
from api.bodies import read_body_or_empty
from api.call import Call, found
from api.paging import next_page
from api.queries import read_query
from api.routing import Routes
from api.run_fields import Execution
from api.run_listing import RunsQuery, read_which
from api.run_pages import RunList, RunQuery, read_ask, read_page
from api.run_reading import whole
from api.run_starting import answer_of, check_input, context_text, target_of, trigger_of
from api.run_view import Run, present_run
from shared.db import Connection
from shared.ids import Prefix, encode
from shared.ingest import Accepted
from shared.store import runs_read, runs_scan, workflows

ROUTES: Final = Routes()


@ROUTES.route(
    "POST",
    "/workflows/{id}/execute",
    access=Scope.WORKFLOWS_EXECUTE,
    summary="Start a run by hand, whatever the trigger",
    body=Execution,
    answers={202: Run},
    idempotent=True,
    api_key=True,
)
async def execute_workflow(call: Call) -> web.Response:
    """202 with the pending run: it is durable. With a key, run and kept answer share a transaction."""
    workflow_id = call.path_id(Prefix.WORKFLOW)
    body, raw = await read_body_or_empty(call.request, call.services.config.webhook_max_bytes)
    payload = context_text(body, raw)
    if idempotency.scope_of(call) is None:
        async with call.reading() as connection:
            target = await target_of(connection, call, workflow_id)
            await check_input(connection, target, payload)
        await call.services.backlog.admit(call.workspace_id)
        accepted = await call.services.ingest.accept(trigger_of(call, target, payload))
        return answer_of(accepted, target, payload).response()

    made: list[Accepted | None] = []

    async def work(connection: Connection) -> Answer:
        target = await target_of(connection, call, workflow_id)
        await check_input(connection, target, payload)
        await call.services.backlog.admit(call.workspace_id)
        made.append(await call.services.ingest.accept_on(connection, trigger_of(call, target, payload)))
        return answer_of(made[0], target, payload)

    response = await idempotency.once(call, body, work)
    call.services.ingest.announce(made)
    return response


@ROUTES.route(
    "GET",
    "/workflows/runs/{id}",
    access=Scope.WORKFLOWS_READ,
    summary="Get a run with its logs and steps",
    answers={200: Run},
)
async def get_run(call: Call) -> web.Response:
    """Everything of one run, at one moment."""
    run_id = call.path_id(Prefix.RUN)
    # Retention moves a run that outlives its day. Who waited for that sees the moment before it, and finds nothing.
    run = found(await _read_run(call, run_id) or await _read_run(call, run_id), "run", call)
    return json_answer(200, run).response()


async def _read_run(call: Call, run_id: UUID) -> Run | None:
    async with call.snapshot() as connection:
        row = await runs_read.get(connection, call.workspace_id, run_id)
        return None if row is None else await whole(connection, call, row)


@ROUTES.route(
    "GET",
    "/workflows/runs",
    access=Scope.WORKFLOWS_READ,
    summary="List the runs of all workflows, newest first; a page may hold fewer than limit, and Link leads on",
    query=RunsQuery,
    answers={200: list[Run]},
)
async def list_runs(call: Call) -> web.Response:
    """A bare array without logs and steps. Each page looks at a bounded number of runs, so it may even be empty."""
    query = read_query(RunsQuery, call.request)
    which, limit = read_which(call.workspace_id, query)
    async with call.snapshot() as connection:
        found_here = await runs_scan.scan(connection, which, limit)
        rows = await runs_scan.by_ids(connection, found_here.ids)
    headers = {} if found_here.below is None else next_page(call, encode(Prefix.RUN, found_here.below))
    return json_answer(200, [present_run(row) for row in rows], headers=headers).response()


@ROUTES.route(
    "GET",
    "/workflows/{id}/executions",
    access=Scope.WORKFLOWS_READ,
    summary="List a workflow's runs, newest first",
    query=RunQuery,
    answers={200: RunList},
)
async def list_executions(call: Call) -> web.Response:
    """By page or by cursor, without logs and steps."""
    workflow_id = call.path_id(Prefix.WORKFLOW)
    query = read_query(RunQuery, call.request)
    url = f"{call.services.config.public_url}{call.request.path}"
    ask = read_ask(workflow_id, query, dict(call.request.query), url)
    async with call.snapshot() as connection:
        found(await workflows.target(connection, call.workspace_id, workflow_id), "workflow", call)
        listed, onward = await read_page(connection, ask)
    return json_answer(200, listed, headers={"Link": f'<{onward}>; rel="next"'} if onward else {}).response()
