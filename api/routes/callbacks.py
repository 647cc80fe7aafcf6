"""``/workflows/callbacks/{token}``: the public links of steps that wait for an answer.

Browsers get pages, everybody else JSON: the header ``Accept`` says which.
"""

from collections.abc import Mapping
from typing import Any, Final, Literal
from urllib.parse import parse_qsl

import msgspec
from aiohttp import hdrs, web
from aiohttp.helpers import parse_mimetype

from api.accepting import wants_page
from api.access import PUBLIC
from api.answer_fields import Given
from api.answer_page import HEADERS, message_page, question_page
from api.answering import Asking, answer, look, place_of
from api.bodies import is_json, parse, read
from api.call import Call
from api.moments import stamp_or_none
from api.routing import Routes
from shared import jsontext
from shared.errors import BadRequestError, EdgewiseError, UnsupportedMediaError
from shared.graph.suggest import shown
from shared.questions import Question

ROUTES: Final = Routes()
#: The most bytes of an answer: it stands in the step's output, which may have 1 MiB.
_LIMIT: Final = 256 * 1024
_MAX_FIELDS: Final = 1000
_FORM: Final = "application/x-www-form-urlencoded"
_NO_STORE: Final = {"Cache-Control": "no-store", "Vary": "Accept"}
_TITLES: Final = {
    "already_answered": "Answered",
    "wait_over": "Too late",
    "link_not_found": "Nothing here",
}


class CallbackQuestion(msgspec.Struct, frozen=True):
    """What a link asks.

    Attributes:
        status: ``open``, or why it can't be answered: ``already_answered``, ``wait_over``.
        until: when the wait ends; null before it has begun.
        question: the texts, fields and buttons.
    """

    status: Literal["open", "already_answered", "wait_over"]
    until: str | None
    question: Question


class CallbackAnswer(msgspec.Struct, frozen=True):
    """An answer was taken; ``outcome`` is the handle by which the run goes on."""

    status: str
    outcome: str


@ROUTES.route(
    "GET",
    "/workflows/callbacks/{token}",
    access=PUBLIC,
    summary="What the link of a waiting step asks, as a page for browsers; changes nothing",
    answers={200: CallbackQuestion},
)
async def show_question(call: Call) -> web.Response:
    """A page, or JSON."""
    if not wants_page(call.request):
        return _json(200, _presented(await look(call, place_of(call))))
    try:
        asking = await look(call, place_of(call))
    except EdgewiseError as error:
        return _error_page(error)
    if asking.refusal is not None:
        return _page(200, message_page(_TITLES[asking.refusal.code], asking.refusal.message))
    return _page(200, question_page(asking.question, early=asking.early))


@ROUTES.route(
    "POST",
    "/workflows/callbacks/{token}",
    access=PUBLIC,
    summary="Answer a wait_for_callback, approval or form step, once; JSON or a form",
    answers={202: CallbackAnswer},
)
async def take_answer(call: Call) -> web.Response:
    """202 means durable."""
    if not wants_page(call.request):
        taken = await answer(call, place_of(call), await _given(call.request))
        return _json(202, CallbackAnswer("accepted", taken.outcome))
    given: Given | None = None
    try:
        place = place_of(call)
        given = await _given(call.request)
        await answer(call, place, given)
    except EdgewiseError as error:
        if error.faults and given is not None:
            return _page(error.status, question_page((await look(call, place)).question, _texts(given), error.faults))
        return _error_page(error)
    return _page(200, message_page("Thank you", "Your answer was received. You can close this page."))


async def _given(request: web.Request) -> Given:
    """What was sent: JSON, or a form; no body is an empty one, whatever it says it is.

    Raises:
        TooLargeError, RequestTimeoutError, BadRequestError, UnsupportedMediaError: if it can't be read.
    """
    content_type = request.headers.get(hdrs.CONTENT_TYPE, "application/json")
    kind = parse_mimetype(content_type)
    is_form = f"{kind.type}/{kind.subtype}" == _FORM
    body = await read(request, _LIMIT)
    if is_form or not body:
        return Given(_form(body), is_form=is_form)
    if not is_json(content_type):
        raise UnsupportedMediaError(
            "unsupported_media_type", f"An answer is application/json in UTF-8 or {_FORM}, not {shown(content_type)}."
        )
    return Given(parse(body), is_form=False)


def _form(body: bytes) -> dict[str, Any]:
    """Texts by name; a list where a name comes several times."""
    try:
        pairs = parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=_MAX_FIELDS, errors="strict")
    except ValueError:
        raise BadRequestError("malformed_body", f"A form is in UTF-8 and has at most {_MAX_FIELDS} fields.") from None
    fields: dict[str, list[str]] = {}
    for name, value in pairs:
        fields.setdefault(name, []).append(value)
    return {name: values[0] if len(values) == 1 else values for name, values in fields.items()}


def _texts(given: Given) -> Mapping[str, Any]:
    return given.value if isinstance(given.value, dict) else {}


def _presented(asking: Asking) -> CallbackQuestion:
    status = "open" if asking.refusal is None else asking.refusal.code
    return CallbackQuestion(status, stamp_or_none(asking.until), asking.question)  # type: ignore[arg-type]


def _json(status: int, value: Any) -> web.Response:
    body = jsontext.encode(msgspec.to_builtins(value)).encode()
    return web.Response(status=status, body=body, headers={**_NO_STORE, "Content-Type": "application/json"})


def _page(status: int, page: bytes) -> web.Response:
    return web.Response(status=status, body=page, headers=HEADERS)


def _error_page(error: EdgewiseError) -> web.Response:
    response = _page(error.status, message_page(_TITLES.get(error.code, "That did not work"), error.message))
    if error.retry_after is not None:
        response.headers["Retry-After"] = str(error.retry_after)
    return response
