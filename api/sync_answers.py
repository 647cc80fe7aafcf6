"""What a run says to the request that waits for it, as a response."""

from typing import Final
from uuid import UUID

import msgspec
from aiohttp import web

from api.call import Call
from api.sync_runs import SyncGraph
from shared import jsontext
from shared.errors import ConflictError, EdgewiseError, RunFailedError, RunTimeoutError, StepFailedError
from shared.ids import Prefix, encode
from shared.responses import Head, may_say
from shared.states import RunStatus
from shared.store.responses import Answered
from shared.store.results import run_output

RUN_ID_HEADER: Final = "X-Run-Id"
#: What is said beside an author's own headers. The answer comes from the API's origin: whatever it is, a browser takes
#: it for what it says it is, and runs nothing of it.
_GUARDED: Final = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "sandbox",
    "Cache-Control": "no-store",
}
#: Statuses that have no body.
_BODILESS: Final = frozenset({204, 205, 304})
_JSON: Final = "application/json"


async def respond(call: Call, run_id: UUID, graph: SyncGraph, answered: Answered | None) -> web.Response:
    """The response to a request that waited for a run.

    Raises:
        RunTimeoutError: if the run has not answered.
        RunFailedError: if it failed, or has given out more than can be put together.
        ConflictError: if it was cancelled.
    """
    name = encode(Prefix.RUN, run_id)
    if answered is None:
        message = f"The run {name} has not answered within {call.services.sync.seconds:g} seconds; it goes on."
        raise RunTimeoutError("sync_timeout", message, run_id=name)
    if answered.output is not None:
        return _of_node(name, answered)
    if answered.status != RunStatus.COMPLETED:
        raise _unanswered(name, answered)
    text = answered.run_output
    if text is None:
        text = await _composed(call, run_id, graph)
    return _response(name, Head(content_type=_JSON), jsontext.to_bytes(text))


def _of_node(name: str, answered: Answered) -> web.Response:
    """What a response node gave out."""
    output = jsontext.decode(answered.output or "{}")
    head = Head() if answered.head is None else msgspec.convert(jsontext.decode(answered.head), Head)
    return _response(name, head, jsontext.to_bytes(output["text"]))


def _response(name: str, head: Head, body: bytes) -> web.Response:
    own = {key: value for key, value in head.headers.items() if may_say(key)}
    headers = {**_GUARDED, RUN_ID_HEADER: name}
    headers = {key: value for key, value in headers.items() if key.lower() not in {each.lower() for each in own}}
    if head.status in _BODILESS:
        return web.Response(status=head.status, headers={**headers, **own})
    return web.Response(status=head.status, body=body, headers={**headers, **own, "Content-Type": head.content_type})


def _unanswered(name: str, answered: Answered) -> EdgewiseError:
    told = f": {answered.error_message}" if answered.error_message else "."
    if answered.status == RunStatus.CANCELLED:
        return ConflictError("run_cancelled", f"The run {name} was cancelled before it answered{told}", run_id=name)
    return RunFailedError("run_failed", f"The run {name} failed before it answered{told}", run_id=name)


async def _composed(call: Call, run_id: UUID, graph: SyncGraph) -> str:
    """The output of a run that has completed, as the step of a `trigger_workflow` would see it."""
    name = encode(Prefix.RUN, run_id)
    try:
        async with call.reading() as connection:
            return jsontext.encode(await run_output(connection, graph.plan, run_id))
    except StepFailedError as error:
        raise RunFailedError(error.code, f"The run {name} has no answer: {error.message}", run_id=name) from error
