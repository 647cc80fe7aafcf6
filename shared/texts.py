"""What is stored of a step's end: JSON texts that Postgres takes, whatever a node type came up with."""

import re
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from shared.errors import StepFailedError
from shared.jsontext import decode, encode
from shared.nodes.base import Outcome
from shared.store.taken import Loaded

#: The largest output of a step, in bytes of JSON.
MAX_OUTPUT: Final = 1024 * 1024
#: The largest recorded input of a step, in bytes of JSON; of a larger one the beginning is kept, and how large it was.
MAX_INPUT: Final = 64 * 1024
#: The largest body of an answer beside an error, in bytes.
MAX_BODY: Final = 2048
#: The longest message of an error, in characters.
MAX_MESSAGE: Final = 2000
#: What a node type may raise with only its step failing. Nothing a plugin does may end the process.
BREAKAGES: Final = (Exception, SystemExit)
_UNSTORABLE: Final = re.compile("[\0\ud800-\udfff]")


class Texts(NamedTuple):
    """JSON texts of an outcome or a failure.

    Attributes:
        output: of the step.
        step_input: what an effect was called with.
        run_output: what `terminate` leaves.
        error: ``{code, message, status, body}``.
    """

    output: str | None
    step_input: str | None
    run_output: str | None = None
    error: str | None = None


def texts_of(outcome: Outcome, *, stored: bool) -> Texts:
    """The texts of an outcome.

    Args:
        outcome: what the node type gave.
        stored: whether its output is; what a trigger gave out is composed from the run when it is read.

    Raises:
        StepFailedError: if the output, or what `terminate` leaves, is too large.
        Exception: if this is no outcome, not made of JSON's types, or too deep.
    """
    if not isinstance(outcome.output, dict):
        raise TypeError("an output is an object")
    output = _limited(encode(outcome.output)) if stored else None
    if outcome.terminate is None and outcome.step_input is None:
        return Texts(output, None)
    run_output = None if outcome.terminate is None else _text(outcome.terminate.output)
    if run_output is not None:
        _limited(run_output)
    return Texts(output, _input(outcome.step_input), run_output)


def texts_of_failure(error: StepFailedError) -> tuple[StepFailedError, Texts]:
    """A failure, cut to what is kept of it, and its texts; one that cannot be written down is an internal error."""
    try:
        error = _capped(error)
        output = error.as_output()
        return error, Texts(encode(output), _input(error.step_input), error=encode(output["error"]))
    except BREAKAGES as broken:
        return texts_of_failure(internal_error(broken))


def internal_error(error: BaseException) -> StepFailedError:
    """The failure of a step whose node type, or whose storing, broke."""
    return StepFailedError("internal_error", f"Internal error: {type(error).__name__}.")


def item_text(value: Any) -> str:
    """An item of an iterator as JSON text.

    Raises:
        StepFailedError: if it is too large.
    """
    return _limited(encode(value))


def item_error(error: StepFailedError) -> str:
    """What an item failed with, as ``results.failed`` shows it."""
    return encode({"code": error.code, "message": storable(error.message)})


def item_failed(brought: Mapping[str, Any]) -> StepFailedError:
    """The failure of an iterator that an item stopped."""
    index, error = brought.get("index"), brought.get("error") or {}
    return StepFailedError("item_failed", f"Item {index} failed: {error.get('message', 'it was cancelled')}")


def brought_by(loaded: Loaded) -> dict[str, Any]:
    """What woke a step brought: an answer, a child run's end, the item that stopped an iterator."""
    brought: dict[str, Any] = {} if loaded.brought is None else decode(loaded.brought)
    return brought


def storable(text: str) -> str:
    """The text as a column of Postgres takes it: not too long, NUL and lone surrogates replaced."""
    return _UNSTORABLE.sub("\ufffd", _shortened(text, MAX_MESSAGE))


def _limited(text: str) -> str:
    if len(text) * 4 > MAX_OUTPUT and (size := len(text.encode())) > MAX_OUTPUT:
        raise StepFailedError(
            "output_too_large", f"The output is {size:,} bytes of JSON; at most {MAX_OUTPUT:,} are allowed."
        )
    return text


def _capped(error: StepFailedError) -> StepFailedError:
    body = error.body
    if body is not None:
        text = body if isinstance(body, str) else encode(body)
        body = _beginning(text, MAX_BODY) if _size(text) > MAX_BODY else body
    message = _shortened(error.message, MAX_MESSAGE)
    if body is error.body and message == error.message:
        return error
    return StepFailedError(
        error.code,
        message,
        category=error.category,
        http_status=error.http_status,
        body=body,
        retry_in=error.retry_in,
        step_input=error.step_input,
    )


def check_output(value: Any) -> None:
    """See that an output is not too large before more is done with it.

    Raises:
        StepFailedError: ``output_too_large``.
    """
    _limited(encode(value))


def capped_input(value: Any) -> Any:
    """What is kept of an input: of a large one an object that says so, ``{truncated, bytes, beginning}``."""
    text = _text(value)
    if text is None or (size := _size(text)) <= MAX_INPUT:
        return value
    # Quoting the text again may double it.
    return {"truncated": True, "bytes": size, "beginning": _beginning(text, MAX_INPUT // 2 - 64)}


def _input(value: Any) -> str | None:
    """The JSON text of an input."""
    text = _text(value)
    return text if text is None or len(text) * 4 <= MAX_INPUT else encode(capped_input(value))


def _size(text: str) -> int:
    return len(text.encode("utf-8", "surrogatepass"))


def _beginning(text: str, size: int) -> str:
    """As much of the text as fits into so many bytes of UTF-8."""
    return text.encode("utf-8", "surrogatepass")[:size].decode("utf-8", "ignore")


def _shortened(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "\u2026"


def _text(value: Any) -> str | None:
    return None if value is None else encode(value)
