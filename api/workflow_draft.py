"""What a request makes of a workflow: every rule that needs no database, all faults at once. Pure."""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import msgspec

from api.fields import read_fields
from api.workflow_fields import READ_ONLY, REQUIRED, NewWorkflow, Settings
from shared import jsontext, schedule
from shared.errors import Fault, InvalidError
from shared.graph.catalogue import Catalogue
from shared.graph.plan import Plan, compile_plan
from shared.graph.suggest import ended, shown
from shared.nodes.references import check_templates
from shared.schedule import Schedule
from shared.schedule.model import quoted
from shared.states import Priority
from shared.store.workflows import WorkflowRow

SCHEDULED_TRIGGER: Final = "scheduled_trigger"
PRIORITIES: Final = tuple(Priority)
_SCHEDULE_FIELDS: Final = ("schedule_type", "schedule_value")
_ANY_ZONE: Final = "UTC"
_DEFAULTS: Final[Mapping[str, Any]] = {
    "description": None,
    "authorization_id": None,
    "is_active": True,
    "schedule_type": "manual",
    "schedule_value": None,
    "timezone": "UTC",
    "settings": {},
}


class Draft(NamedTuple):
    """A workflow about to be saved.

    Attributes:
        plan: None if the graph has faults.
        schedule: as it will be stored, from the workflow's own fields or from its trigger.
        values: name, description, authorization_id (text), is_active.
        nodes, edges, settings: JSON text.
    """

    values: Mapping[str, Any]
    plan: Plan | None
    schedule: Schedule
    nodes: str
    edges: str
    settings: str
    priority: int
    keep_runs_days: int | None


class Carried(NamedTuple):
    """A schedule in the data of a trigger; ``timezone`` is None if it leaves the zone to the workflow."""

    type: str
    value: str | None
    timezone: str | None


class Base(NamedTuple):
    """What a change starts from: the stored workflow, decoded.

    Attributes:
        own_schedule: whether its schedule stands on itself, and not in the data of its trigger.
        carries_zone: whether its zone is the trigger's.
    """

    values: Mapping[str, Any]
    own_schedule: bool
    carries_zone: bool


def base_of(row: WorkflowRow) -> Base:
    """The stored workflow; its schedule counts as its own unless its trigger carries one."""
    nodes = jsontext.decode(row.nodes or "[]")
    trigger: dict[str, Any] = next((node for node in nodes if node["id"] == row.trigger_node), {})
    carried = _carried(trigger.get("data", {})) if row.trigger_component == SCHEDULED_TRIGGER else None
    values = {
        "name": row.name,
        "description": row.description,
        "is_active": row.is_active,
        "schedule_type": row.schedule_type,
        "schedule_value": row.schedule_value,
        "timezone": row.timezone,
        "settings": jsontext.decode(row.settings),
        "nodes": nodes,
        "edges": jsontext.decode(row.edges or "[]"),
    }
    return Base(values, own_schedule=carried is None, carries_zone=carried is not None and carried.timezone is not None)


def draft(
    raw: Mapping[str, Any], catalogue: Catalogue, base: Base | None = None, *, longest_keep: int
) -> tuple[Draft, list[Fault]]:
    """The workflow that a request makes, of nothing or of a stored one, and everything that is wrong with it.

    ``longest_keep`` is the installation's retention in days: a workflow may only be given a shorter one.
    """
    given, faults = read_fields(NewWorkflow, raw, ignored=READ_ONLY)
    if given.get("schedule_type", "") is None:
        given["schedule_type"] = "manual"
    if base is None:
        faults += [_missing(name) for name in REQUIRED if name not in raw]
    settings, wrong = read_fields(Settings, given.get("settings", {}), prefix="settings.")
    wrong += _kept_too_long(settings, longest_keep)
    values = {**_DEFAULTS, **(base.values if base else {}), **given}
    if "settings" not in given:
        settings = values["settings"]
    plan, graph_faults = _compile(values, catalogue)
    own = _own_schedule(given, values, settings, base)
    scheduled, schedule_faults = _settle_schedule(own, plan)
    made = Draft(
        values,
        plan,
        scheduled,
        jsontext.encode(values.get("nodes", [])),
        jsontext.encode(values.get("edges", [])),
        jsontext.encode(settings),
        PRIORITIES.index(Priority(settings.get("priority", Priority.NORMAL))),
        settings.get("keep_runs_days"),
    )
    return made, [*faults, *wrong, *_key_faults(settings, plan), *schedule_faults, *graph_faults]


