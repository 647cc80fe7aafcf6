"""Answers to steps that wait for them: from the token in a link to the step that goes on."""

from datetime import datetime
from typing import Any, Final

import msgspec

from api.answer_fields import AnswerRead, Given, read_answer
from api.call import Call
from shared import jsontext
from shared.db import Connection
from shared.errors import ConflictError, EdgewiseError, NotFoundError
from shared.links import Place
from shared.nodes.registry import Registry
from shared.questions import Question
from shared.store import answers
from shared.store.answers import Asked
from shared.templates import is_template

_OVER: Final = "No answer is waited for any more: the time is over, or the run has ended or took another way."
_ANSWERED: Final = "This has been answered; there is one answer to each link."


class Asking(msgspec.Struct, frozen=True):
    """What a link asks.

    Attributes:
        early: the run has not come to the step, so that texts which depend on it are missing.
        until: when the wait ends, once it has begun.
        refusal: why it can't be answered (any more), if so.
    """

    question: Question
    early: bool
    until: datetime | None
    refusal: EdgewiseError | None


def place_of(call: Call) -> Place:
    """The step that the link is for.

    Raises:
        NotFoundError: if the token was not made here, or was changed.
    """
    place = call.services.links.read(call.request.match_info["token"])
    if place is None:
        raise _no_such_link()
    return place


async def look(call: Call, place: Place) -> Asking:
    """What a link asks; changes nothing.

    Raises:
        NotFoundError: if the run was removed.
    """
    async with call.reading() as connection:
        asked = await _find(connection, place)
    question = _question(asked, place, call.services.registry)
    return Asking(question, asked.question is None, asked.due_at, _refusal(asked))


async def answer(call: Call, place: Place, given: Given) -> AnswerRead:
    """Take an answer, durably; the step goes on with it, at once or when it is come to.

    Raises:
        NotFoundError: if the run was removed.
        InvalidError: with every fault of the answer.
        ConflictError: ``already_answered``, or ``wait_over``.
    """
    asking = await look(call, place)
    if asking.refusal is not None:
        raise asking.refusal
    read = read_answer(asking.question, given)
    data = jsontext.encode(read.data)
    async with call.writing() as connection:
        await answers.lock_run(connection, place.run_id)
        asked = await _find(connection, place)
        refusal = _refusal(asked)
        if refusal is not None:
            raise refusal
        await answers.answer(connection, place, read.outcome, data)
        bells = await answers.wake(connection, place) if asked.waits else []
    call.services.ingest.ring(bells)
    return read


async def _find(connection: Connection, place: Place) -> Asked:
    asked = await answers.find(connection, place)
    if asked is None:
        raise _no_such_link()
    return asked


def _refusal(asked: Asked) -> EdgewiseError | None:
    if asked.outcome is not None:
        return ConflictError("already_answered", _ANSWERED)
    if asked.run_over or asked.wait_over:
        return ConflictError("wait_over", _OVER)
    return None


def _question(asked: Asked, place: Place, registry: Registry) -> Question:
    """What the step asks: as its worker rendered it, or before that as the node has it, without its templates.

    Raises:
        NotFoundError: if the workflow was removed.
    """
    if asked.question is not None:
        return msgspec.convert(jsontext.decode(asked.question), Question)
    nodes: list[dict[str, Any]] = [] if asked.nodes is None else jsontext.decode(asked.nodes)
    data: dict[str, Any] = next((node["data"] for node in nodes if node["id"] == place.node_id), {})
    question = registry.question(str(data.get("componentId")), data)
    if question is None:
        raise _no_such_link()
    return msgspec.convert(_without_templates(msgspec.to_builtins(question)), Question)


def _without_templates(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_templates(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_without_templates(item) for item in value]
    return "" if isinstance(value, str) and is_template(value) else value


def _no_such_link() -> NotFoundError:
    return NotFoundError("link_not_found", "There is no question behind this link.")
