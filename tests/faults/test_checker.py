"""The checker of the drills: it passes sound records, and finds each kind of violation when one is planted."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.faults.checker import KINDS, check_case, check_slots, check_strays, check_triggers
from tests.faults.records import Call, Case, Run, Sighting, Slot, Step, Trigger, Violation
from tests.faults.shapes import Drawing, Shape

_RUN = "fl_run_one"


def _shape() -> Shape:
    """start -> n1 (call) -> n2 (>= 50) -> n3 (call), n4 (call); both and n2's false into n5; n6: flaky; n7: delay."""
    drawing = Drawing("shape", "http://receiver")
    drawing.call([("start", None)], "ok")
    drawing.add("number", [("n1", None)], "number_condition", input='{{ nodes["n1"].body.number | default: 0 }}')
    drawing.call([("n2", "true")], "ok")
    drawing.call([("n2", "false")], "ok")
    drawing.text([("n3", None), ("n4", None)])
    drawing.call([("n5", None)], "limited")
    drawing.delay([("n6", None)], 2)
    drawing.add("call", [("start", None)], "webhook", on_crash="fail", continue_on_error=True)
    drawing.shape.behaviours["n8"] = "ok"
    return drawing.shape


def _step(node: str, seq: int, status: str = "success", **more: Any) -> Step:
    given = {"attempt": 1, "handle": None, "output": None, "error": None, "started_at": float(seq), "duration": 0.5}
    return Step(node=node, item="-", seq=seq, status=status, **(given | more))


def _answered(token: str, number: int = 0) -> dict[str, Any]:
    return {"status": 200, "body": {"token": token, "number": number}}


def _call(node: str, token: str | None, status: int = 200, nth: int = 1, **built_on: str) -> Call:
    return Call(f"{_RUN}:{node}:-", _RUN, node, "-", nth, built_on, 1.0, 1.1, status, token)


@dataclass
class World:
    """A sound drill of one run, one trigger and one slot; a test breaks one thing of it."""

    shape: Shape = field(default_factory=_shape)
    triggers: list[Trigger] = field(default_factory=lambda: [Trigger(1, "shape", {}, keyed=True, answers=[_RUN])])
    run: Run = field(default_factory=lambda: Run(_RUN, "shape", 1, "completed", 0, 0, 11, None, None, 0.0, 20.0))
    steps: list[Step] = field(
        default_factory=lambda: [
            _step("start", 0),
            _step("n1", 1, output=_answered("a", 70)),
            _step("n2", 2, handle="true", output={"result": True}),
            _step("n3", 3, output=_answered("b")),
            _step("n4", 4, "skipped"),
            _step("n5", 5, output={"text": _RUN}),
            _step("n6", 6, "retried", error={"code": "webhook_failed", "status": 429}),
            _step("n6", 8, attempt=2, output=_answered("c")),
            _step("n7", 9, started_at=10.5),
            _step("n8", 10, output=_answered("d")),
        ]
    )
    calls: list[Call] = field(
        default_factory=lambda: [
            _call("n1", "a"),
            _call("n3", "lost with its worker", n1="a"),
            _call("n3", "b", nth=2, n1="a"),
            _call("n6", None, 429, n1="a", n3="b", n4=""),
            _call("n6", "c", nth=2, n1="a", n3="b", n4=""),
            _call("n8", "d"),
        ]
    )
    sightings: list[Sighting] = field(default_factory=list)
    slots: list[Slot] = field(default_factory=lambda: [Slot("scheduled", 1.0, "fl_run_two", 1)])
    scheduled: list[Run] = field(
        default_factory=lambda: [Run("fl_run_two", "scheduled", None, "completed", 0, 0, 0, None, None, 1.0, 2.0)]
    )

    def __post_init__(self) -> None:
        self.sightings = [Sighting(_RUN, 5.0, "running", {}), self.seen(21.0), self.seen(22.0)]

    def seen(self, at: float, status: str = "completed", **more: Any) -> Sighting:
        """A sighting of the run when it had ended."""
        steps = [
            {"node_id": one.node, "item": one.item, "attempt": one.attempt, "status": one.status} for one in self.steps
        ]
        return Sighting(_RUN, at, status, {"status": status, "error_message": None, "steps": steps} | more)

    def step(self, node: str, attempt: int = 1, /, **changes: Any) -> None:
        """Change a row, before and after anybody looked at it."""
        place = next(n for n, one in enumerate(self.steps) if (one.node, one.attempt) == (node, attempt))
        self.steps[place] = self.steps[place]._replace(**changes)
        self.__post_init__()

    def without(self, node: str) -> None:
        """Lose the rows of a node, before anybody looked."""
        self.steps = [one for one in self.steps if one.node != node]
        self.__post_init__()

    def check(self) -> list[Violation]:
        """All that the checker finds."""
        calls = [call for call in self.calls if call.run == self.run.id]
        trigger = self.triggers[0] if self.triggers else None
        case = Case(self.run, trigger, self.steps, calls, self.sightings)
        return [
            *check_triggers(self.triggers, [self.run]),
            *check_strays([self.run], self.calls),
            *check_slots(self.slots, self.scheduled),
            *check_case(self.shape, case),
        ]


