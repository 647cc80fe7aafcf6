"""Actions over many runs: begin one, see how far it is."""

from typing import Final

from aiohttp import web

from api import idempotency
from api.access import Scope
from api.answers import Answer, json_answer
from api.bodies import read_object
from api.call import Call, found
from api.routing import Routes
from api.run_bulk import BulkProgress, NewBulk, create, present_bulk
from shared.db import Connection
from shared.ids import Prefix
from shared.store import bulk

ROUTES: Final = Routes()
#: Bytes of a body.
_LIMIT: Final = 64 * 1024


@ROUTES.route(
    "POST",
    "/workflows/runs/bulk",
    access=Scope.WORKFLOWS_EXECUTE,
    summary="Cancel the open runs, or run the ended ones again, that a filter lets through and that exist now",
    body=NewBulk,
    answers={202: BulkProgress},
    idempotent=True,
)
async def create_bulk(call: Call) -> web.Response:
    """202 with the action, which is durable and worked off from the newest run down."""
    body, raw = await read_object(call.request, _LIMIT)

    async def work(connection: Connection) -> Answer:
        made = present_bulk(await create(connection, call, raw))
        place = f"{call.services.config.public_url}{call.request.path}/{made.id}"
        return json_answer(202, made, headers={"Location": place})

    return await idempotency.once(call, body, work)


@ROUTES.route(
    "GET",
    "/workflows/runs/bulk/{id}",
    access=Scope.WORKFLOWS_READ,
    summary="Get an action over many runs and how far it is",
    answers={200: BulkProgress},
)
async def get_bulk(call: Call) -> web.Response:
    """What was matched, done and failed so far."""
    bulk_id = call.path_id(Prefix.BULK)
    async with call.reading() as connection:
        row = found(await bulk.get(connection, call.workspace_id, bulk_id), "bulk action", call)
    return json_answer(200, present_bulk(row)).response()
