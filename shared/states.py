"""The states of a run and of a step, and the transitions between them, as data.

The SQL guards and the charts in the documentation are tested against these tables. This is the lowest module: it
imports nothing of the project.
"""

from enum import StrEnum


class RunStatus(StrEnum):
    """Where a run stands.

    ``pending``: accepted and durable; no step has been committed yet. Ingest puts it there.
    ``running``: at least one advance is committed and steps are open. A crash leaves it here: its open steps are leased
    or queued, so rescue or re-sending goes on with them.
    ``awaiting_ui_interaction``: every open step waits for a person.
    ``completed``, ``failed``, ``cancelled``: terminal; nothing changes such a run again.
    """

    PENDING = "pending"
    RUNNING = "running"
    AWAITING = "awaiting_ui_interaction"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


class StepStatus(StrEnum):
    """Where a step stands. The first three are *open* (rows of ``open_steps``), the others are *settled* (``steps``).

    ``ready``: may run now; put there by ingest, a fork, a join's last arrival, a timer that came due, or rescue. A
    worker takes it out: by a claim, or by committing the advance that ran it. A crash leaves it ready.
    ``running``: claimed by one incarnation under one claim id. Taken out by the advance that carries this claim id, or
    back to ready by rescue when the incarnation's lease has run out.
    ``waiting``: for a time, an answer, a child run, its items or a slot (`Waits`). What it waits for turns it ready:
    the scheduler when Postgres's clock says so, an answer, or the commit that ends the child or the last item.
    ``success``, ``failed``, ``skipped``, ``cancelled``: the one result of the step.
    ``retried``: a failed attempt that another attempt follows; history, not the step's result.
    """

    READY = "ready"
    RUNNING = "running"
    WAITING = "waiting"
    SUCCESS = "success"
    FAILED = "failed"
    SKIPPED = "skipped"
    CANCELLED = "cancelled"
    RETRIED = "retried"


RUN_TERMINAL = frozenset({RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.CANCELLED})
STEP_OPEN = frozenset({StepStatus.READY, StepStatus.RUNNING, StepStatus.WAITING})

RUN_TRANSITIONS: dict[RunStatus, frozenset[RunStatus]] = {
    RunStatus.PENDING: frozenset({RunStatus.RUNNING, RunStatus.AWAITING, *RUN_TERMINAL}),
    RunStatus.RUNNING: frozenset({RunStatus.AWAITING, *RUN_TERMINAL}),
    RunStatus.AWAITING: frozenset({RunStatus.RUNNING, *RUN_TERMINAL}),
    RunStatus.COMPLETED: frozenset(),
    RunStatus.FAILED: frozenset(),
    RunStatus.CANCELLED: frozenset(),
}

_SETTLED = frozenset(
    {StepStatus.SUCCESS, StepStatus.FAILED, StepStatus.SKIPPED, StepStatus.CANCELLED, StepStatus.RETRIED}
)
STEP_TRANSITIONS: dict[StepStatus, frozenset[StepStatus]] = {
    StepStatus.READY: frozenset({StepStatus.RUNNING, StepStatus.WAITING, *_SETTLED}),
    StepStatus.RUNNING: frozenset({StepStatus.READY, StepStatus.WAITING, *_SETTLED}),
    StepStatus.WAITING: frozenset({StepStatus.READY, StepStatus.CANCELLED}),
    **{status: frozenset() for status in _SETTLED},
}

#: What a step's status is called in a log entry of the contract; skipped and cancelled steps leave no log entry.
LOG_STATUS: dict[StepStatus, str] = {
    StepStatus.SUCCESS: "success",
    StepStatus.FAILED: "error",
    StepStatus.RETRIED: "warning",
}


class TriggerType(StrEnum):
    """What started a run."""

    MANUAL = "manual"
    SCHEDULED = "scheduled"
    WEBHOOK = "webhook"
    SYNC = "sync"
    WORKFLOW = "workflow"
    EVENT = "event"
    ERROR = "error"


class Waits(StrEnum):
    """What a waiting step waits for.

    ``timer``: a moment (delay). ``retry``: the moment of its next attempt. ``callback``, ``person``: an answer, or a
    moment. ``child_run``: the end of a run it started. ``items``: the ends of an iterator's items. ``concurrency``: a
    slot of its workflow's limit.
    """

    TIMER = "timer"
    RETRY = "retry"
    CALLBACK = "callback"
    PERSON = "person"
    CHILD_RUN = "child_run"
    ITEMS = "items"
    CONCURRENCY = "concurrency"


class Priority(StrEnum):
    """The three lanes of the queue, first to last."""

    HIGH = "high"
    NORMAL = "normal"
    LOW = "low"
