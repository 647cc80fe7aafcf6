"""What a drill's records prove, or which promise they show broken. Pure: records in, violations out.

Each kind of violation has a test that plants one. `check_case` looks at one run at a time, so that a drill of any
length is checked in little memory; the other functions need only what they name.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Final

from shared.states import RUN_TERMINAL
from tests.faults.effects import check_calls, check_outcomes
from tests.faults.outcomes import check_counts, check_graph, check_timing
from tests.faults.records import Call, Case, Run, Sighting, Slot, Trigger, Violation
from tests.faults.shapes import Shape

#: Every kind of violation, and the promise it breaks.
KINDS: Final = {
    "lost": "a 2xx names a run that is there",
    "doubled_run": "a trigger makes at most one run, however often it was repeated under its key",
    "phantom": "a run was asked for by somebody",
    "not_ended": "an accepted run reaches a terminal state and leaves no open step",
    "changed": "a terminal run never changes",
    "backward": "a run's status only goes forward",
    "api_differs": "the API shows what the tables hold",
    "doubled_result": "a step has one result",
    "attempts": "attempts are numbered from 1 without a gap, and only as many as its settings allow",
    "numbers": "log numbers of a run are unique, and below the next one",
    "verdict": "a node runs or is skipped as the graph says, given how the others ended",
    "handle": "a condition ends on the handle that its input says",
    "output": "an output is what the node makes of its input",
    "status": "a run ends as its steps say",
    "early_retry": "a retry waits as long as its setting and Retry-After ask",
    "early_wake": "a delay lasts as long as it says",
    "missing_effect": "a step that succeeded made its call, and recorded the answer it got",
    "unjustified": "a step fails only for what really happened to it",
    "stray_effect": "a call belongs to a run's step that was to make it, and is recorded there",
    "foreign_key": "every call of a step carries the step's one key",
    "early_effect": "a call is built on what is recorded of its ancestors, and on all of it",
    "repeated_effect": "a step that runs at most once is called at most once",
    "slot": "a schedule slot makes one run, and a scheduled run has its slot",
}
_RANKS: Final = {"pending": 0, "running": 1, "awaiting_ui_interaction": 1} | dict.fromkeys(map(str, RUN_TERMINAL), 2)


def check_case(shape: Shape, case: Case) -> Iterator[Violation]:
    """Everything that one run shows."""
    yield from _check_end(case.run)
    yield from check_counts(shape, case)
    yield from check_graph(shape, case)
    yield from check_timing(shape, case)
    yield from check_calls(shape, case)
    yield from check_outcomes(shape, case)
    yield from _check_sightings(case)


def check_triggers(triggers: Iterable[Trigger], runs: Iterable[Run]) -> Iterator[Violation]:
    """Every 2xx has exactly its run, and every run its trigger. ``runs`` are those that triggers could have made."""
    made: dict[int | None, list[str]] = defaultdict(list)
    for run in runs:
        made[run.marker].append(run.id)
    for trigger in triggers:
        found = made.pop(trigger.marker, [])
        where = f"trigger {trigger.marker}"
        for answer in set(trigger.answers) - set(found):
            yield Violation("lost", where, f"{answer} was accepted and is not there")
        if len(found) > 1:
            yield Violation("doubled_run", where, f"it made {found}")
    for marker, found in made.items():
        yield Violation("phantom", found[0], f"nobody sent the trigger {marker}")


def check_strays(runs: Iterable[Run], calls: Iterable[Call]) -> Iterator[Violation]:
    """Every call belongs to a run."""
    known = {run.id for run in runs}
    for call in calls:
        if call.run not in known:
            yield Violation("stray_effect", call.run, f"{call.node} was called for a run that is not there")


def check_slots(slots: Sequence[Slot], scheduled: Iterable[Run]) -> Iterator[Violation]:
    """Each slot has exactly one run, of its own; ``scheduled`` are all runs that a schedule started."""
    owners: dict[str, list[float]] = defaultdict(list)
    for slot in slots:
        owners[slot.run].append(slot.slot)
        if slot.runs != 1:
            yield Violation("slot", slot.run, f"the slot {slot.slot} has {slot.runs} runs")
    for run in scheduled:
        if len(owners[run.id]) != 1:
            yield Violation("slot", run.id, f"it stands for the slots {owners[run.id]}")


def _check_end(run: Run) -> Iterator[Violation]:
    is_terminal = run.status in RUN_TERMINAL and run.completed_at is not None
    if not is_terminal or run.open_steps or run.left_open:
        left = f"{run.open_steps} steps counted open and {run.left_open} open"
        yield Violation("not_ended", run.id, f"it is {run.status} with {left}")


def _check_sightings(case: Case) -> Iterator[Violation]:
    seen = sorted(case.sightings, key=lambda sighting: sighting.at)
    for earlier, later in pairwise(seen):
        yield from _check_pair(earlier, later)
    if not seen or seen[-1].status not in RUN_TERMINAL:
        return
    shown = seen[-1].shown
    steps = sorted((one["node_id"], one["item"], one["attempt"], one["status"]) for one in shown["steps"])
    rows = sorted((step.node, step.item, step.attempt, step.status) for step in case.steps)
    if (shown["status"], shown["error_message"]) != (case.run.status, case.run.error_message) or steps != rows:
        yield Violation("api_differs", case.run.id, f"{shown['status']} {steps} against {case.run.status} {rows}")


def _check_pair(earlier: Sighting, later: Sighting) -> Iterator[Violation]:
    if _RANKS[later.status] < _RANKS[earlier.status]:
        yield Violation("backward", later.run, f"{later.status} after {earlier.status}")
    elif earlier.status in RUN_TERMINAL and later.shown != earlier.shown:
        changed = [key for key in earlier.shown if earlier.shown[key] != later.shown.get(key)]
        yield Violation("changed", later.run, f"{earlier.status}, then {later.status}; other {changed}")
