"""``merge``: one value out of what several branches gave."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Final, Literal

import msgspec

from shared import jsontext
from shared.errors import StepFailedError
from shared.graph.suggest import shown
from shared.nodes.base import Kind, NodeType, Outcome
from shared.nodes.fields import Plain, Text

#: Items of all inputs together.
MOST_ITEMS: Final = 100_000


class Data(msgspec.Struct, forbid_unknown_fields=True):
    """Configuration.

    Attributes:
        mode: ``append`` puts lists one behind the other (what is no list counts as one item), ``by_key`` makes one
            object of all objects that have the same value under ``key``, the later inputs' fields winning, and
            ``first`` gives the first input that is not null.
        inputs: 1 to 50 values, in this order; what a skipped branch would have given is null and counts for nothing.
        key: of ``by_key``: a field of the items, or a path of fields joined by dots.
        unmatched: of ``by_key``: whether items stay that not every input has (``keep``), or go (``drop``).
    """

    mode: Plain[Literal["append", "by_key", "first"]]
    inputs: Annotated[list[Any], msgspec.Meta(min_length=1, max_length=50)]
    key: Text[str | None] = None
    unmatched: Plain[Literal["keep", "drop"]] = "keep"


class Merge(NodeType[Data]):
    """Joins what branches gave; output ``{result}``.

    Which branches it waits for is said by the setting ``join`` as for every node: all of them, the first, or so many.
    A branch that has not run by then, or was skipped, is null.
    """

    component_id = "merge"
    title = "Merge"
    kind = Kind.ACTION
    data_type = Data
    example: ClassVar[Mapping[str, Any]] = {
        "mode": "by_key",
        "inputs": ["{{ n1.users }}", "{{ n2.scores }}"],
        "key": "id",
    }
    example_context: ClassVar[Mapping[str, Any]] = {
        "n1": {"users": [{"id": 1, "name": "Ada"}, {"id": 2, "name": "Alan"}]},
        "n2": {"scores": [{"id": 2, "score": 9}]},
    }

    def check(self, data: Mapping[str, Any]) -> list[tuple[str, str]]:
        """See `NodeType.check`."""
        mode, key = data["mode"], data.get("key")
        if mode == "by_key" and not key:
            return [("key", '"key" is required by the mode "by_key".')]
        if mode != "by_key":
            return [
                (field, f'"{field}" is for the mode "by_key"; the mode is "{mode}".')
                for field in ("key", "unmatched")
                if data.get(field) is not None
            ]
        return []

    def run(self, data: Data) -> Outcome:
        """Join the inputs."""
        given = [(index, value) for index, value in enumerate(data.inputs) if value is not None]
        if data.mode == "first":
            return Outcome({"result": given[0][1] if given else None})
        count = sum(len(value) if isinstance(value, list) else 1 for _, value in given)
        if count > MOST_ITEMS:
            raise StepFailedError("invalid_data", f"data.inputs: they have {count} items; legal: at most {MOST_ITEMS}.")
        if data.mode == "append":
            return Outcome({"result": [item for _, value in given for item in _items(value)]})
        return Outcome({"result": _by_key(given, data)})


def _items(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _by_key(given: list[tuple[int, Any]], data: Data) -> list[dict[str, Any]]:
    if not data.key:
        raise StepFailedError("invalid_data", 'data.key: it is required by the mode "by_key".')
    path = data.key.split(".")
    merged: dict[str, dict[str, Any]] = {}
    seen: dict[str, set[int]] = {}
    for index, value in given:
        for at, item in enumerate(_items(value)):
            name = _identity(item, path, f"data.inputs[{index}][{at}]")
            merged.setdefault(name, {}).update(item)
            seen.setdefault(name, set()).add(index)
    if data.unmatched == "drop":
        return [item for name, item in merged.items() if len(seen[name]) == len(given)]
    return list(merged.values())


def _identity(item: Any, path: list[str], place: str) -> str:
    """What stands under the key, as text that tells 1 from "1".

    Raises:
        StepFailedError: if the item is no object, or has no such field.
    """
    found = item
    for name in path:
        if not isinstance(found, dict) or name not in found:
            raise StepFailedError(
                "invalid_data", f"{place}: there is no field {shown('.'.join(path))} in {shown(item)}."
            )
        found = found[name]
    return jsontext.encode(found)
