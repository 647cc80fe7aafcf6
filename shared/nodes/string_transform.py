"""``string_transform``: text changed by a list of operations, one after the other."""

import os
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Annotated, Any, ClassVar, Final, Literal

import msgspec

from shared.errors import StepFailedError
from shared.graph.suggest import listed, shown
from shared.nodes.base import Kind, NodeType, Outcome
from shared.nodes.string_codes import OperationError, check_names
from shared.nodes.string_operations import KINDS, MOST_ITEMS, Operation, OperationKind, Tools, regex_of
from shared.templates import allowance, is_template, limits
from shared.templates.values import text_of

_NAMES: Final = tuple(KINDS)
Name = Literal[_NAMES]  # type: ignore[valid-type] # the names stand in one table
#: Operations that need no text to begin with.
_SOURCES: Final = ("uuid", "random")


class Data(msgspec.Struct, forbid_unknown_fields=True):
    """Configuration.

    Attributes:
        input: the text, at most 1,048,576 characters; a list of texts is changed item by item.
        operations: names such as ``trim``, or objects such as ``{"type": "replace", "search": "a", "replace": "b"}``.
    """

    operations: Annotated[list[Operation | Name], msgspec.Meta(min_length=1, max_length=50)]
    input: Any = ""


class StringTransform(NodeType[Data]):
    """Changes text; output ``{result}``: text, after ``split`` and its like a list, after ``length`` a number.

    It is pure, ``uuid`` and ``random`` too: what they gave is committed before an effect that sees it starts. A step
    that is run again because its worker died before that commit gives other ones, and nobody has seen the first.
    """

    component_id = "string_transform"
    title = "String transform"
    kind = Kind.ACTION
    data_type = Data
    timed = True
    example: ClassVar[Mapping[str, Any]] = {
        "input": "{{ n1.title }}",
        "operations": ["trim", {"type": "replace", "search": "&", "replace": "and"}, "slug"],
    }
    example_context: ClassVar[Mapping[str, Any]] = {"n1": {"title": "  Salt & Pepper "}}
    entropy: ClassVar[Callable[[int], bytes]] = os.urandom

    def check(self, data: Mapping[str, Any]) -> list[tuple[str, str]]:
        """See `NodeType.check`."""
        faults = []
        for index, raw in enumerate(data["operations"]):
            if not (isinstance(raw, str) and is_template(raw)):
                faults += _operation_faults(raw, f"operations[{index}]")
        if "input" not in data and not faults and _name_of(data["operations"][0]) not in _SOURCES:
            faults.append(("input", '"input" is required, unless the first operation is uuid or random.'))
        return faults

    def run_at(self, data: Data, now: Callable[[], datetime]) -> Outcome:
        """Do the operations in their order."""
        deadline = allowance.deadline()
        tools = Tools(type(self).entropy, lambda: int(now().timestamp() * 1000), deadline)
        value: Any = data.input if isinstance(data.input, list) else text_of(data.input)
        try:
            _checked(value)
        except OperationError as error:
            raise StepFailedError("invalid_data", f"data.input: {error}.") from error
        for index, operation in enumerate(data.operations):
            value = _done(value, operation, tools, f"data.operations[{index}]")
        return Outcome({"result": value})


def _name_of(raw: Any) -> Any:
    return raw.get("type") if isinstance(raw, dict) else raw


def _operation_faults(raw: Any, path: str) -> list[tuple[str, str]]:
    name = _name_of(raw)
    given: Mapping[str, Any] = raw if isinstance(raw, dict) else {}
    kind = KINDS.get(name)
    if kind is None:
        return [(f"{path}.type", f"There is no operation {shown(name)}; legal: {', '.join(_NAMES)}.")]
    legal = (*kind.required, *kind.optional)
    faults = [
        (f"{path}.{field}", f'"{field}" is required by the operation "{name}".')
        for field in kind.required
        if given.get(field) is None
    ]
    for field in given:
        if field != "type" and field not in legal:
            rule = f"its parameters are {listed(legal)}" if legal else "it has no parameters"
            faults.append((f"{path}.{field}", f'The operation "{name}" takes no {shown(field)}; {rule}.'))
    return faults or _constant_faults(name, given, path)


def _constant_faults(name: str, given: Mapping[str, Any], path: str) -> list[tuple[str, str]]:
    """What is wrong with parameters that hold no template, found by doing the operation on a short text."""
    if any(isinstance(value, str) and is_template(value) for value in given.values()):
        return []
    tools = Tools(bytes, lambda: 0, allowance.deadline())
    operation = msgspec.convert({**given, "type": name}, Operation)
    try:
        if operation.pattern is not None:
            regex_of(operation)
        if name in ("hash", "hmac"):
            check_names(operation.algorithm or "sha256", operation.encoding or "hex")
        KINDS[name].run("", operation, tools)
    except OperationError as error:
        return [(path, f"{str(error)[:1].upper()}{str(error)[1:]}.")]
    return []


def _done(value: Any, operation: Any, tools: Tools, path: str) -> Any:
    it = Operation(type=operation) if isinstance(operation, str) else operation
    try:
        return _checked(_changed(value, it, _kind_of(it), tools))
    except OperationError as error:
        raise StepFailedError("invalid_data", f"{path}: {error}.") from error


def _kind_of(it: Operation) -> OperationKind:
    """The operation's kind; templates may have given a name that there is not, or null for what it needs."""
    kind = KINDS.get(it.type)
    if kind is None:
        raise OperationError(f"there is no operation {shown(it.type)}; legal: {', '.join(_NAMES)}")
    for field in kind.required:
        if getattr(it, field) is None:
            raise OperationError(f'"{field}" is required by the operation "{it.type}"; it is null')
    return kind


def _changed(value: Any, it: Operation, kind: OperationKind, tools: Tools) -> Any:
    tools.left()
    if isinstance(value, list) and not kind.whole:
        return [_each(item, it, kind, tools) for item in value]
    return kind.run(value if isinstance(value, list) else text_of(value), it, tools)


def _each(item: Any, it: Operation, kind: OperationKind, tools: Tools) -> Any:
    tools.left()
    return kind.run(text_of(item), it, tools)


def _checked(value: Any) -> Any:
    """The value, unless a text is too long, or a list has too many items or characters."""
    items = value if isinstance(value, list) else [value]
    if len(items) > MOST_ITEMS:
        raise OperationError(f"the list has {len(items)} items; at most {MOST_ITEMS}")
    size = sum(len(item) if isinstance(item, (str, list)) else 1 for item in items)
    if size > limits.OUTPUT:
        raise OperationError(f"the text has {size} characters; at most {limits.OUTPUT}")
    return value