def schedule_faults(made: Schedule) -> list[Fault]:
    """What is wrong with a schedule, under the names of its fields."""
    wrong = schedule.check(made.type, made.value, made.timezone, dst_gap=made.dst_gap, dst_fold=made.dst_fold)
    return [Fault(field, "invalid_schedule", ended(f"{field}: {message}")) for field, message in wrong]


def _key_faults(settings: Mapping[str, Any], plan: Plan | None) -> list[Fault]:
    """What is wrong with the template of `concurrency_key`: it is rendered before any step but the trigger has run."""
    source = settings.get("concurrency_key")
    if not isinstance(source, str):
        return []
    faults, roots = check_templates([("settings.concurrency_key", source)])
    legal = {"trigger", "run", "workflow", *([] if plan is None else [plan.trigger])}
    for root in sorted(roots - legal):
        message = f"concurrency_key may read {', '.join(sorted(legal))} and nothing else, not {shown(root)}."
        faults.append(Fault("settings.concurrency_key", "unknown_reference", message))
    return faults


def _kept_too_long(settings: Mapping[str, Any], longest: int) -> list[Fault]:
    days = settings.get("keep_runs_days")
    if days is None or days <= longest:
        return []
    message = f"keep_runs_days must be at most {longest}, for which this installation keeps runs, not {days}."
    return [Fault("settings.keep_runs_days", "longer_than_installation", message)]


def _missing(name: str) -> Fault:
    return Fault(name, "parameter_missing", f"The '{name}' parameter is required for this request.")


def _compile(values: Mapping[str, Any], catalogue: Catalogue) -> tuple[Plan | None, list[Fault]]:
    """The plan of the graph. Where a list is missing or no list at all, that fault has been told."""
    if "nodes" not in values or "edges" not in values:
        return None, []
    try:
        return compile_plan(values["nodes"], values["edges"], catalogue), []
    except InvalidError as error:
        return None, list(error.faults)


def _own_schedule(
    given: Mapping[str, Any], values: Mapping[str, Any], settings: Mapping[str, Any], base: Base | None
) -> Schedule:
    """The schedule that stands on the workflow itself; manual if none does."""
    zone = values["timezone"]
    if base is not None and base.carries_zone and "timezone" not in given:
        zone = _ANY_ZONE  # it was the trigger's
    frame = Schedule("manual", None, zone, **_dst(settings))
    if base is not None and not base.own_schedule and not any(name in given for name in _SCHEDULE_FIELDS):
        return frame
    return msgspec.structs.replace(frame, type=values["schedule_type"], value=values["schedule_value"])


def _dst(settings: Mapping[str, Any]) -> dict[str, str]:
    return {name: settings[name] for name in ("dst_gap", "dst_fold") if name in settings}


def _settle_schedule(own: Schedule, plan: Plan | None) -> tuple[Schedule, list[Fault]]:
    """The one schedule of a workflow, of what stands on it and what its trigger carries."""
    faults = schedule_faults(own)
    trigger = plan.nodes[plan.trigger] if plan is not None else None
    carried = _carried(trigger.data) if trigger is not None and trigger.component == SCHEDULED_TRIGGER else None
    if carried is None:
        return own, faults
    faults += _conflicts(own, carried)
    if own.type == "manual":
        own = msgspec.structs.replace(own, type=carried.type, value=carried.value)
    return msgspec.structs.replace(own, timezone=carried.timezone or own.timezone), faults


def _conflicts(own: Schedule, carried: Carried) -> list[Fault]:
    """What stands on the workflow and in its trigger, and is not the same. The default zone counts as not given."""
    faults: list[Fault] = []
    if own.type != "manual" and (own.type, own.value) != (carried.type, carried.value):
        message = (
            f"The workflow's schedule is {own.type} {_told(own.value)} and its trigger's {carried.type} "
            f"{_told(carried.value)}; "
            "give one of them, or the same twice."
        )
        faults.append(Fault("schedule_type", "schedule_conflict", message))
    if carried.timezone is not None and own.timezone not in (_ANY_ZONE, carried.timezone):
        message = (
            f"The workflow's timezone is {own.timezone} and its trigger's {_told(carried.timezone)}; "
            "give one of them, or the same twice."
        )
        faults.append(Fault("timezone", "schedule_conflict", message))
    return faults


def _told(value: str | None) -> str:
    return "null" if value is None else quoted(value)


def _carried(data: Mapping[str, Any]) -> Carried | None:
    """The schedule in the data of a scheduled trigger, None if there is none or it is manual."""
    kind = data.get("schedule_type")
    return None if kind in (None, "manual") else Carried(kind, data.get("schedule_value"), data.get("timezone"))
