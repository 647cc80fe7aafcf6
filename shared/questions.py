"""What a step that waits for an answer asks: texts, fields and buttons, apart from how they are shown.

The worker keeps a step's question with its wait, its templates rendered; the api shows it and reads answers to it.
"""

from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from shared.nodes.fields import Plain

#: The name of the field that holds what somebody chose among the buttons.
OUTCOME: Final = "outcome"
#: The longest text of a field that sets no limit of its own, in characters.
MAX_TEXT: Final = 10_000

FieldType = Literal["text", "textarea", "email", "url", "number", "integer", "boolean", "date", "select"]
_Size = Annotated[int, Meta(ge=0, le=MAX_TEXT)]


class QuestionField(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One field.

    Attributes:
        name: what its value is called in the answer: 1-64 letters, digits, ``_`` and ``-``.
        type: what it takes; ``date`` is ``YYYY-MM-DD``, ``select`` one of ``choices``.
        label: what people see; the name if it is empty.
        help: a sentence below the label.
        required: whether it must be given; a required ``boolean`` must be true.
        default: what the field is filled with at first; nobody is held to it.
        choices: what a ``select`` offers, 1-200 texts.
        min_length, max_length: of a text, in characters.
        minimum, maximum: of a number.
    """

    name: Plain[Annotated[str, Meta(min_length=1, max_length=64, pattern="^[A-Za-z0-9_-]+$")]]
    type: Plain[FieldType] = "text"
    label: str = ""
    help: str = ""
    required: Plain[bool] = False
    default: str | int | float | bool | None = None
    choices: Plain[Annotated[list[Annotated[str, Meta(min_length=1, max_length=500)]], Meta(max_length=200)]] = []
    min_length: Plain[_Size] = 0
    max_length: Plain[_Size] = MAX_TEXT
    minimum: Plain[float | None] = None
    maximum: Plain[float | None] = None


class Button(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One way to answer.

    Attributes:
        name: the outcome, and the handle of the node.
        label: what people see; the name if it is empty.
    """

    name: Plain[Annotated[str, Meta(min_length=1, max_length=64)]]
    label: str = ""


class Question(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is asked.

    Attributes:
        title: the heading.
        text: what it is about; line breaks are kept.
        who: who is asked.
        fields: what is to be filled in.
        buttons: how it may be answered; an answer names one of several.
        takes_anything: the answer is any JSON value, and there are no fields.
    """

    title: str
    text: str = ""
    who: str = ""
    fields: list[QuestionField] = []
    buttons: list[Button] = []
    takes_anything: bool = False


def field_faults(fields: list[dict[str, Any]], path: str) -> list[tuple[str, str]]:
    """What a schema cannot say of fields as an author wrote them, as (path, message)."""
    faults = []
    seen: set[str] = set()
    for index, field in enumerate(fields):
        name, at = field["name"], f"{path}[{index}]"
        if name in seen:
            faults.append((f"{at}.name", f'"{name}" names two fields: each has its own name.'))
        seen.add(name)
        choices = field.get("choices", [])
        if (field.get("type") == "select") != bool(choices):
            faults.append((f"{at}.choices", "A select has choices, and no other type of field has."))
        if len(set(choices)) < len(choices):
            faults.append((f"{at}.choices", "A choice stands twice."))
        for least, most in (("min_length", "max_length"), ("minimum", "maximum")):
            low, high = field.get(least), field.get(most)
            if low is not None and high is not None and low > high:
                faults.append((f"{at}.{least}", f"{least} is above {most}: nothing could be answered."))
    return faults
