"""``form``: waits until a person has filled in the fields behind the step's link."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Final

import msgspec

from shared.nodes.asking import TIMEOUT, answered, ask
from shared.nodes.base import Kind, Mode, NodeType, Outcome, StepContext, Wait
from shared.nodes.fields import Text
from shared.questions import Button, Question, QuestionField, field_faults
from shared.states import Waits

_SUBMITTED: Final = "submitted"


class Data(msgspec.Struct, forbid_unknown_fields=True):
    """Configuration. The link is ``{{ run.links.<id of this node> }}``.

    Attributes:
        fields: 1-100, in the order they are shown.
        title: the heading of the page.
        text: what the page says above the fields.
        who: who is asked, as the page shows it. Whoever has the link can answer.
        submit: what the button says.
    """

    fields: Text[Annotated[list[QuestionField], msgspec.Meta(min_length=1, max_length=100)]]
    title: Text[str] = "Form"
    text: Text[str] = ""
    who: Text[str] = ""
    submit: Text[str] = "Send"


class Form(NodeType[Data]):
    """Waits for a form; output ``{outcome, data: {field: value}}``, handles ``submitted`` and ``timeout``."""

    component_id = "form"
    title = "Form"
    kind = Kind.ACTION
    mode = Mode.WAIT
    asks = True
    data_type = Data
    example: ClassVar[Mapping[str, Any]] = {
        "title": "Delivery of order {{ n1.order }}",
        "fields": [
            {"name": "day", "type": "date", "label": "Which day?", "required": True},
            {"name": "place", "type": "select", "label": "Where to?", "choices": ["Door", "Neighbour"]},
            {"name": "note", "type": "textarea", "label": "Anything else?", "max_length": 500},
        ],
    }
    example_context: ClassVar[Mapping[str, Any]] = {"n1": {"order": 17}}

    def handles(self, data: Mapping[str, Any]) -> tuple[str, ...]:  # noqa: ARG002 — they are always the same
        """``submitted`` and ``timeout``."""
        return _SUBMITTED, TIMEOUT

    def check(self, data: Mapping[str, Any]) -> list[tuple[str, str]]:
        """See `NodeType.check`."""
        fields = data["fields"]
        if not isinstance(fields, list) or not all(isinstance(field, dict) for field in fields):
            return [("fields", "The fields are a list of objects, settled when the workflow is saved.")]
        return field_faults(fields, "fields")

    def question(self, data: Data) -> Question:
        """The fields."""
        return Question(data.title, data.text, data.who, data.fields, [Button(_SUBMITTED, data.submit)])

    def begin(self, data: Data, context: StepContext) -> Wait:
        """Wait for the form."""
        return ask(self.question(data), context, Waits.PERSON)

    def resume(self, data: Data, context: StepContext) -> Outcome:  # noqa: ARG002 — the wait is over
        """Give out what was filled in."""
        return answered(context)
