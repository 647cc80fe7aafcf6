"""The fields of a workflow as callers send and receive them."""

from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from shared.schedule import MAX_VALUE, MOST_JITTER

ScheduleType = Literal["manual", "interval", "cron", "daily", "weekly", "monthly"]

_Name = Annotated[str, Meta(min_length=1, max_length=255, description="a text of 1 to 255 characters")]
_Description = Annotated[
    Annotated[str, Meta(max_length=2000)] | None, Meta(description="a text of at most 2,000 characters, or null")
]
_AuthorizationId = Annotated[
    str | None, Meta(description="the id of an authorization of this workspace (auth_...), or null")
]
_IsActive = Annotated[bool, Meta(description="true or false")]
_ScheduleType = Annotated[
    ScheduleType | None, Meta(description="one of manual, interval, cron, daily, weekly, monthly (null: manual)")
]
_ScheduleValue = Annotated[
    Annotated[str, Meta(max_length=MAX_VALUE)] | None,
    Meta(description="a text of at most 1,000 characters such as '5 minutes', '0 9 * * 1-5' or '09:00', or null"),
]
_Timezone = Annotated[str, Meta(max_length=100, description="an IANA name such as UTC or Europe/Berlin")]
_Nodes = Annotated[list[Any], Meta(description="a list of 1 to 2,000 nodes, exactly one of them a trigger")]
_Edges = Annotated[list[Any], Meta(description="a list of at most 10,000 edges")]
_Priority = Annotated[Literal["high", "normal", "low"], Meta(description="high, normal or low")]
_Gap = Annotated[Literal["shift", "skip"], Meta(description="shift or skip")]
_ErrorWorkflow = Annotated[
    str | None, Meta(description="the id of a workflow of this workspace that begins with an error_trigger, or null")
]
_KeepDays = Annotated[
    Annotated[int, Meta(ge=1)] | None,
    Meta(description="a whole number of days from 1 to the installation's EDGEWISE_KEEP_RUNS_DAYS, or null"),
]
_Most = Annotated[
    Annotated[int, Meta(ge=1, le=1_000_000)] | None, Meta(description="a whole number from 1 to 1,000,000, or null")
]
_OnLimit = Annotated[Literal["queue", "skip", "cancel_oldest"], Meta(description="queue, skip or cancel_oldest")]
_Key = Annotated[
    Annotated[str, Meta(min_length=1, max_length=1000)] | None,
    Meta(description="a template of 1 to 1,000 characters that may read the trigger, or null"),
]
_RunTimeout = Annotated[
    int, Meta(ge=1, le=31_536_000, description="a whole number of seconds from 1 to 31,536,000 (a year)")
]
_OnFailure = Annotated[Literal["cancel", "finish_branches"], Meta(description="cancel or finish_branches")]
_Fold = Annotated[Literal["first", "last", "both"], Meta(description="first, last or both")]
_Jitter = Annotated[int, Meta(ge=0, le=MOST_JITTER, description="a whole number of seconds from 0 to 86,400 (a day)")]
_Overlap = Annotated[
    Literal["allow", "skip", "queue", "cancel_running"], Meta(description="allow, skip, queue or cancel_running")
]
_Missed = Annotated[Literal["one", "all", "none"], Meta(description="one, all or none")]


class Settings(msgspec.Struct, frozen=True):
    """The settings of a workflow.

    Attributes:
        priority: the lane of its runs.
        dst_gap: what becomes of a slot that a clock change skips.
        dst_fold: at which of its two times a slot runs that a clock change repeats.
        jitter: seconds over which workflows with one schedule are spread; each has a delay of its own, always the same.
        missed_runs: which slots are made up for that passed while nobody could fire them: the newest, all, or none.
        overlap: what becomes of a slot that comes while the run of an earlier one is under way.
        max_concurrent_runs: how many of its runs may be under way; None: as many as come.
        on_limit: what becomes of a run that comes when so many are.
        concurrency_key: a template; runs that give an equal text run one after the other.
        run_timeout: seconds of active time: some step is ready, running or between retries.
        on_failure: whether the branches that do not depend on a failed step go on to their end.
        keep_runs_days: for how many days its runs are kept once they have ended; None: for as long as any.
        error_workflow_id: the workflow that starts when a run of this one has failed.
    """

    priority: _Priority = "normal"
    dst_gap: _Gap = "shift"
    dst_fold: _Fold = "first"
    jitter: _Jitter = 0
    missed_runs: _Missed = "one"
    overlap: _Overlap = "allow"
    max_concurrent_runs: _Most = None
    on_limit: _OnLimit = "queue"
    concurrency_key: _Key = None
    run_timeout: _RunTimeout = 3600
    on_failure: _OnFailure = "cancel"
    keep_runs_days: _KeepDays = None
    error_workflow_id: _ErrorWorkflow = None


_Settings = Annotated[dict[str, Any], Meta(description="an object of settings")]


class NewWorkflow(msgspec.Struct, frozen=True):
    """What a workflow is created of."""

    name: _Name
    nodes: _Nodes
    edges: _Edges
    description: _Description = None
    authorization_id: _AuthorizationId = None
    is_active: _IsActive = True
    schedule_type: _ScheduleType = "manual"
    schedule_value: _ScheduleValue = None
    timezone: _Timezone = "UTC"
    settings: _Settings = {}


class WorkflowChange(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is to change of a workflow; what is left out stays."""

    name: _Name | UnsetType = UNSET
    nodes: _Nodes | UnsetType = UNSET
    edges: _Edges | UnsetType = UNSET
    description: _Description | UnsetType = UNSET
    authorization_id: _AuthorizationId | UnsetType = UNSET
    is_active: _IsActive | UnsetType = UNSET
    schedule_type: _ScheduleType | UnsetType = UNSET
    schedule_value: _ScheduleValue | UnsetType = UNSET
    timezone: _Timezone | UnsetType = UNSET
    settings: _Settings | UnsetType = UNSET


class ScheduleFields(msgspec.Struct, frozen=True):
    """What a schedule is previewed of."""

    schedule_type: _ScheduleType = "manual"
    schedule_value: _ScheduleValue = None
    timezone: _Timezone = "UTC"
    settings: _Settings = {}


#: Fields of the workflow object that bodies may repeat and that mean nothing there.
READ_ONLY: Final = frozenset({"id", "next_run_at", "webhook_url", "created_at", "updated_at", "version"})
REQUIRED: Final = ("name", "nodes", "edges")


class Workflow(msgspec.Struct, frozen=True, kw_only=True):
    """The workflow object. Lists leave out ``nodes`` and ``edges``."""

    id: str
    name: str
    description: str | None
    nodes: msgspec.Raw | UnsetType = UNSET
    edges: msgspec.Raw | UnsetType = UNSET
    authorization_id: str | None
    schedule_type: str
    schedule_value: str | None
    next_run_at: str | None
    is_active: bool
    webhook_url: str | None
    created_at: str
    updated_at: str
    version: int
    timezone: str
    settings: msgspec.Raw


class CallableWorkflow(Workflow, frozen=True, kw_only=True):
    """A workflow that others may call.

    Attributes:
        input_schema: the JSON Schema that the context of a call must fit; null if it takes any.
    """

    input_schema: msgspec.Raw
