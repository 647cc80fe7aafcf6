"""The operations of ``array_transform``: what each makes of a list, and the options it takes."""

from collections.abc import Callable, Iterator, Mapping
from math import fsum, isfinite
from typing import Annotated, Any, Final, Literal

import msgspec

from shared.errors import StepFailedError
from shared.graph.suggest import listed
from shared.nodes.budget import ITEMS, Budget, limited, measured, weight
from shared.nodes.comparisons import Terms, is_empty
from shared.nodes.fields import Plain
from shared.nodes.list_comparisons import identity, items_of
from shared.nodes.operands import number
from shared.nodes.rules import member
from shared.templates import limits
from shared.templates.values import text_of

Name = Literal[
    "map", "omit", "sort", "reverse", "unique", "compact", "flatten", "chunk", "slice", "concat", "intersect",
    "difference", "group", "key_by", "count_by", "count", "sum", "average", "min", "max", "first", "last", "join",
]  # fmt: skip
_TERMS: Final = Terms()
_DEPTH: Final = 10


class Options(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """What operations take; each takes some of them.

    Attributes:
        field: a path in an item, such as ``address.city`` or ``tags[0]``; null for the item itself. What ``map`` takes
            from each, what is sorted, grouped, summed and so on by.
        fields: for ``map`` the fields of a new object as ``{"name": "path"}``, or a list of those kept; for ``omit``
            a list of those left out. At most 100.
        order: of ``sort``, where numbers come before text, text before the rest, and null is the greatest.
        size: items of each part of ``chunk``, at least 1.
        start: of ``slice``, from 0; negative from the end.
        end: of ``slice``, itself left out; negative from the end.
        depth: levels that ``flatten`` takes away, 1-10.
        separator: between the parts of ``join``.
        value: the other list of ``concat``, ``intersect`` and ``difference``.
    """

    field: str | None = None
    fields: (
        Annotated[dict[str, str], msgspec.Meta(max_length=100)]
        | Annotated[list[str], msgspec.Meta(max_length=100)]
        | None
    ) = None
    order: Plain[Literal["asc", "desc"]] = "asc"
    size: Annotated[int, msgspec.Meta(ge=1)] | None = None
    start: int | None = None
    end: int | None = None
    depth: Annotated[int, msgspec.Meta(ge=1, le=_DEPTH)] = 1
    separator: str = ","
    value: Any = None


class Step(Options, forbid_unknown_fields=True, kw_only=True):
    """One operation with its options.

    Attributes:
        operation: its name.
    """

    operation: Plain[Name]


class Work(msgspec.Struct, frozen=True):
    """What an operation works on.

    Attributes:
        items: at most 10,000.
        path: where the items stand, for errors.
        place: where the operation stands.
        budget: what its work is taken from.
    """

    items: list[Any]
    options: Options
    path: str
    place: str
    budget: Budget

    def values(self) -> Iterator[Any]:
        """The field of each item."""
        for item in self.items:
            value = item if self.options.field is None else member(item, self.options.field)
            self.budget.spend(2 + weight(value))
            yield value

    def keyed(self) -> Iterator[tuple[str, Any]]:
        """Each item with its field as text."""
        return zip(map(text_of, self.values()), self.items, strict=True)

    def numbers(self) -> list[int | float]:
        """The field of each item as a number.

        Raises:
            StepFailedError: ``not_a_number``.
        """
        suffix = f".{self.options.field[:80]}" if self.options.field else ""
        return [number(value, f"{self.path}[{index}]{suffix}") for index, value in enumerate(self.values())]

    def other(self) -> list[Any]:
        """The other list.

        Raises:
            StepFailedError: ``not_a_list``, ``too_many_items``.
        """
        return limited(items_of(self.options.value, f"{self.place}.value"), f"{self.place}.value")


class Operation(msgspec.Struct, frozen=True):
    """What an operation does.

    Attributes:
        run: makes the result.
        takes: its options.
        needs: those of them of which one must be given.
        gives_list: whether another operation may follow.
    """

    run: Callable[[Work], Any]
    takes: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    gives_list: bool = True


def _map(work: Work) -> list[Any]:
    fields = work.options.fields
    if fields is None:
        return list(work.values())
    paths = fields if isinstance(fields, dict) else {name: name for name in fields}
    made: list[Any] = []
    for item in work.items:
        work.budget.spend(1 + len(paths))
        made.append({name: member(item, path) for name, path in paths.items()})
    return list(measured(made, work.budget))


def _omit(work: Work) -> list[Any]:
    left_out = frozenset(work.options.fields or ())
    return [_without(item, left_out, work.budget) for item in work.items]


def _without(item: Any, names: frozenset[str], budget: Budget) -> Any:
    if not isinstance(item, dict):
        return item
    budget.spend(1 + len(item) // 8)
    return {name: value for name, value in item.items() if name not in names}


def _rank(value: Any) -> tuple[int, Any]:
    """Numbers before text before the rest, which goes by its text; null behind everything."""
    if isinstance(value, bool):
        return 2, text_of(value)
    if isinstance(value, (int, float)):
        return 0, value
    return (3, "") if value is None else (1 if isinstance(value, str) else 2, text_of(value))


def _sort(work: Work) -> list[Any]:
    ranked = list(zip(map(_rank, work.values()), work.items, strict=True))
    ranked.sort(key=lambda pair: pair[0], reverse=work.options.order == "desc")
    return [item for _, item in ranked]


def _identities(values: Any, budget: Budget) -> Iterator[str]:
    for value in values:
        known = identity(value, _TERMS)
        budget.spend(2 + weight(known))
        yield f"{'text' if isinstance(value, str) else 'other'}:{known}"


def _unique(work: Work) -> list[Any]:
    seen: dict[str, Any] = {}
    for key, item in zip(_identities(work.values(), work.budget), work.items, strict=True):
        seen.setdefault(key, item)
    return list(seen.values())


def _shared(wanted: bool) -> Callable[[Work], list[Any]]:
    """The items that are in the other list, or those that are not; in their order, repeats as they come."""

    def run(work: Work) -> list[Any]:
        others = frozenset(_identities(work.other(), work.budget))
        keys = _identities(work.values(), work.budget)
        return [item for key, item in zip(keys, work.items, strict=True) if (key in others) is wanted]

    return run


def _flatten(work: Work) -> list[Any]:
    flat = work.items
    for _ in range(work.options.depth):
        work.budget.spend(len(flat))
        if sum(len(item) if isinstance(item, list) else 1 for item in flat) > ITEMS:
            raise StepFailedError("too_many_items", f"{work.place}: the flat list has more than {ITEMS:,} items.")
        flat = [part for item in flat for part in (item if isinstance(item, list) else (item,))]
    return flat


def _chunk(work: Work) -> list[Any]:
    size = work.options.size or len(work.items)
    return [work.items[start : start + size] for start in range(0, len(work.items), size)]


def _group(work: Work) -> dict[str, list[Any]]:
    groups: dict[str, list[Any]] = {}
    for key, item in work.keyed():
        groups.setdefault(key, []).append(item)
    return groups


def _count_by(work: Work) -> dict[str, int]:
    return {key: len(items) for key, items in _group(work).items()}


def _sum(work: Work) -> int | float:
    return _total(work, work.numbers())


def _total(work: Work, numbers: list[int | float]) -> int | float:
    if all(isinstance(each, int) for each in numbers):
        return sum(numbers)
    try:
        total = fsum(numbers)
    except OverflowError:
        total = float("inf")
    if not isfinite(total):
        raise StepFailedError("not_a_number", f"{work.place}: the sum is larger than any number.")
    return total


def _average(work: Work) -> float | None:
    numbers = work.numbers()
    try:
        return _total(work, numbers) / len(numbers) if numbers else None
    except OverflowError as error:
        raise StepFailedError("not_a_number", f"{work.place}: the average is larger than any number.") from error


def _extreme(choose: Callable[..., Any]) -> Callable[[Work], Any]:
    """The least or the greatest field, in the order of ``sort``; null if there is none but null."""
    return lambda work: choose((value for value in work.values() if value is not None), key=_rank, default=None)


def _join(work: Work) -> str:
    parts = [text_of(value) for value in work.values()]
    size = sum(map(len, parts)) + len(work.options.separator) * len(parts)
    if size > limits.OUTPUT:
        raise StepFailedError("output_too_large", f"{work.place}: the text has more than {limits.OUTPUT:,} characters.")
    return work.options.separator.join(parts)


_BY: Final = ("field",)
OPERATIONS: Final[Mapping[str, Operation]] = {
    "map": Operation(_map, ("field", "fields"), ("field", "fields")),
    "omit": Operation(_omit, ("fields",), ("fields",)),
    "sort": Operation(_sort, ("field", "order")),
    "reverse": Operation(lambda work: work.items[::-1]),
    "unique": Operation(_unique, _BY),
    "compact": Operation(lambda work: [item for item in work.items if not is_empty(item)]),
    "flatten": Operation(_flatten, ("depth",)),
    "chunk": Operation(_chunk, ("size",), ("size",)),
    "slice": Operation(lambda work: work.items[work.options.start : work.options.end], ("start", "end")),
    "concat": Operation(lambda work: limited([*work.items, *work.other()], work.place), ("value",), ("value",)),
    "intersect": Operation(_shared(wanted=True), ("field", "value"), ("value",)),
    "difference": Operation(_shared(wanted=False), ("field", "value"), ("value",)),
    "group": Operation(_group, _BY, gives_list=False),
    "key_by": Operation(lambda work: dict(work.keyed()), _BY, gives_list=False),
    "count_by": Operation(_count_by, _BY, gives_list=False),
    "count": Operation(lambda work: len(work.items), gives_list=False),
    "sum": Operation(_sum, _BY, gives_list=False),
    "average": Operation(_average, _BY, gives_list=False),
    "min": Operation(_extreme(min), _BY, gives_list=False),
    "max": Operation(_extreme(max), _BY, gives_list=False),
    "first": Operation(lambda work: next(iter(work.items), None), gives_list=False),
    "last": Operation(lambda work: next(reversed(work.items), None), gives_list=False),
    "join": Operation(_join, ("field", "separator"), gives_list=False),
}
OPTIONS: Final = frozenset(Options.__struct_fields__)


def option_faults(step: Mapping[str, Any], path: str) -> Iterator[tuple[str, str]]:
    """Options of a raw operation that it does not take, and needs it has, as (path, message)."""
    name = step["operation"]
    operation = OPERATIONS[name]
    legal = listed(operation.takes) if operation.takes else "none"
    for option in sorted((step.keys() & OPTIONS) - {*operation.takes}):
        yield f"{path}{option}", f'"{option}" is no option of "{name}"; its options are: {legal}.'
    if lacks(operation, step.get):
        yield f"{path}{operation.needs[0]}", _needed(name)


def performed(name: str, work: Work) -> Any:
    """What an operation makes of a list.

    Raises:
        StepFailedError: if an option or an item will not do.
    """
    operation = OPERATIONS[name]
    if lacks(operation, lambda option: getattr(work.options, option)):
        raise StepFailedError("invalid_data", f"{work.place}.{operation.needs[0]}: {_needed(name)}")
    return operation.run(work)


def lacks(operation: Operation, option: Callable[[str], Any]) -> bool:
    """Whether an operation has none of the options of which it needs one."""
    return bool(operation.needs) and all(option(name) is None for name in operation.needs)


def _needed(name: str) -> str:
    named = " or ".join(f'"{option}"' for option in OPERATIONS[name].needs)
    return f'The operation "{name}" takes {named}.'
