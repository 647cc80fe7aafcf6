"""The rows of a run against each other and against the model."""

from collections import defaultdict
from collections.abc import Iterator
from itertools import pairwise
from typing import Final

from tests.faults.model import UNCAUGHT, Prediction, predict
from tests.faults.records import Case, Step, Violation
from tests.faults.shapes import BEHAVIOURS, Shape

#: Seconds by which rounded durations may make a wait look shorter.
_ROUNDING: Final = 0.06
_CONDITIONS: Final = frozenset({"number", "switch"})


def results(case: Case) -> dict[str, Step]:
    """The result of each node that has one."""
    return {step.node: step for step in case.steps if step.status != "retried"}


def check_counts(shape: Shape, case: Case) -> Iterator[Violation]:
    """One result per step, attempts without gaps, log numbers without repeats."""
    by_step: dict[tuple[str, str], list[Step]] = defaultdict(list)
    for step in case.steps:
        by_step[step.node, step.item].append(step)
    for (node, _), steps in by_step.items():
        yield from _check_attempts(shape, case, node, sorted(steps, key=lambda step: step.attempt))
    numbers = sorted(step.seq for step in case.steps)
    if len(set(numbers)) != len(numbers) or not set(numbers) <= set(range(case.run.seq)):
        yield Violation("numbers", case.run.id, f"{numbers} where {case.run.seq} were given out")


def _check_attempts(shape: Shape, case: Case, node: str, steps: list[Step]) -> Iterator[Violation]:
    settled = [step for step in steps if step.status != "retried"]
    if len(settled) > 1:
        yield Violation("doubled_result", case.run.id, f"{node}: {[step.status for step in settled]}")
    elif not settled and case.run.completed_at is not None:
        yield Violation("verdict", case.run.id, f"{node} was to be tried again and has no result")
    most = shape.data(node).get("retry", {}).get("max_attempts", 1)
    numbers = [step.attempt for step in steps]
    if numbers != list(range(1, len(steps) + 1)) or len(steps) > most:
        yield Violation("attempts", case.run.id, f"{node}: {numbers} of at most {most}")


def check_graph(shape: Shape, case: Case) -> Iterator[Violation]:
    """Each node has the result that the model gives it, and the run the status that its steps give it."""
    if case.run.completed_at is None:
        return  # told already: it has not ended
    found = results(case)
    enders = [status for step in found.values() if (status := _ends_run(shape, step)) is not None]
    payload = case.trigger.payload if case.trigger else {}
    told = predict(shape, payload, _ends(shape, found), _numbers(found))
    is_cancelled = case.run.status == "cancelled" and case.trigger is not None and case.trigger.cancelled
    for name in shape.kinds:
        yield from _check_node(shape, case, name, found.get(name), told, ended_early=bool(enders) or is_cancelled)
    legal = {"cancelled"} if is_cancelled else set(enders) or {"completed"}
    if case.run.status not in legal:
        yield Violation("status", case.run.id, f"{case.run.status} where its steps say {sorted(legal)}")


def _check_node(
    shape: Shape, case: Case, name: str, step: Step | None, told: Prediction, *, ended_early: bool
) -> Iterator[Violation]:
    ran = {"success", "failed"} if shape.is_called(name) else {"success"}
    fates: dict[bool | None, set[str | None]] = {True: {*ran}, False: {"skipped"}, None: set()}
    expected = fates[told.runs.get(name)]
    status = step.status if step else None
    if ended_early:
        expected = expected | {None, "cancelled"}
    if status not in expected:
        yield Violation("verdict", case.run.id, f"{name} is {status} where the graph says {expected or 'nothing yet'}")
    elif step is not None and status == "success":
        yield from _check_success(shape, case, step, told)


def _check_success(shape: Shape, case: Case, step: Step, told: Prediction) -> Iterator[Violation]:
    expected = told.handles.get(step.node)
    if step.handle != expected:
        yield Violation("handle", case.run.id, f"{step.node} ended on {step.handle} instead of {expected}")
    made = {"text": {"text": case.run.id}, "switch": {"case": expected}, "number": {"result": expected == "true"}}
    kind = shape.kinds[step.node]
    if kind in made and step.output != made[kind]:
        yield Violation("output", case.run.id, f"{step.node} gave {step.output} instead of {made[kind]}")
    if kind == "terminate" and case.run.output not in (None, {"ended": case.run.id}):
        yield Violation("output", case.run.id, f"the run gave {case.run.output}")


def _ends_run(shape: Shape, step: Step) -> str | None:
    """The status with which a step ended the run, if it did."""
    data = shape.data(step.node)
    if step.status == "failed" and not data.get("continue_on_error"):
        return "failed"
    return str(data["status"]) if shape.kinds[step.node] == "terminate" and step.status == "success" else None


def _ends(shape: Shape, found: dict[str, Step]) -> dict[str, str | None]:
    ends: dict[str, str | None] = {}
    for name, step in found.items():
        if shape.kinds[name] in _CONDITIONS:
            continue
        if step.status == "success":
            ends[name] = None
        elif step.status == "failed":
            ends[name] = "error" if shape.data(name).get("continue_on_error") else UNCAUGHT
    return ends


def _numbers(found: dict[str, Step]) -> dict[str, float]:
    """What each call that succeeded was answered."""
    numbers = {}
    for name, step in found.items():
        body = step.output.get("body") if isinstance(step.output, dict) and step.status == "success" else None
        if isinstance(body, dict) and "number" in body:
            numbers[name] = body["number"]
    return numbers


def check_timing(shape: Shape, case: Case) -> Iterator[Violation]:
    """Retries and delays waited as long as they were to."""
    attempts = sorted(
        (step for step in case.steps if step.status != "cancelled"), key=lambda one: (one.node, one.attempt)
    )
    for before, after in pairwise(attempts):
        if before.node == after.node and before.status == "retried":
            waited = after.started_at - before.started_at - before.duration
            asked = _asked(shape, before)
            if waited < asked - _ROUNDING:
                what = f"{after.node} was tried again after {waited:.3f} s instead of {asked:g} s"
                yield Violation("early_retry", case.run.id, what)
    for step in attempts:
        if shape.kinds[step.node] == "delay" and step.status == "success":
            yield from _check_delay(shape, case, step)


def _check_delay(shape: Shape, case: Case, step: Step) -> Iterator[Violation]:
    """It ended no sooner after the first of its sources than it says."""
    sources = {edge["source"] for edge in shape.incoming(step.node)}
    ends = (one.started_at + one.duration for name, one in results(case).items() if name in sources)
    begun = min(ends, default=step.started_at)
    waited, asked = step.started_at + step.duration - begun, float(shape.data(step.node)["duration"])
    if waited < asked - _ROUNDING:
        yield Violation("early_wake", case.run.id, f"{step.node} waited {waited:.3f} s instead of {asked:g} s")


def _asked(shape: Shape, step: Step) -> float:
    """Seconds that must pass after a failed attempt; jitter may halve the setting."""
    asked: float = shape.data(step.node)["retry"]["delay"] / 2
    if (step.error or {}).get("status") == 429:
        asked = max(asked, BEHAVIOURS[shape.behaviours[step.node]].retry_after)
    return asked
