"""``validate``: goes on by ``valid`` or ``invalid`` after holding a value against a JSON Schema or against rules."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, ClassVar, Final

import msgspec

from shared.errors import StepFailedError
from shared.nodes.base import Kind, NodeType, Outcome
from shared.nodes.budget import Budget
from shared.nodes.field_rules import FieldFault, faults_of, rule_faults
from shared.nodes.fields import Plain
from shared.nodes.json_schemas import SchemaFaultError, schema_of

#: Faults that are listed.
MOST: Final = 500


class Data(msgspec.Struct, forbid_unknown_fields=True):
    """Configuration: either ``schema`` or ``rules``.

    Attributes:
        input: any value.
        schema: JSON Schema, draft 2020-12 unless its ``$schema`` names another; references stay inside it, patterns are
            RE2's, and the formats date, date-time, email, ipv4, ipv6, time, uri and uuid are checked.
        rules: by field, as text ``required|email|min:3`` or as a list of rules; a field is a path such as
            ``address.city`` or ``items.*.price``. Text or a list in place of the object has the rules of the input
            itself. At most 200 fields of 30 rules.
    """

    input: Any
    schema: Plain[dict[str, Any] | bool | None] = None
    rules: dict[str, str | list[str]] | list[str] | str | None = None


class Validate(NodeType[Data]):
    """Holds a value against a schema or rules and takes ``valid`` or ``invalid``; output ``{valid, errors}``.

    Each of the errors, at most 500, is ``{path, code, message}``: where the value is in the input, the name of the rule
    or ``schema``, and a sentence.
    """

    component_id = "validate"
    title = "Validate"
    kind = Kind.ACTION
    timed = True
    data_type = Data
    example: ClassVar[Mapping[str, Any]] = {
        "input": "{{ n1 }}",
        "rules": {
            "email": "required|email",
            "age": "required|integer|min:18",
            "tags": ["array", "max:10"],
            "tags.*": "string|regex:/^(a|b)+$/",
        },
    }
    example_context: ClassVar[Mapping[str, Any]] = {"n1": {"email": "ada@example.com", "age": 17, "tags": ["ab", "c"]}}

    def handles(self, data: Mapping[str, Any]) -> tuple[str, ...]:  # noqa: ARG002 — the same for every data
        """``valid`` and ``invalid``."""
        return ("valid", "invalid")

    def check(self, data: Mapping[str, Any]) -> list[tuple[str, str]]:
        """See `NodeType.check`."""
        schema, rules = data.get("schema"), data.get("rules")
        if (schema is None) == (rules is None):
            return [("schema", 'It takes "schema", a JSON Schema, or "rules": exactly one of them.')]
        if rules is not None:
            return list(rule_faults(rules, "rules"))
        try:
            schema_of(data["schema"])
        except SchemaFaultError as error:
            return [("schema", f"{error}.")]
        return []

    def run_at(self, data: Data, now: Callable[[], datetime]) -> Outcome:
        """Hold it against them."""
        present = now()
        if data.rules is not None:
            faults = faults_of(data.input, data.rules, lambda: present, Budget(), MOST)
        elif data.schema is not None:
            faults = _schema_faults(data.input, data.schema)
        else:
            raise StepFailedError("invalid_data", 'data: it takes "schema" or "rules", and both are null.')
        output = {"valid": not faults, "errors": [msgspec.to_builtins(fault) for fault in faults]}
        return Outcome(output, "invalid" if faults else "valid")


def _schema_faults(value: Any, schema: Mapping[str, Any] | bool) -> list[FieldFault]:
    try:
        found = schema_of(schema).faults(value, MOST)
    except SchemaFaultError as error:
        raise StepFailedError("invalid_data", f"data.schema: {error}.") from error
    return [FieldFault(path.removeprefix("."), "schema", f"{message}.") for path, message in found]
