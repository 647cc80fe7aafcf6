"""The receiver's ledger against the rows of a run."""

from collections.abc import Iterator, Mapping
from typing import Final

from tests.faults.outcomes import results
from tests.faults.records import CUT, Call, Case, Step, Violation
from tests.faults.shapes import BEHAVIOURS, Shape

#: What a step of the engine's own may fail with: its worker died while it was to run at most once.
_CRASHED: Final = "worker_crashed"


def check_calls(shape: Shape, case: Case) -> Iterator[Violation]:
    """Each call was to be made, under the step's key, built on what is recorded, and not again if it must not be."""
    found = results(case)
    tokens = {name: token_of(step) for name, step in found.items()}
    for call in case.calls:
        if call.key != f"{case.run.id}:{call.node}:{call.item}":
            yield Violation("foreign_key", case.run.id, f"{call.node} was called under {call.key}")
        if call.node not in shape.kinds or not shape.is_called(call.node) or not _is_recorded(found.get(call.node)):
            yield Violation("stray_effect", case.run.id, f"{call.node} was called and has no result of it")
        else:
            yield from _check_ancestors(shape, case, call, found, tokens)
    for name in shape.kinds:
        if shape.data(name).get("on_crash") == "fail":
            made = sum(call.node == name for call in case.calls)
            if made > 1:
                yield Violation("repeated_effect", case.run.id, f"{name} was called {made} times")


def check_outcomes(shape: Shape, case: Case) -> Iterator[Violation]:
    """Each attempt of a call ended as the receiver's answers say."""
    for step in case.steps:
        if not shape.is_called(step.node):
            continue
        calls = [call for call in case.calls if (call.node, call.item) == (step.node, step.item)]
        if step.status == "success":
            token = token_of(step)
            if not any(call.token == token and call.status == 200 for call in calls):
                yield Violation("missing_effect", case.run.id, f"{step.node} recorded {token}, which nobody answered")
        elif step.status in {"failed", "retried"} and not _is_justified(shape, step, calls):
            yield Violation("unjustified", case.run.id, f"{step.node} is {step.status}: {step.error}")


def token_of(step: Step) -> str | None:
    """What the answer that a step recorded named itself by; None if it recorded none."""
    if step.status != "success" or not isinstance(step.output, dict):
        return None
    body = step.output.get("body")
    return body.get("token") if isinstance(body, dict) else None


def _is_recorded(step: Step | None) -> bool:
    return step is not None and step.status != "skipped"


def _check_ancestors(
    shape: Shape, case: Case, call: Call, found: Mapping[str, Step], tokens: Mapping[str, str | None]
) -> Iterator[Violation]:
    certain = shape.settled_before(call.node)
    for name, token in call.built_on.items():
        may_lack = name not in certain or (name in found and tokens[name] is None)
        if token != tokens.get(name) if token else not may_lack:
            what = f"{call.node} was built on {token or 'nothing'} of {name}, which recorded {tokens.get(name)}"
            yield Violation("early_effect", case.run.id, what)


def _is_justified(shape: Shape, step: Step, calls: list[Call]) -> bool:
    behaviour = BEHAVIOURS[shape.behaviours[step.node]]
    error = step.error or {}
    if error.get("code") == "timeout":
        return "timeout" in behaviour.settings
    if error.get("code") == _CRASHED:
        return "on_crash" in behaviour.settings
    if behaviour.must_succeed:
        return False
    status = error.get("status") or CUT
    return status != 200 and status in behaviour.answers and any(call.status == status for call in calls)
