"""The engine's own fields in a node's ``data``: what they are, which values are legal, and on which nodes."""

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, get_type_hints

import msgspec

from shared.errors import Fault
from shared.graph.catalogue import SETTINGS_FIELDS, Kind, Mode
from shared.graph.suggest import Nearest, clean, listed, shown

MAX_SECONDS: Final = 365 * 24 * 3600
Category = Literal["network", "timeout", "429", "5xx", "4xx", "error"]
Seconds = Annotated[float, msgspec.Meta(ge=0, le=MAX_SECONDS)]


class Retry(msgspec.Struct, frozen=True, omit_defaults=True):
    """When a failed attempt is followed by another.

    Attributes:
        max_attempts: the first included; 1 is no retry.
        delay: seconds before the second attempt; later ones wait as ``backoff`` says.
        max_delay: seconds an exponential delay grows to.
        jitter: whether a delay is cut to a random 50-100% of itself.
        on: categories of failure that are tried again.
    """

    max_attempts: Annotated[int, msgspec.Meta(ge=1, le=100)] = 1
    backoff: Literal["fixed", "exponential"] = "exponential"
    delay: Seconds = 1.0
    max_delay: Seconds = 300.0
    jitter: bool = True
    on: tuple[Category, ...] = ("network", "timeout", "429", "5xx")


class JoinCount(msgspec.Struct, frozen=True):
    """Run at the ``count``-th incoming edge that fires."""

    count: Annotated[int, msgspec.Meta(ge=1)]


class NodeSettings(msgspec.Struct, frozen=True, omit_defaults=True):
    """How the engine treats one node, whatever its type.

    Attributes:
        continue_on_error: a failure ends the step on its ``error`` handle instead of failing the run.
        timeout: seconds an attempt may take, or None for the default of the node's mode.
        retry: None for a single attempt.
        join: ``all``: when every incoming edge is settled and one fired; ``any``: at the first that fires.
        disabled: the node passes its input on.
        on_crash: ``fail``: a step whose worker died is never called again, it fails with ``worker_crashed``.
    """

    continue_on_error: bool = False
    timeout: Annotated[float, msgspec.Meta(gt=0, le=MAX_SECONDS)] | None = None
    retry: Retry | None = None
    join: Literal["all", "any"] | JoinCount = "all"
    disabled: bool = False
    on_crash: Literal["retry", "fail"] = "retry"

    @property
    def is_once(self) -> bool:
        """Whether the node is called at most once per step."""
        return self.on_crash == "fail"


DEFAULT: Final = NodeSettings()
_RULES: Final = {
    "continue_on_error": "true or false",
    "timeout": f"seconds, more than 0 and at most {MAX_SECONDS}",
    "retry": "an object with any of " + listed(Retry.__struct_fields__),
    "join": '"all", "any" or {"count": n} with n a whole number of at least 1',
    "disabled": "true or false",
    "on_crash": '"retry" or "fail"',
    "max_attempts": "a whole number from 1 to 100",
    "backoff": '"fixed" or "exponential"',
    "delay": f"seconds, from 0 to {MAX_SECONDS}",
    "max_delay": f"seconds, from 0 to {MAX_SECONDS}",
    "jitter": "true or false",
    "on": "a list of " + listed(["network", "timeout", "429", "5xx", "4xx", "error"]),
    "count": "a whole number of at least 1",
}
_PLACES: Final = {
    "continue_on_error": "actions",
    "timeout": "actions other than iterators",
    "retry": "actions other than iterators",
    "join": "nodes other than the trigger",
    "disabled": "actions with a single output that do not wait",
    "on_crash": "actions that call something outside and are not disabled",
}
_TYPES: Final[dict[type[msgspec.Struct], dict[str, Any]]] = {
    struct: get_type_hints(struct, include_extras=True) for struct in (NodeSettings, Retry, JoinCount)
}


def read_settings(data: Mapping[str, Any], path: str, nearest: Nearest) -> tuple[NodeSettings, list[Fault]]:
    """The settings in a node's ``data``, and every fault in them; a faulty field counts as absent."""
    present = {name: data[name] for name in SETTINGS_FIELDS if name in data}
    if not present:
        return DEFAULT, []
    faults: list[Fault] = []
    for name, struct in (("retry", Retry), ("join", JoinCount)):
        if isinstance(present.get(name), dict):
            present[name] = _read_object(struct, present[name], f"{path}.{name}", faults, nearest)
    return NodeSettings(**_legal_fields(NodeSettings, present, path, faults)), faults


def _read_object(
    struct: type[Retry | JoinCount], raw: Mapping[str, Any], path: str, faults: list[Fault], nearest: Nearest
) -> Any:
    legal = struct.__struct_fields__
    for name in raw:
        if name not in legal:
            hint = nearest.hint(name, lambda: legal)
            message = f"Unknown field {shown(name)}{hint} Legal here: {listed(legal)}."
            faults.append(Fault(f"{path}.{clean(name)}", "unknown_field", message))
    values = _legal_fields(struct, raw, path, faults)
    if struct is Retry:
        return Retry(**values)
    if "count" not in raw:
        faults.append(Fault(f"{path}.count", "required", f"count is required: {_RULES['count']}."))
    return JoinCount(**values) if values else "all"


def _legal_fields(
    struct: type[msgspec.Struct], raw: Mapping[str, Any], path: str, faults: list[Fault]
) -> dict[str, Any]:
    values = {}
    for name, annotation in _TYPES[struct].items():
        if name not in raw:
            continue
        try:
            values[name] = msgspec.convert(raw[name], annotation)
        except (msgspec.ValidationError, UnicodeEncodeError):  # the latter: lone surrogates in a text
            message = f"{name} must be {_RULES[name]}, not {shown(raw[name])}."
            faults.append(Fault(f"{path}.{name}", "invalid_value", message))
    return values


def settings_of(kind: Kind, mode: Mode, handles: tuple[str, ...]) -> tuple[str, ...]:
    """The settings that this kind of node takes."""
    action = kind is Kind.ACTION
    attempted = action and mode is not Mode.ITERATE
    taken = {
        "continue_on_error": action,
        "timeout": attempted,
        "retry": attempted,
        "join": kind is not Kind.TRIGGER,
        "disabled": action and mode is not Mode.WAIT and not handles,
        "on_crash": mode is Mode.EFFECT,
    }
    return tuple(name for name, legal in taken.items() if legal)


def misplaced(settings: NodeSettings, kind: Kind, mode: Mode, handles: tuple[str, ...], path: str) -> list[Fault]:
    """A fault for each setting that this kind of node does not take; a setting at its default harms nobody."""
    if settings is DEFAULT:
        return []
    taken = {*settings_of(kind, mode, handles)} - ({"on_crash"} if settings.disabled else set())
    faults = [
        Fault(f"{path}.{name}", "setting_not_allowed", f"{name} is only for {_PLACES[name]}.")
        for name in SETTINGS_FIELDS
        if name not in taken and getattr(settings, name) != getattr(DEFAULT, name)
    ]
    if settings.is_once and settings.retry is not None and settings.retry.max_attempts > 1:
        message = 'With "on_crash": "fail" a step is called at most once, so retry.max_attempts must be 1.'
        faults.append(Fault(f"{path}.retry.max_attempts", "setting_not_allowed", message))
    return faults
