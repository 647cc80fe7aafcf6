"""Webhook deliveries: what came, what became of it, and replaying it."""

from typing import Final
from uuid import UUID

from aiohttp import web

from api import idempotency
from api.access import Scope
from api.answers import Answer, json_answer
from api.auditing import note
from api.bodies import read_body_or_empty, read_object
from api.call import Call, found
from api.delivery_view import (
    DeliveriesQuery,
    DeliveryRead,
    NewReplay,
    ReplayProgress,
    oldest_kept,
    present_delivery,
    present_replay,
    read_replay,
)
from api.fields import read_fields
from api.paging import next_page
from api.queries import bound_of, read_cursor, read_query
from api.routes.run_actions import Nothing
from api.routing import Routes
from api.run_reading import whole_by_id
from api.run_repeating import Repeated
from api.run_starting import target_of
from api.webhook_targets import TRIGGER_COMPONENT
from shared.db import Connection
from shared.errors import ConflictError, InvalidError
from shared.ids import Prefix, encode
from shared.ingest import Accepted, Trigger
from shared.nodes.webhook_rules import replayed
from shared.states import TriggerType
from shared.store import deliveries, workflows
from shared.store.deliveries import Delivery
from shared.store.runs_read import LAST_ID

ROUTES: Final = Routes()
#: Bytes of a body.
_SMALL: Final = 64 * 1024


@ROUTES.route(
    "GET",
    "/workflows/{id}/deliveries",
    access=Scope.WORKFLOWS_READ,
    summary="List the requests to a workflow's webhook, newest first, with what became of each",
    query=DeliveriesQuery,
    answers={200: list[DeliveryRead]},
)
async def list_deliveries(call: Call) -> web.Response:
    """Those that started runs, repeats, handshakes, and those that were refused, as far as they are kept."""
    workflow_id = call.path_id(Prefix.WORKFLOW)
    query = read_query(DeliveriesQuery, call.request)
    limit = query.get("limit", DeliveriesQuery().limit)
    cursor = read_cursor(Prefix.DELIVERY, "cursor", query.get("cursor"))
    high = min(bound_of("to", query.get("to")) or LAST_ID, cursor or LAST_ID)
    low = max(oldest_kept(call), bound_of("from", query.get("from")) or oldest_kept(call))
    outcomes = [query["outcome"]] if query.get("outcome") else None
    async with call.reading() as connection:
        found(await workflows.target(connection, call.workspace_id, workflow_id), "workflow", call)
        page = await deliveries.page(connection, workflow_id, low, high, outcomes=outcomes, limit=limit)
    headers = {} if page.further is None else next_page(call, encode(Prefix.DELIVERY, page.further))
    return json_answer(200, [present_delivery(row) for row in page.rows], headers=headers).response()


@ROUTES.route(
    "GET",
    "/workflows/deliveries/{id}",
    access=Scope.WORKFLOWS_READ,
    summary="Get a webhook delivery with its whole request",
    answers={200: DeliveryRead},
)
async def get_delivery(call: Call) -> web.Response:
    """However large its request is."""
    async with call.reading() as connection:
        row, _ = await _delivery(connection, call)
    return json_answer(200, present_delivery(row)).response()


@ROUTES.route(
    "POST",
    "/workflows/deliveries/{id}/replay",
    access=Scope.WORKFLOWS_EXECUTE,
    summary="Start a new run with the request of a webhook delivery, whatever became of it",
    body=Nothing,
    answers={202: Repeated},
    idempotent=True,
)
async def replay_delivery(call: Call) -> web.Response:
    """202 with a pending run, whose payload has ``replay_of``; no signature is asked for and no repeat looked for."""
    body, raw = await read_body_or_empty(call.request, _SMALL)
    _, faults = read_fields(Nothing, raw)
    if faults:
        raise InvalidError("validation_failed", faults[0].message, faults=faults)
    made: list[Accepted | None] = []

    async def work(connection: Connection) -> Answer:
        await call.services.backlog.admit(call.workspace_id)
        row, workflow_id = await _delivery(connection, call)
        made.append(accepted := await _replay(connection, call, row, workflow_id))
        run = await whole_by_id(connection, call, accepted.run_id)
        return json_answer(202, Repeated("The delivery is replayed in a new run.", run))

    response = await idempotency.once(call, body, work)
    call.services.ingest.announce(made)
    return response


