"""``terminate``: ends the run at once."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import msgspec

from shared.nodes.base import Kind, NodeType, Outcome, Terminate
from shared.nodes.fields import Plain, Text


class Data(msgspec.Struct, forbid_unknown_fields=True):
    """Configuration.

    Attributes:
        status: how the run ends.
        message: for people; the run's ``error_message`` if it failed.
        output: what the run is to have given.
    """

    status: Plain[Literal["completed", "failed"]] = "completed"
    message: Text[str | None] = None
    output: Any = None


class TerminateNode(NodeType[Data]):
    """Ends the run as completed or failed; output ``{status, message, output}``."""

    component_id = "terminate"
    title = "Terminate"
    kind = Kind.ACTION
    data_type = Data
    example: ClassVar[Mapping[str, Any]] = {
        "status": "failed",
        "message": "No stock for {{ n1.sku }}.",
        "output": {"sku": "{{ n1.sku }}"},
    }
    example_context: ClassVar[Mapping[str, Any]] = {"n1": {"sku": "A-1"}}

    def run(self, data: Data) -> Outcome:
        """Say that the run ends."""
        return Outcome(
            {"status": data.status, "message": data.message, "output": data.output},
            terminate=Terminate(data.status, data.message, data.output),
        )
