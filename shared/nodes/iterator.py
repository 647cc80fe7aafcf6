"""``iterator``: runs the nodes behind its handle ``item`` once for each item of a list, then goes on by ``done``."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Final, Literal

import msgspec

from shared.errors import StepFailedError
from shared.graph.model import DONE_HANDLE, ITEM_HANDLE
from shared.nodes.base import Division, Kind, Mode, NodeType
from shared.nodes.fields import Plain
from shared.templates import is_template

MAX_ITEMS: Final = 10_000


class Data(msgspec.Struct, forbid_unknown_fields=True):
    """Configuration.

    Attributes:
        items: a list of at most 10,000 values, or a template that gives one.
        concurrency: how many items may be under way at once.
        on_item_error: ``stop``: a failed item stops the others and fails the iterator; ``continue``: it leaves null.
    """

    items: Any
    concurrency: Annotated[int, msgspec.Meta(ge=1, le=100)] = 1
    on_item_error: Plain[Literal["stop", "continue"]] = "stop"


class Iterator(NodeType[Data]):
    """Runs its body for each item (``item``, ``index``, ``first``, ``last``); output ``{results, count, failed}``."""

    component_id = "iterator"
    title = "Iterator"
    kind = Kind.ACTION
    mode = Mode.ITERATE
    data_type = Data
    example: ClassVar[Mapping[str, Any]] = {"items": "{{ n1.orders }}", "concurrency": 10, "on_item_error": "continue"}
    example_context: ClassVar[Mapping[str, Any]] = {"n1": {"orders": [{"id": 1}, {"id": 2}]}}

    def handles(self, data: Mapping[str, Any]) -> tuple[str, ...]:  # noqa: ARG002 — the same for all
        """See `NodeType.handles`."""
        return (ITEM_HANDLE, DONE_HANDLE)

    def check(self, data: Mapping[str, Any]) -> list[tuple[str, str]]:
        """See `NodeType.check`."""
        items = data.get("items")
        if isinstance(items, str) and is_template(items):
            return []
        try:
            _listed(items)
        except StepFailedError as error:
            return [("items", error.message)]
        return []

    def divide(self, data: Data) -> Division:
        """See `NodeType.divide`."""
        return Division(_listed(data.items), data.concurrency, data.on_item_error == "stop")


def _listed(items: Any) -> list[Any]:
    if not isinstance(items, list | tuple):
        kind = "null" if items is None else type(items).__name__
        raise StepFailedError("invalid_data", f"data.items must be a list, or a template that gives one; it is {kind}.")
    if len(items) > MAX_ITEMS:
        raise StepFailedError(
            "too_many_items", f"data.items has {len(items):,} items; at most {MAX_ITEMS:,} are allowed."
        )
    return list(items)
