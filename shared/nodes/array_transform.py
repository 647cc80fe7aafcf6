"""``array_transform``: a list made into another list, an object or a value, by operations one after the other."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar

import msgspec

from shared.errors import StepFailedError
from shared.nodes.array_operations import OPERATIONS, OPTIONS, Name, Options, Step, Work, option_faults, performed
from shared.nodes.base import Kind, NodeType, Outcome
from shared.nodes.budget import Budget, limited
from shared.nodes.fields import Plain
from shared.nodes.list_comparisons import items_of


class Data(Options, forbid_unknown_fields=True, kw_only=True):
    """Configuration: either one ``operation`` with its options beside it, or ``operations``.

    Attributes:
        input: a list of at most 10,000 items.
        operation: the only one.
        operations: 1-20 of them, each with its options; each takes the list that the one before it gives.
    """

    input: Any
    operation: Plain[Name | None] = None
    operations: Annotated[list[Step], msgspec.Meta(min_length=1, max_length=20)] | None = None


class ArrayTransform(NodeType[Data]):
    """Makes something else of a list; output ``{result}``."""

    component_id = "array_transform"
    title = "Array transform"
    kind = Kind.ACTION
    data_type = Data
    example: ClassVar[Mapping[str, Any]] = {
        "input": "{{ n1.orders }}",
        "operations": [
            {"operation": "sort", "field": "total", "order": "desc"},
            {"operation": "slice", "end": 2},
            {"operation": "map", "fields": {"order": "id", "city": "address.city"}},
        ],
    }
    example_context: ClassVar[Mapping[str, Any]] = {
        "n1": {
            "orders": [
                {"id": 1, "total": 80, "address": {"city": "Ghent"}},
                {"id": 2, "total": 120.5, "address": {"city": "Graz"}},
                {"id": 3, "total": 99, "address": {"city": "Gdynia"}},
            ]
        }
    }

    def check(self, data: Mapping[str, Any]) -> list[tuple[str, str]]:
        """See `NodeType.check`."""
        operations, operation = data.get("operations"), data.get("operation")
        if (operations is None) == (operation is None):
            return [("operation", 'It takes "operation" with its options, or "operations": exactly one of them.')]
        if operation is not None:
            return list(option_faults(data, ""))
        return [*_stray_faults(data), *_chain_faults(operations)]

    def run(self, data: Data) -> Outcome:
        """Go through the operations."""
        if data.operations is None:
            steps: list[tuple[Name | None, Options, str]] = [(data.operation, data, "data")]
        else:
            steps = [(step.operation, step, f"data.operations[{at}]") for at, step in enumerate(data.operations)]
        budget, result, path = Budget(), data.input, "data.input"
        for name, options, place in steps:
            if name is None:
                raise StepFailedError("invalid_data", "data.operation: an operation is required; it is null.")
            items = limited(items_of(result, path), path)
            result = performed(name, Work(items, options, path, place, budget))
            path = f"the result of {place}"
        return Outcome({"result": result})


def _stray_faults(data: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for option in sorted(data.keys() & OPTIONS):
        yield option, f'"{option}" stands in the operation that takes it, inside "operations".'


def _chain_faults(operations: Any) -> Iterator[tuple[str, str]]:
    """Faults of a raw list of operations; some may be templates."""
    steps = operations if isinstance(operations, list) else []
    for index, step in enumerate(steps):
        if not isinstance(step, dict):
            continue
        yield from option_faults(step, f"operations[{index}].")
        name = step["operation"]
        if not OPERATIONS[name].gives_list and index < len(steps) - 1:
            yield f"operations[{index}].operation", f'"{name}" gives no list, so no operation can follow it.'
