"""``date_condition``: goes on by ``true`` or ``false`` after comparing moments."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, ClassVar

import msgspec

from shared.nodes.base import Kind, NodeType, Outcome
from shared.nodes.comparisons import Terms
from shared.nodes.date_comparisons import DATE, DateOperator, Unit, faults_of, moment, zone_faults
from shared.nodes.fields import Plain, Text
from shared.templates import is_template


class Data(msgspec.Struct, forbid_unknown_fields=True):
    """Configuration.

    Attributes:
        input: a moment: ISO 8601 or another text that is read as a date, unix seconds, ``now``, ``-3 days``.
        operator: a word or a symbol.
        value: what it is compared with: a moment; two, both inside, as ``[min, max]`` or ``{"min", "max"}`` for
            ``between``; a number of units, or text such as ``7 days``, for ``within_last`` and ``within_next``.
        unit: of a number of units; weeks begin on Monday.
        timezone: an IANA name: where a moment without an offset is, and what is today.
        reference: the moment that counts as now; if it is null, the one in which the step runs.
    """

    input: Any
    operator: Plain[DateOperator]
    value: Any = None
    unit: Plain[Unit] = "days"
    timezone: Text[str] = "UTC"
    reference: Any = None


class DateCondition(NodeType[Data]):
    """Compares moments and takes the handle ``true`` or ``false``; output ``{result}``."""

    component_id = "date_condition"
    title = "Date condition"
    kind = Kind.CONDITION
    timed = True
    data_type = Data
    example: ClassVar[Mapping[str, Any]] = {
        "input": "{{ n1.due_at }}",
        "operator": "within_next",
        "value": "7 days",
        "timezone": "Europe/Berlin",
        "reference": "2025-10-31T12:00:00Z",
    }
    example_context: ClassVar[Mapping[str, Any]] = {"n1": {"due_at": "2025-11-03"}}

    def handles(self, data: Mapping[str, Any]) -> tuple[str, ...]:  # noqa: ARG002 — the same for every data
        """``true`` and ``false``."""
        return ("true", "false")

    def check(self, data: Mapping[str, Any]) -> list[tuple[str, str]]:
        """See `NodeType.check`."""
        reference = data.get("reference")
        faults = [*zone_faults(data), *DATE.faults(data)]
        if reference is not None and not (isinstance(reference, str) and is_template(reference)):
            faults += faults_of(lambda: moment(reference, Terms(), "data.reference"), "reference")
        return faults

    def run_at(self, data: Data, now: Callable[[], datetime]) -> Outcome:
        """Compare."""
        present = now()  # read once: a comparison that looks twice sees one present
        if data.reference is not None:
            present = moment(data.reference, Terms(timezone=data.timezone, now=now), "data.reference")
        terms = Terms(timezone=data.timezone, unit=data.unit, now=lambda: present)
        result = DATE.holds(data.operator, data.input, data.value, terms)
        return Outcome({"result": result}, "true" if result else "false")
