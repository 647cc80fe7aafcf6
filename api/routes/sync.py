"""``/workflows/sync/{id}``: start a workflow and wait for its answer."""

from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple
from uuid import UUID

import msgspec
from aiohttp import web

from api import idempotency
from api.access import Scope
from api.answers import Answer, json_answer
from api.bodies import read_any
from api.call import Call, found
from api.routing import Routes
from api.sync_answers import respond
from api.sync_runs import TRIGGER_COMPONENT, SyncGraph
from api.sync_waiting import StoppingError
from shared.db import Connection
from shared.errors import ConflictError, InvalidError, NotFoundError, UnavailableError
from shared.ids import Prefix, decode, encode
from shared.ingest import Accepted, Trigger
from shared.states import TriggerType
from shared.store import responses, runs_read

ROUTES: Final = Routes()
_INACTIVE: Final = "The workflow is inactive; activate it first."


class Kept(msgspec.Struct, frozen=True):
    """What an ``Idempotency-Key`` stands for: the run, whose answer is read when it is asked for."""

    run_id: str


class Started(NamedTuple):
    """The run of a request.

    Attributes:
        first_at: if an earlier request with the same key started it, when; else None.
    """

    run_id: UUID
    graph: SyncGraph
    first_at: datetime | None = None


@ROUTES.route(
    "POST",
    "/workflows/sync/{id}",
    access=Scope.WORKFLOWS_EXECUTE,
    summary="Run a workflow that begins with a sync_request_trigger, with any JSON, and answer with what it answers",
    body=Any,
    answers={200: Any},
    idempotent=True,
    api_key=True,
)
async def execute_sync(call: Call) -> web.Response:
    """The response node's answer; 504 with the run's id if it takes too long, 422 if the graph has no answer."""
    workflow_id = call.path_id(Prefix.WORKFLOW)
    sent = await read_any(call.request, call.services.config.webhook_max_bytes)
    run_id = call.services.ingest.new_id()
    try:
        return await _run(call, workflow_id, run_id, *sent)
    except StoppingError:
        name = encode(Prefix.RUN, run_id)
        message = f"The process stops; the run {name}, if it was started, goes on."
        raise UnavailableError("stopping", message, retry_after=1, run_id=name) from None


async def _run(call: Call, workflow_id: UUID, run_id: UUID, body: bytes, payload: str) -> web.Response:
    sync = call.services.sync
    waiter = await sync.enter(run_id, call.request)
    try:
        started = await _start(call, workflow_id, run_id, body, payload)
        if started.first_at is None:
            return await respond(call, run_id, started.graph, await sync.wait(run_id, waiter, started.graph.nodes))
    finally:
        sync.leave(run_id, waiter)
    response = await _again(call, started)
    response.headers["Idempotency-Replayed"] = "true"
    return response


async def _start(call: Call, workflow_id: UUID, run_id: UUID, body: bytes, payload: str) -> Started:
    """Store the run, durably, unless an earlier request with this key did."""
    if idempotency.scope_of(call) is None:
        async with call.reading() as connection:
            trigger = await _trigger(connection, call, workflow_id, run_id, payload)
        return await _started(call, await call.services.ingest.accept(trigger))
    made: list[Accepted | None] = []

    async def work(connection: Connection) -> Answer:
        trigger = await _trigger(connection, call, workflow_id, run_id, payload)
        made.append(await call.services.ingest.accept_on(connection, trigger))
        if made[0] is None:
            raise ConflictError("workflow_inactive", _INACTIVE)
        return json_answer(202, Kept(encode(Prefix.RUN, run_id)))

    kept, replayed = await idempotency.first(call, body, work)
    if replayed:
        return await _earlier(call, decode(Prefix.RUN, msgspec.json.decode(kept.body, type=Kept).run_id))
    call.services.ingest.announce(made)
    return await _started(call, made[0])


async def _trigger(connection: Connection, call: Call, workflow_id: UUID, run_id: UUID, payload: str) -> Trigger:
    """What the ingest is given.

    Raises:
        NotFoundError: if the workspace has no such workflow.
        InvalidError: if it does not begin with a `sync_request_trigger`, or has nothing that answers.
        ConflictError: if it is inactive.
        RateLimitedError: if too many runs are open.
    """
    target = found(await responses.target(connection, call.workspace_id, workflow_id), "workflow", call)
    if target.trigger_component != TRIGGER_COMPONENT:
        message = f"The workflow begins with {target.trigger_component}; only one with a {TRIGGER_COMPONENT} answers."
        raise InvalidError("workflow_not_synchronous", message)
    if not target.is_active:
        raise ConflictError("workflow_inactive", _INACTIVE)
    graph = found(await call.services.sync.graph(connection, workflow_id, target.version), "workflow", call)
    if not graph.can_answer:
        message = (
            "Nothing in the workflow answers: it needs a text_transform with is_response true outside iterators, or a "
            "terminate node."
        )
        raise InvalidError("no_response_node", message)
    await call.services.backlog.admit(call.workspace_id)
    return Trigger(
        workflow_id,
        TriggerType.SYNC,
        payload,
        call.request_id,
        call.traceparent,
        run_id=run_id,
        started_by=call.principal.subject,
    )


async def _started(call: Call, accepted: Accepted | None) -> Started:
    """The run as it was stored, of the version that was current then."""
    if accepted is None:
        raise ConflictError("workflow_inactive", _INACTIVE)
    graph = call.services.sync.known(accepted.workflow_id, accepted.version)
    if graph is None:
        async with call.reading() as connection:
            graph = await call.services.sync.graph(connection, accepted.workflow_id, accepted.version)
    return Started(accepted.run_id, found(graph, "workflow", call))


async def _earlier(call: Call, run_id: UUID) -> Started:
    """The run of an earlier request with the same key.

    Raises:
        NotFoundError: if it was removed since.
    """
    async with call.reading() as connection:
        row = await runs_read.get(connection, call.workspace_id, run_id)
        graph = None if row is None else await call.services.sync.graph(connection, row.workflow_id, row.version)
    if row is None or graph is None:
        raise NotFoundError("not_found", f"The run {encode(Prefix.RUN, run_id)} of this Idempotency-Key was removed.")
    return Started(run_id, graph, row.created_at)


async def _again(call: Call, started: Started) -> web.Response:
    """The answer of a run that an earlier request started, once that one waits no longer.

    Raises:
        ConflictError: while the earlier request may still be under way.
    """
    sync, run_id, graph = call.services.sync, started.run_id, started.graph
    answered = (await sync.read({run_id: graph.nodes})).get(run_id)
    if answered is None:
        if started.first_at is not None and call.services.clock.now() - started.first_at < timedelta(
            seconds=sync.seconds
        ):
            raise ConflictError(
                "idempotency_in_progress",
                f"A request with this {idempotency.HEADER} waits for the run {encode(Prefix.RUN, run_id)}; repeat it.",
                retry_after=1,
            )
        waiter = await sync.enter(run_id, call.request)
        try:
            answered = await sync.wait(run_id, waiter, graph.nodes)
        finally:
            sync.leave(run_id, waiter)
    return await respond(call, run_id, graph, answered)
