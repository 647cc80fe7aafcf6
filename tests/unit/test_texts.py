"""What is kept of a step's end: JSON that Postgres takes, and no more of it than the caps allow."""

import json
from typing import Any

import pytest

from shared.errors import StepFailedError
from shared.nodes.base import Outcome, Terminate
from shared.texts import (
    MAX_BODY,
    MAX_INPUT,
    MAX_MESSAGE,
    MAX_OUTPUT,
    item_error,
    storable,
    texts_of,
    texts_of_failure,
)


def failure(**fields: Any) -> StepFailedError:
    return StepFailedError("refused", fields.pop("message", "No."), **fields)


@pytest.mark.parametrize("character", ["x", '"', "\\", "\u00e9", "\U0001f600", "\ud800", "\n"])
def test_a_large_input_is_cut_and_says_so(character):
    """Its beginning is kept with its size; the text is legal JSON within the cap, whatever it is made of."""
    value = {"body": character * MAX_INPUT}
    for texts in (
        texts_of(Outcome({}, step_input=value), stored=True),
        texts_of_failure(failure(step_input=value))[1],
    ):
        assert texts.step_input is not None
        assert len(texts.step_input.encode()) <= MAX_INPUT
        kept = json.loads(texts.step_input)
        assert kept["truncated"] is True
        assert kept["bytes"] > MAX_INPUT
        assert kept["beginning"].startswith('{"body":"')
        assert len(kept["beginning"].encode()) > MAX_INPUT // 3


def test_an_input_at_the_cap_is_kept_whole():
    """64 KiB of JSON are stored as they are."""
    value = "x" * (MAX_INPUT - 2)
    assert texts_of(Outcome({}, step_input=value), stored=True).step_input == f'"{value}"'
    assert texts_of(Outcome({}), stored=True).step_input is None


@pytest.mark.parametrize("body", ["x" * 10_000, "\u00e9" * 10_000, {"a": ["x" * 10_000]}])
def test_the_body_beside_an_error_is_cut(body):
    """Two kilobytes of it are kept, as text, in the log and for the error edge."""
    error, texts = texts_of_failure(failure(body=body, http_status=500, category="5xx", retry_in=3.0))
    assert isinstance(error.body, str)
    assert MAX_BODY - 4 < len(error.body.encode()) <= MAX_BODY
    assert json.loads(texts.error or "")["body"] == error.body
    assert (error.http_status, error.category, error.retry_in) == (500, "5xx", 3.0)


def test_small_failures_are_kept_as_they_are():
    """A body that is JSON stays JSON."""
    original = failure(body={"reason": "no"}, step_input={"url": "x"})
    error, texts = texts_of_failure(original)
    assert error is original
    assert json.loads(texts.error or "") == {
        "code": "refused",
        "message": "No.",
        "status": None,
        "body": {"reason": "no"},
    }


def test_messages_are_cut():
    """Of an error, of an item, of a run."""
    long = "x" * (MAX_MESSAGE + 1)
    assert len(texts_of_failure(failure(message=long))[0].message) == MAX_MESSAGE
    assert len(json.loads(item_error(failure(message=long)))["message"]) == MAX_MESSAGE
    assert storable(long).endswith("\u2026")
    assert storable("x" * MAX_MESSAGE) == "x" * MAX_MESSAGE
    assert storable("a\0\ud800b") == "a\ufffd\ufffdb"


def test_what_terminate_leaves_is_an_output():
    """The output of a run has the cap of a step's."""
    fits = Outcome({}, terminate=Terminate("completed", output="x" * (MAX_OUTPUT - 2)))
    assert texts_of(fits, stored=True).run_output
    with pytest.raises(StepFailedError) as caught:
        texts_of(Outcome({}, terminate=Terminate("completed", output="x" * MAX_OUTPUT)), stored=True)
    assert caught.value.code == "output_too_large"


def test_a_body_that_is_no_json_is_an_internal_error():
    """A node type that puts anything else there fails its step all the same."""
    error, _ = texts_of_failure(failure(body=object()))
    assert error.code == "internal_error"
