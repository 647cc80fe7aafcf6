"""``wait_for_callback``: waits until somebody calls the link of the step, with any data."""

from collections.abc import Mapping
from typing import Any, ClassVar, Final

import msgspec

from shared.nodes.asking import TIMEOUT, answered, ask
from shared.nodes.base import Kind, Mode, NodeType, Outcome, StepContext, Wait
from shared.nodes.fields import Text
from shared.questions import Button, Question
from shared.states import Waits

_RECEIVED: Final = "received"


class Data(msgspec.Struct, forbid_unknown_fields=True):
    """Configuration. The link is ``{{ run.links.<id of this node> }}``.

    Attributes:
        title: the heading of the page that a browser shows at the link.
        text: what the page says.
    """

    title: Text[str] = "Continue"
    text: Text[str] = ""


class WaitForCallback(NodeType[Data]):
    """Waits for a request to its link; output ``{outcome, data}``, handles ``received`` and ``timeout``."""

    component_id = "wait_for_callback"
    title = "Wait for a callback"
    kind = Kind.ACTION
    mode = Mode.WAIT
    asks = True
    data_type = Data
    example: ClassVar[Mapping[str, Any]] = {"text": "Order {{ n1.order }} has arrived."}
    example_context: ClassVar[Mapping[str, Any]] = {"n1": {"order": 17}}

    def handles(self, data: Mapping[str, Any]) -> tuple[str, ...]:  # noqa: ARG002 — they are always the same
        """``received`` and ``timeout``."""
        return _RECEIVED, TIMEOUT

    def question(self, data: Data) -> Question:
        """Anything will do."""
        button = Button(_RECEIVED, "Continue")
        return Question(data.title, data.text, buttons=[button], takes_anything=True)

    def begin(self, data: Data, context: StepContext) -> Wait:
        """Wait for the call."""
        return ask(self.question(data), context, Waits.CALLBACK)

    def resume(self, data: Data, context: StepContext) -> Outcome:  # noqa: ARG002 — the wait is over
        """Give out what came."""
        return answered(context)
