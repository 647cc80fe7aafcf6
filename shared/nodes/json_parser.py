"""``json_parser``: a value out of JSON text, or out of an object that is there already."""

from collections.abc import Mapping
from typing import Any, ClassVar

import msgspec

from shared import jsontext
from shared.errors import StepFailedError
from shared.nodes.base import Kind, NodeType, Outcome
from shared.nodes.fields import Plain, Text
from shared.nodes.json_schemas import SchemaFaultError, schema_of
from shared.templates import is_template, limits
from shared.templates.search import PathError, compiled

_MARK = "\ufeff"


class Data(msgspec.Struct, forbid_unknown_fields=True):
    """Configuration.

    Attributes:
        input: JSON text of at most 1 MiB, or an object or a list, which is taken as it is.
        path: what is taken out of it, in JMESPath; null where nothing is there.
        schema: JSON Schema that the result must satisfy, else the step fails with every fault.
    """

    input: Any
    path: Text[str | None] = None
    schema: Plain[dict[str, Any] | bool | None] = None


class JsonParser(NodeType[Data]):
    """Reads JSON; output ``{result}``."""

    component_id = "json_parser"
    title = "JSON parser"
    kind = Kind.ACTION
    data_type = Data
    example: ClassVar[Mapping[str, Any]] = {
        "input": "{{ n1.body }}",
        "path": "orders[?total > `100`].id",
        "schema": {"type": "array", "items": {"type": "string"}},
    }
    example_context: ClassVar[Mapping[str, Any]] = {
        "n1": {"body": '{"orders": [{"id": "A-1", "total": 120}, {"id": "A-2", "total": 80}]}'}
    }

    def check(self, data: Mapping[str, Any]) -> list[tuple[str, str]]:
        """See `NodeType.check`."""
        faults = []
        given, path, schema = data["input"], data.get("path"), data.get("schema")
        if isinstance(given, str) and not is_template(given):
            faults += _faults("input", lambda: _parsed(given))
        if path is not None and not is_template(path):
            faults += _faults("path", lambda: _searched(path, None))
        if schema is not None:
            faults += _faults("schema", lambda: _checked(None, schema, only_schema=True))
        return faults

    def run(self, data: Data) -> Outcome:
        """Read, take out, check."""
        value = _parsed(data.input) if isinstance(data.input, str) else data.input
        if data.path is not None:
            value = _searched(data.path, value)
        if data.schema is not None:
            _checked(value, data.schema)
        return Outcome({"result": value})


def _faults(field: str, work: Any) -> list[tuple[str, str]]:
    try:
        work()
    except StepFailedError as error:
        return [(field, error.message.removeprefix(f"data.{field}: "))]
    return []


def _parsed(text: str) -> Any:
    if len(text) > limits.OUTPUT:
        raise StepFailedError(
            "invalid_json", f"data.input: it has {len(text)} characters, and at most {limits.OUTPUT} are read."
        )
    try:
        return jsontext.decode(text.removeprefix(_MARK))
    except RecursionError as error:
        raise StepFailedError("invalid_json", "data.input: it nests too deep.") from error
    except ValueError as error:
        raise StepFailedError("invalid_json", f"data.input: it is no JSON document: {_reason(error)}.") from error


def _reason(error: ValueError) -> str:
    """What is wrong and where; the text itself may be a secret and is not shown."""
    place = getattr(error, "lineno", None)
    return str(error) if place is None else f"{error.msg} at line {place}, column {error.colno}"  # type: ignore[attr-defined] # of json.JSONDecodeError


def _searched(path: str, value: Any) -> Any:
    try:
        search = compiled(path)
    except PathError as error:
        raise StepFailedError("invalid_path", f"data.path: {error}.") from error
    if value is None:
        return None
    try:
        return search(value)
    except PathError as error:
        raise StepFailedError("invalid_path", f"data.path: {error}.") from error


def _checked(value: Any, raw: dict[str, Any] | bool, *, only_schema: bool = False) -> None:
    try:
        schema = schema_of(raw)
        faults = [] if only_schema else schema.faults(value)
    except SchemaFaultError as error:
        raise StepFailedError("invalid_schema", f"data.schema: {error}.") from error
    if faults:
        told = "; ".join(f"result{place}: {message}" for place, message in faults)
        raise StepFailedError(
            "schema_mismatch", f"The result does not satisfy the schema: {told}.", body=_listed(faults)
        )


def _listed(faults: list[tuple[str, str]]) -> list[dict[str, str]]:
    return [{"path": f"result{place}", "message": message} for place, message in faults]