def test_sound_records_show_no_violation() -> None:
    """A call made twice by a crash, a retry, a skip, a slot and a terminal run seen twice break no promise."""
    assert World().check() == []


def test_a_run_that_was_cancelled_leaves_the_rest_undone() -> None:
    """What was not begun has no result, and what was open is cancelled: that is how such a run ends."""
    world = World()
    world.triggers[0].cancelled = True
    _end(world, status="cancelled")
    world.without("n8")
    world.calls.pop()
    world.step("n7", status="cancelled")
    world.sightings = []
    assert world.check() == []


def _end(world: World, **changes: Any) -> None:
    world.run = world.run._replace(**changes)


def _fail(world: World, node: str, code: str, status: int | None = None) -> None:
    world.step(node, status="failed", output=None, error={"code": code, "status": status})


def _become_terminal_and_change(world: World) -> None:
    world.sightings.insert(2, world.seen(21.5, steps=[]))


def _leave_open(world: World) -> None:
    _end(world, status="running", open_steps=1, completed_at=None)
    world.sightings = []


def _end_as(world: World, status: str) -> None:
    _end(world, status=status)
    world.sightings = []


def _double_result(world: World) -> None:
    world.steps.append(_step("n1", 7, attempt=2, output=_answered("a", 70)))
    world.shape.data("n1")["retry"] = {"max_attempts": 2}  # type: ignore[index]
    world.__post_init__()


def _skip_an_attempt(world: World) -> None:
    world.step("n6", 2, attempt=3)


def _wake_early(world: World) -> None:
    world.step("n7", started_at=8.6)


PLANTS: dict[str, list[Callable[[World], None]]] = {
    "lost": [lambda world: world.triggers[0].answers.append("fl_run_never")],
    "doubled_run": [],
    "phantom": [lambda world: world.triggers.clear()],
    "not_ended": [_leave_open, lambda world: _end(world, left_open=1), lambda world: _end(world, open_steps=1)],
    "changed": [_become_terminal_and_change],
    "backward": [lambda world: world.sightings.insert(0, Sighting(_RUN, 21.5, "running", {}))],
    "api_differs": [lambda world: _end(world, error_message="not shown")],
    "doubled_result": [_double_result],
    "attempts": [_skip_an_attempt, lambda world: world.shape.data("n6")["retry"].update(max_attempts=1)],
    "numbers": [lambda world: world.step("n1", seq=0), lambda world: _end(world, seq=10)],
    "verdict": [
        lambda world: world.without("n5"),
        lambda world: world.without("n7"),
        lambda world: world.step("n5", status="skipped"),
        lambda world: world.step("n5", status="cancelled"),
    ],
    "handle": [lambda world: world.step("n2", handle="false", output={"result": True})],
    "output": [lambda world: world.step("n5", output={"text": "fl_run_other"})],
    "status": [lambda world: _end_as(world, "failed"), lambda world: _end_as(world, "cancelled")],
    "early_retry": [lambda world: world.step("n6", 2, started_at=7.2)],
    "early_wake": [_wake_early],
    "missing_effect": [
        lambda world: world.calls.pop(),  # type: ignore[list-item]
        lambda world: world.step("n8", output=_answered("e")),
    ],
    "unjustified": [lambda world: _fail(world, "n8", "internal_error"), lambda world: _fail(world, "n8", "timeout")],
    "stray_effect": [
        lambda world: world.calls.append(_call("n4", "e", n1="a")),
        lambda world: world.calls.append(_call("n7", "e")),
        lambda world: world.calls.append(Call("fl_run_x:n1:-", "fl_run_x", "n1", "-", 1, {}, 1.0)),
    ],
    "foreign_key": [lambda world: setattr(world.calls[0], "key", f"{_RUN}:n1:0")],
    "early_effect": [
        lambda world: world.calls[2].built_on.update(n1="lost with its worker"),
        lambda world: world.calls[2].built_on.update(n1=""),
        lambda world: world.calls[4].built_on.update(n4="skipped"),
    ],
    "repeated_effect": [lambda world: world.calls.append(_call("n8", "e", nth=2))],
    "slot": [
        lambda world: world.slots.clear(),
        lambda world: world.slots.append(Slot("scheduled", 2.0, "fl_run_two", 1)),
        lambda world: world.slots.append(Slot("scheduled", 2.0, "fl_run_three", 0)),
    ],
}


@pytest.mark.parametrize(
    ("kind", "place"), [(kind, place) for kind, plants in PLANTS.items() for place in range(len(plants))]
)
def test_a_planted_violation_is_found(kind: str, place: int) -> None:
    """One broken thing in sound records is told as exactly that kind."""
    world = World()
    PLANTS[kind][place](world)
    assert {violation.kind for violation in world.check()} == {kind}


def test_a_trigger_that_made_two_runs_is_found() -> None:
    """Two runs with the marker of one trigger are one run too many, whichever was answered."""
    world = World()
    found = check_triggers(world.triggers, [world.run, world.run._replace(id="fl_run_again")])
    assert [violation.kind for violation in found] == ["doubled_run"]


def test_every_kind_of_violation_is_planted() -> None:
    """The list of kinds and the list of plants are the same."""
    assert set(PLANTS) == set(KINDS)
