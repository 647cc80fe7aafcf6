"""Transforms, delay, terminate and the triggers' outputs."""

from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest

from shared.egress.interface import Egress
from shared.errors import StepFailedError
from shared.nodes.base import StepContext, Terminate, TriggerContext
from shared.nodes.registry import default_registry
from tests.compiling import compile_node

NOW = datetime(2025, 10, 31, 12, 0, 0, 5, tzinfo=UTC)
CONTEXT = StepContext("fl_run_x", "n2", "-", 1, "fl_run_x:n2:-", NOW, 30.0, cast(Egress, None))


def paths(component: str, **data: Any) -> list[str]:
    """The paths of everything wrong with this data."""
    return [fault.path for fault in default_registry().check(component, data, "d")[0]]


def test_text_is_always_text() -> None:
    """A template that is one expression still gives text."""
    node = compile_node("n2", "text_transform", {"template": "{{ n1.x }}"})
    assert node.run({"n1": {"x": 5}}).output == {"text": "5"}
    assert node.run({"n1": {"x": ["\ud800"]}}).output == {"text": '["\\ud800"]'}


def test_mapper_keeps_types_and_fills_in_defaults() -> None:
    """Leaves keep their types; null and missing values take their defaults, objects inside objects too."""
    data = {
        "mapping": {
            "a": "{{ n1.a }}",
            "b": {"c": "{{ n1.c }}", "d": "{{ n1.none }}"},
            "l": ["{{ n1.a }}", "x{{ n1.a }}"],
            "k": 1,
        },
        "defaults": {"b": {"c": "dc", "d": "{{ n1.a }}", "e": True}, "z": 0},
    }
    output = compile_node("n2", "data_mapper", data).run({"n1": {"a": [1], "none": None}}).output
    assert output == {"a": [1], "b": {"c": "dc", "d": [1], "e": True}, "l": [[1], "x[1]"], "k": 1, "z": 0}


def test_mapper_without_a_default_is_strict() -> None:
    """A name that is not there and has no default fails the step, with the path of the leaf."""
    node = compile_node("n2", "data_mapper", {"mapping": {"a": {"b": ["{{ n1.no }}"]}}, "defaults": {"c": 1}})
    with pytest.raises(StepFailedError, match=r"data\.mapping\.a\.b\[0\]: n1\.no is undefined") as caught:
        node.run({"n1": {}})
    assert caught.value.code == "template_error"


def test_mapper_does_not_touch_what_it_was_given() -> None:
    """Neither the outputs before it nor the node itself change by a run."""
    node = compile_node("n2", "data_mapper", {"mapping": {"o": "{{ n1.o }}"}, "defaults": {"o": {"extra": 1}}})
    scope: dict[str, Any] = {"n1": {"o": {"a": 1}}}
    assert node.run(scope).output == node.run(scope).output == {"o": {"a": 1, "extra": 1}}
    assert scope == {"n1": {"o": {"a": 1}}}


def test_text_from_templates_stands_for_numbers_and_booleans() -> None:
    """Where a field takes a number or a boolean, a template may give it as text; anything else fails with the path."""
    node = compile_node("n2", "delay", {"duration": "1{{ n1.x }}", "unit": "hours"})
    assert node.begin({"n1": {"x": 5}}, CONTEXT).until == NOW + timedelta(hours=15)
    with pytest.raises(StepFailedError, match=r"data\.duration: ") as caught:
        node.begin({"n1": {"x": "x"}}, CONTEXT)
    assert caught.value.code == "invalid_data"


@pytest.mark.parametrize(
    ("data", "until"),
    [
        ({"duration": 90}, NOW + timedelta(seconds=90)),
        ({"duration": 1, "unit": "day"}, NOW + timedelta(days=1)),
        ({"duration": 1.5, "unit": "hours"}, NOW + timedelta(minutes=90)),
        ({"duration": 365, "unit": "days"}, NOW + timedelta(days=365)),
        ({"until": "2025-11-01T00:00:00Z"}, datetime(2025, 11, 1, tzinfo=UTC)),
        ({"until": "2025-11-01T00:00:00+02:00"}, datetime(2025, 10, 31, 22, tzinfo=UTC)),
        ({"until": "2025-11-01T00:00:00"}, datetime(2025, 11, 1, tzinfo=UTC)),
        ({"until": "2020-01-01"}, datetime(2020, 1, 1, tzinfo=UTC)),
    ],
)
def test_delay(data: dict[str, Any], until: datetime) -> None:
    """A delay waits for its duration or until its moment, and says when it went on."""
    assert paths("delay", **data) == []
    node = compile_node("n2", "delay", data)
    assert node.begin({}, CONTEXT).until == until
    assert node.resume({}, CONTEXT).output == {"resumed_at": "2025-10-31T12:00:00.000005Z"}


