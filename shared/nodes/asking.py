"""What the nodes that wait for an answer have in common."""

import json
import unicodedata
from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Final

from shared.nodes.base import Outcome, StepContext, Wait
from shared.questions import Question
from shared.states import Waits

TIMEOUT: Final = "timeout"
#: Unicode categories that no handle may hold: the handle taken is a column, and Postgres stores neither.
_UNUSABLE: Final = frozenset({"Cc", "Cs"})


def ask(question: Question, context: StepContext, reason: Waits) -> Wait:
    """Wait for an answer, at most for the node's time-out."""
    return Wait(context.now + timedelta(seconds=context.timeout), reason, question)


def answered(context: StepContext) -> Outcome:
    """What a wait ends with: ``{outcome, data}`` on the outcome's handle, or on ``timeout``."""
    if context.wake != "answer":
        return Outcome({"outcome": TIMEOUT, "data": None}, TIMEOUT)
    outcome = context.brought["outcome"]
    return Outcome({"outcome": outcome, "data": context.brought["data"]}, outcome)


def handle_faults(names: Iterable[tuple[str, str]], reserved: Sequence[str], thing: str) -> list[tuple[str, str]]:
    """Faults of handles that an author names, given as (path, name); ``thing`` is what they name."""
    faults = []
    seen: set[str] = set()
    for path, name in names:
        if name in reserved:
            faults.append((path, f'"{name}" is a handle of its own: a {thing} has another name.'))
        elif any(unicodedata.category(char) in _UNUSABLE for char in name):
            rule = f"{json.dumps(name)} has a control character or half of a surrogate pair: a handle has neither."
            faults.append((path, rule))
        elif name in seen:
            faults.append((path, f'"{name}" names two {thing}s: each has its own name.'))
        seen.add(name)
    return faults
