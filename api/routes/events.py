"""``/workflows/events/{name}``: an event starts a run of every workflow that listens to it."""

from collections.abc import Iterator, Sequence
from typing import Any, Final
from uuid import UUID

import msgspec
from aiohttp import web

from api import idempotency
from api.access import Scope
from api.answers import Answer, json_answer
from api.bodies import read_any
from api.call import Call
from api.routing import Routes
from shared.db import Connection
from shared.errors import InvalidError
from shared.event_names import MAX_LISTENERS, NAME_RULE, is_name
from shared.events import matching
from shared.graph.suggest import shown
from shared.ids import Prefix, encode
from shared.ingest import Accepted, Trigger
from shared.states import TriggerType

ROUTES: Final = Routes()
#: Runs, and characters of their payloads, that one statement stores.
_RUNS: Final = 500
_CHARACTERS: Final = 4 * 1024 * 1024


class EventRuns(msgspec.Struct, frozen=True):
    """The runs that an event started."""

    run_ids: list[str]


@ROUTES.route(
    "POST",
    "/workflows/events/{name}",
    access=Scope.WORKFLOWS_EXECUTE,
    summary="Publish an event with any JSON: it starts every active workflow whose event_trigger listens to it",
    body=Any,
    answers={202: EventRuns},
    idempotent=True,
    api_key=True,
)
async def publish_event(call: Call) -> web.Response:
    """202 with the runs, all of them durable or none."""
    name = call.request.match_info["name"]
    if not is_name(name):
        raise InvalidError("invalid_event_name", f"{shown(name)} is no name of an event: {NAME_RULE}.")
    body, payload = await read_any(call.request, call.services.config.webhook_max_bytes)
    made: list[Accepted | None] = []

    async def work(connection: Connection) -> Answer:
        await call.services.backlog.admit(call.workspace_id)
        now = call.services.clock.now()
        workflows = await matching(connection, call.workspace_id, name, payload, now, most=MAX_LISTENERS)
        for some in _chunks(workflows, len(payload)):
            triggers = [_trigger(call, workflow_id, payload) for workflow_id in some]
            made.extend(await call.services.ingest.accept_many_on(connection, triggers))
        ids = [encode(Prefix.RUN, accepted.run_id) for accepted in made if accepted is not None]
        return json_answer(202, EventRuns(ids))

    response = await idempotency.once(call, body, work)
    call.services.ingest.announce(made)
    return response


def _chunks(workflows: Sequence[UUID], characters: int) -> Iterator[Sequence[UUID]]:
    size = max(1, min(_RUNS, _CHARACTERS // characters))
    for start in range(0, len(workflows), size):
        yield workflows[start : start + size]


def _trigger(call: Call, workflow_id: UUID, payload: str) -> Trigger:
    subject = call.principal.subject
    return Trigger(workflow_id, TriggerType.EVENT, payload, call.request_id, call.traceparent, started_by=subject)