@pytest.mark.parametrize(
    ("data", "at"),
    [
        ({}, "d.duration"),
        ({"duration": 1, "until": "2025-11-01"}, "d.duration"),
        ({"duration": 366, "unit": "days"}, "d.duration"),
        ({"duration": -1}, "d.duration"),
        ({"duration": "5"}, "d.duration"),
        ({"duration": True}, "d.duration"),
        ({"duration": 10**400, "unit": "days"}, "d.duration"),
        ({"duration": 1, "unit": "weeks"}, "d.unit"),
        ({"until": "tomorrow"}, "d.until"),
        ({"until": 5}, "d.until"),
    ],
)
def test_delay_faults(data: dict[str, Any], at: str) -> None:
    """A delay that has no length, two, or too great a one is refused when it is saved."""
    assert paths("delay", **data) == [at]


@pytest.mark.parametrize("until", ["{{ n1.at }}", "2027-01-01"])
def test_delay_too_far_ahead_fails_the_step(until: str) -> None:
    """Only a run knows how far ahead a moment is; further than 365 days fails the step."""
    node = compile_node("n2", "delay", {"until": until})
    with pytest.raises(StepFailedError, match="at most 365 days"):
        node.begin({"n1": {"at": "9999-12-31T23:59:59Z"}}, CONTEXT)


def test_terminate() -> None:
    """The run's end carries the status, the rendered message and the output with its type."""
    data = {"status": "failed", "message": "no {{ n1.x }}", "output": {"x": "{{ n1.x }}"}}
    outcome = compile_node("n2", "terminate", data).run({"n1": {"x": 5}})
    assert outcome.terminate == Terminate("failed", "no 5", {"x": 5})
    assert outcome.output == {"status": "failed", "message": "no 5", "output": {"x": 5}}
    assert paths("terminate", status="cancelled") == ["d.status"]


def test_manual_trigger_lays_its_context_flat() -> None:
    """The caller's keys stand beside the trigger's own, which win."""
    payload = {"user_id": 7, "run_id": "forged", "context": "forged"}
    output = compile_node("n1", "manual_trigger", {}).trigger(TriggerContext("fl_run_x", "manual", payload)).output
    assert output == {"user_id": 7, "run_id": "fl_run_x", "trigger_type": "manual", "context": payload}


def test_webhook_trigger_gives_the_request() -> None:
    """The body stands under both of its names, and the request's other parts beside it."""
    parts = {"headers": {"a": "b"}, "query": {"q": "1"}, "method": "PUT", "received_at": "2025-10-31T12:00:00.000000Z"}
    payload = {"webhook_payload": [1], **parts}
    output = compile_node("n1", "webhook_trigger", {}).trigger(TriggerContext("r", "webhook", payload)).output
    assert output == {"run_id": "r", "trigger_type": "webhook", "webhook_payload": [1], "body": [1], **parts}


def test_webhook_trigger_started_by_hand() -> None:
    """A context given by hand stands where the body would, so that templates find it in the same place."""
    output = compile_node("n1", "webhook_trigger", {}).trigger(TriggerContext("r", "manual", {"x": 1})).output
    assert output["webhook_payload"] == output["body"] == {"x": 1}
    assert (output["headers"], output["query"], output["method"], output["received_at"]) == ({}, {}, None, None)


def test_scheduled_trigger() -> None:
    """A slot says when it was due; a start by hand has its context instead."""
    node = compile_node("n1", "schedule_trigger", {})
    due = {"scheduled_at": "2025-10-31T12:00:00.000000Z"}
    assert node.trigger(TriggerContext("r", "scheduled", due)).output == {
        "run_id": "r",
        "trigger_type": "scheduled",
        **due,
    }
    by_hand = node.trigger(TriggerContext("r", "manual", {"x": 1})).output
    assert by_hand == {"run_id": "r", "trigger_type": "manual", "scheduled_at": None, "context": {"x": 1}}


@pytest.mark.parametrize(
    ("data", "at"),
    [
        ({"schedule_type": "cron", "schedule_value": "* * *"}, ["d.schedule_value"]),
        ({"schedule_type": "hourly"}, ["d.schedule_type"]),
        ({"schedule_value": "5 minutes"}, ["d.schedule_type"]),
        ({"schedule_type": "interval", "schedule_value": 5}, ["d.schedule_value"]),
        ({}, []),
    ],
)
def test_schedules_are_checked(data: dict[str, Any], at: list[str]) -> None:
    """A schedule in a trigger's data is held to the rules of every schedule."""
    assert paths("scheduled_trigger", **data) == at
