"""``/workflows/{id}/webhook-token/rotate``: another secret URL for a workflow."""

from typing import Annotated, Final

import msgspec
from aiohttp import web
from msgspec import Meta

from api import idempotency, workflow_saving
from api.access import Scope
from api.answers import Answer, json_answer
from api.bodies import read_body_or_empty
from api.call import Call
from api.fields import read_fields
from api.routing import Routes
from api.workflow_fields import Workflow
from api.workflow_view import etag, present
from shared.db import Connection
from shared.errors import InvalidError
from shared.ids import Prefix

ROUTES: Final = Routes()
#: Bytes of a body.
_LIMIT: Final = 4096
_LONGEST_OVERLAP: Final = 30 * 24 * 3600


class Rotation(msgspec.Struct, frozen=True):
    """How the token of before ends."""

    overlap_seconds: Annotated[
        Annotated[int, Meta(ge=0, le=_LONGEST_OVERLAP)],
        Meta(description=f"whole seconds from 0 to {_LONGEST_OVERLAP} for which the token of before still works"),
    ] = 0


@ROUTES.route(
    "POST",
    "/workflows/{id}/webhook-token/rotate",
    access=Scope.WORKFLOWS_WRITE,
    summary="Give a workflow another webhook URL; the one of before works until the overlap ends; honours If-Match",
    body=Rotation,
    answers={200: Workflow},
    idempotent=True,
)
async def rotate_webhook_token(call: Call) -> web.Response:
    """200 with the workflow and its new URL."""
    workflow_id = call.path_id(Prefix.WORKFLOW)
    body, raw = await read_body_or_empty(call.request, _LIMIT)
    given, faults = read_fields(Rotation, raw)
    if faults:
        raise InvalidError("validation_failed", " ".join(fault.message for fault in faults), faults=faults)
    overlap = given.get("overlap_seconds", 0)

    async def work(connection: Connection) -> Answer:
        row = await workflow_saving.rotate_token(connection, call, workflow_id, overlap)
        made = present(row, call.services.keys, call.services.config.public_url)
        return json_answer(200, made, headers={"ETag": etag(row)}, secret=True)

    return await idempotency.once(call, body, work)
