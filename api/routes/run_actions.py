"""What is done to one run: cancel it, run it again, go on with it."""

from typing import Final
from uuid import UUID

import msgspec
from aiohttp import web

from api import idempotency
from api.access import Scope
from api.answers import Answer, json_answer
from api.auditing import note
from api.bodies import read_body_or_empty
from api.call import Call
from api.fields import read_fields
from api.queries import read_query
from api.routing import Routes
from api.run_reading import row_of, run_name, whole_by_id
from api.run_repeating import Repeated, RerunQuery, rerun, resume_from
from api.run_view import Run
from shared.db import Connection
from shared.errors import ConflictError, InvalidError
from shared.ingest import Accepted
from shared.lanes import Doorbell
from shared.states import RUN_TERMINAL, RunStatus
from shared.store.cancel import cancel_runs

ROUTES: Final = Routes()
#: Bytes of a body that has nothing to say.
_SMALL: Final = 1024


class Nothing(msgspec.Struct, frozen=True):
    """A body without fields; it may be left out."""


@ROUTES.route(
    "POST",
    "/workflows/runs/{id}/cancel",
    access=Scope.WORKFLOWS_EXECUTE,
    summary="Cancel a run and those it waits for: nothing new starts, what is in flight is aborted within a second",
    body=Nothing,
    answers={202: Run},
)
async def cancel_run(call: Call) -> web.Response:
    """202 with the run: it is cancelled, or will be when what is in flight has settled; 409 if it has ended."""
    await _read_nothing(call)
    async with call.writing() as connection:
        before = await row_of(connection, call)
        if RunStatus(before.status) in RUN_TERMINAL or not await cancel_runs(connection, [before.id]):
            raise ConflictError("run_ended", "The run has ended; only runs that are open can be cancelled.")
        run = await whole_by_id(connection, call, before.id)
        await note(connection, call, "run.cancel", run.id, before=before.status, after=run.status)
    return json_answer(202, run).response()


@ROUTES.route(
    "POST",
    "/workflows/runs/{id}/rerun",
    access=Scope.WORKFLOWS_EXECUTE,
    summary="Start a new run with the payload of one that has ended",
    body=Nothing,
    query=RerunQuery,
    answers={202: Repeated},
    idempotent=True,
)
async def rerun_run(call: Call) -> web.Response:
    """202 with a pending run of the current version, or of the original one."""
    body = await _read_nothing(call)
    original = read_query(RerunQuery, call.request).get("version") == "original"
    made: list[Accepted | None] = []

    async def work(connection: Connection) -> Answer:
        source = await row_of(connection, call)
        await call.services.backlog.admit(call.workspace_id)
        accepted = await rerun(connection, call, source, original=original)
        made.append(accepted)
        return await _repeated(connection, call, accepted.run_id, "Workflow re-run initiated successfully.")

    response = await idempotency.once(call, body, work)
    call.services.ingest.announce(made)
    return response


@ROUTES.route(
    "POST",
    "/workflows/runs/{id}/resume-from/{node_id}",
    access=Scope.WORKFLOWS_EXECUTE,
    summary="Go on with a failed or cancelled run behind a node that completed, in a new run of the same version",
    body=Nothing,
    answers={202: Repeated},
    idempotent=True,
)
async def resume_run(call: Call) -> web.Response:
    """202 with a run that inherits what is not behind the node and did not fail, and runs the rest."""
    body = await _read_nothing(call)
    node_id = call.request.match_info["node_id"]
    bells: list[Doorbell] = []

    async def work(connection: Connection) -> Answer:
        source = await row_of(connection, call)
        await call.services.backlog.admit(call.workspace_id)
        run_id, announced = await resume_from(connection, call, source, node_id)
        bells.extend(announced)
        return await _repeated(connection, call, run_id, f"Workflow resumed successfully from node '{node_id}'.")

    response = await idempotency.once(call, body, work)
    call.services.ingest.ring(bells)
    return response


async def _read_nothing(call: Call) -> bytes:
    """The body of a request that has nothing to say.

    Raises:
        InvalidError: if it says something.
    """
    body, raw = await read_body_or_empty(call.request, _SMALL)
    _, faults = read_fields(Nothing, raw)
    if faults:
        raise InvalidError("validation_failed", "This route reads no fields.", faults=faults)
    return body


async def _repeated(connection: Connection, call: Call, run_id: UUID, message: str) -> Answer:
    run = await whole_by_id(connection, call, run_id)
    place = f"{call.services.config.public_url}/workflows/runs/{run_name(run_id)}"
    return json_answer(202, Repeated(message, run), headers={"Location": place})
