"""``approval``: waits until a person presses one of the buttons behind the step's link."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Final

import msgspec

from shared.nodes.asking import TIMEOUT, answered, ask, handle_faults
from shared.nodes.base import Kind, Mode, NodeType, Outcome, StepContext, Wait
from shared.nodes.fields import Plain, Text
from shared.questions import Button, Question, QuestionField
from shared.states import Waits

_RESERVED: Final = (TIMEOUT, "error")
_USUAL: Final = (Button("approved", "Approve"), Button("rejected", "Reject"))
_COMMENT: Final = QuestionField("comment", "textarea", "Comment")


class Data(msgspec.Struct, forbid_unknown_fields=True):
    """Configuration. The link is ``{{ run.links.<id of this node> }}``.

    Attributes:
        title: the heading of the page.
        text: what is to be decided.
        who: who is asked, as the page shows it. Whoever has the link can answer.
        buttons: 1-10; their names are the node's handles besides ``timeout``. By default ``approved`` and ``rejected``.
        comment: whether the page has room for a comment.
    """

    text: Text[str]
    title: Text[str] = "Approval"
    who: Text[str] = ""
    buttons: Text[Annotated[list[Button], msgspec.Meta(min_length=1, max_length=10)]] = msgspec.field(
        default_factory=lambda: list(_USUAL)
    )
    comment: Plain[bool] = True


class Approval(NodeType[Data]):
    """Waits for a decision; output ``{outcome, data: {comment}}``, a handle for each button, and ``timeout``."""

    component_id = "approval"
    title = "Approval"
    kind = Kind.ACTION
    mode = Mode.WAIT
    asks = True
    data_type = Data
    example: ClassVar[Mapping[str, Any]] = {
        "who": "Accounting",
        "text": "May invoice {{ n1.number }} over {{ n1.amount }} be paid?",
        "buttons": [{"name": "approved", "label": "Pay it"}, {"name": "rejected", "label": "Send it back"}],
    }
    example_context: ClassVar[Mapping[str, Any]] = {"n1": {"number": "A-17", "amount": "120.00"}}

    def handles(self, data: Mapping[str, Any]) -> tuple[str, ...]:
        """The buttons' names, in order and once each, and ``timeout``."""
        buttons = data.get("buttons", [{"name": button.name} for button in _USUAL])
        names = [button.get("name") for button in buttons if isinstance(button, dict)] if type(buttons) is list else []
        legal = [name for name in names if isinstance(name, str) and name not in _RESERVED]
        return (*dict.fromkeys(legal), TIMEOUT)

    def check(self, data: Mapping[str, Any]) -> list[tuple[str, str]]:
        """See `NodeType.check`."""
        buttons = data.get("buttons", [])
        if not isinstance(buttons, list):
            return [("buttons", "The buttons are a list, settled when the workflow is saved.")]
        if not all(isinstance(button, dict) for button in buttons):
            return [("buttons", "A button is an object, settled when the workflow is saved.")]
        names = [(f"buttons[{index}].name", button["name"]) for index, button in enumerate(buttons)]
        return handle_faults(names, _RESERVED, "button")

    def question(self, data: Data) -> Question:
        """A decision, with a comment."""
        return Question(data.title, data.text, data.who, [_COMMENT] if data.comment else [], data.buttons)

    def begin(self, data: Data, context: StepContext) -> Wait:
        """Wait for the decision."""
        return ask(self.question(data), context, Waits.PERSON)

    def resume(self, data: Data, context: StepContext) -> Outcome:  # noqa: ARG002 — the wait is over
        """Give out what was decided."""
        return answered(context)
