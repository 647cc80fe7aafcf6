"""Whether a workflow may be called with a context: held against the `input_schema` of its trigger."""

from typing import Any

from shared.errors import Fault
from shared.jsontext import decode
from shared.nodes.json_schemas import SchemaFaultError, schema_of


def input_faults(schema: str, value: Any) -> list[Fault]:
    """Everything that a schema (JSON text) finds wrong with a context; its paths begin with ``context``."""
    try:
        found = schema_of(decode(schema)).faults(value)
    except SchemaFaultError as error:
        return [Fault("context", "invalid_input", f"It could not be checked: {error}.")]
    return [Fault(f"context{path}", "invalid_input", f"{message}.") for path, message in found]