@ROUTES.route(
    "POST",
    "/workflows/{id}/deliveries/replay",
    access=Scope.WORKFLOWS_EXECUTE,
    summary="Replay the deliveries to a workflow's webhook that a filter lets through, oldest first, at a pace",
    body=NewReplay,
    answers={202: ReplayProgress},
    idempotent=True,
)
async def create_replay(call: Call) -> web.Response:
    """202 with the replay, which is durable; without ``outcome`` it is for what was missed: inactive, limited..."""
    workflow_id = call.path_id(Prefix.WORKFLOW)
    body, raw = await read_object(call.request, _SMALL)

    async def work(connection: Connection) -> Answer:
        await _webhook(connection, call, workflow_id)
        asked = read_replay(call, raw)
        row = await deliveries.add_replay(
            connection,
            call.services.mint.uuid(),
            asked.wanted,
            workspace_id=call.workspace_id,
            workflow_id=workflow_id,
            bounds=asked.bounds,
            per_second=asked.per_second,
            created_by=call.principal.subject,
        )
        made = present_replay(row)
        await note(connection, call, "delivery.replay", made.id, before=None, after=row.filter)
        place = f"{call.services.config.public_url}/workflows/deliveries/replays/{made.id}"
        return json_answer(202, made, headers={"Location": place})

    return await idempotency.once(call, body, work)


@ROUTES.route(
    "GET",
    "/workflows/deliveries/replays/{id}",
    access=Scope.WORKFLOWS_READ,
    summary="Get a replay of many deliveries and how far it is",
    answers={200: ReplayProgress},
)
async def get_replay(call: Call) -> web.Response:
    """What was matched, done and failed so far."""
    replay_id = call.path_id(Prefix.REPLAY)
    async with call.reading() as connection:
        row = found(await deliveries.get_replay(connection, call.workspace_id, replay_id), "replay", call)
    return json_answer(200, present_replay(row)).response()


async def _delivery(connection: Connection, call: Call) -> tuple[Delivery, UUID]:
    """The delivery of the path, and its workflow's id."""
    delivery_id = call.path_id(Prefix.DELIVERY)
    known = None
    if delivery_id >= oldest_kept(call):
        known = await deliveries.find(connection, call.workspace_id, delivery_id)
    return found(known, "delivery", call)


async def _webhook(connection: Connection, call: Call, workflow_id: UUID) -> None:
    """Refuse to start a workflow that is inactive, or that no webhook request could start."""
    target = await target_of(connection, call, workflow_id)
    if target.trigger_component != TRIGGER_COMPONENT:
        raise ConflictError("no_webhook", "The workflow begins with another trigger by now, which takes no deliveries.")


async def _replay(connection: Connection, call: Call, row: Delivery, workflow_id: UUID) -> Accepted:
    await _webhook(connection, call, workflow_id)
    if not row.whole or row.request is None:
        raise ConflictError("delivery_not_whole", "The request of this delivery was not kept whole, or not readable.")
    trigger = Trigger(
        workflow_id,
        TriggerType.WEBHOOK,
        replayed(row.request, row.id),
        call.request_id,
        call.traceparent,
        started_by=call.principal.subject,
        rerun_of=row.run_id if row.outcome == "accepted" else None,
    )
    accepted = await call.services.ingest.accept_on(connection, trigger)
    if accepted is None:
        raise ConflictError("workflow_inactive", "The workflow is inactive; activate it first.")
    return accepted
