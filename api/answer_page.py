"""The page behind the link of a step that waits for an answer.

Plain HTML without scripts, usable by keyboard alone and with screen readers. Whatever authors and visitors wrote stands
in it as text.
"""

import base64
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any, Final

from shared.errors import Fault
from shared.questions import OUTCOME, Button, Question, QuestionField

_STYLE: Final = """
:root { color-scheme: light dark; font: 18px/1.6 system-ui, sans-serif; }
body { max-width: 42rem; margin: 2rem auto; padding: 0 1rem; overflow-wrap: anywhere; }
.text { white-space: pre-wrap; } .help { margin: 0; opacity: 0.8; }
.field, fieldset { margin: 1.5rem 0; } fieldset { border: 1px solid; padding: 0.5rem 1rem; }
label, legend { font-weight: 600; } .choice label, .check label { font-weight: 400; }
input, select, textarea, button { font: inherit; padding: 0.4rem; box-sizing: border-box; border: 2px solid; }
.field > input:not([type=checkbox]), .field > select, textarea { display: block; width: 100%; }
button { margin: 0.5rem 0.5rem 0.5rem 0; padding: 0.5rem 1.5rem; border-radius: 4px; cursor: pointer; }
:focus-visible { outline: 3px solid #1a6fd6; outline-offset: 2px; }
.fault { margin: 0; font-weight: 600; } .fault, .summary { border-left: 4px solid #c22; padding-left: 0.75rem; }
"""
_STYLE_HASH: Final = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()

#: What every page is sent with: nothing is loaded, framed, kept, or told to other sites.
HEADERS: Final[Mapping[str, str]] = {
    "Content-Type": "text/html; charset=utf-8",
    "Content-Security-Policy": (
        f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; form-action 'self'; base-uri 'none'; "
        "frame-ancestors 'none'"
    ),
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    "X-Robots-Tag": "noindex",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Vary": "Accept",
}
#: The input types of fields whose browsers' own are of use; numbers are typed as text, which loses nothing of it.
_INPUTS: Final = {"email": "email", "url": "url", "date": "date"}
_KEYBOARDS: Final = {"number": ' inputmode="decimal"', "integer": ' inputmode="numeric"'}


def question_page(
    question: Question, values: Mapping[str, Any] | None = None, faults: Sequence[Fault] = (), *, early: bool = False
) -> bytes:
    """The page that asks.

    Args:
        question: what is asked.
        values: what fields are filled with, if somebody has filled them in before.
        faults: what was wrong with that; shown beside the fields and listed above them.
        early: whether the run has not come to the step, so that its texts are not known.
    """
    parts = [
        _summary(question, faults),
        f"<p>For: {_text(question.who)}</p>" if question.who else "",
        f'<div class="text">{_text(question.text)}</div>' if question.text else "",
        "<p>More is shown once the workflow has come to this question.</p>" if early else "",
        '<form method="post" accept-charset="utf-8" novalidate>',
        *_fields(question.fields, values, faults),
        _buttons(question.buttons, [fault.message for fault in faults if fault.path == OUTCOME]),
        "</form>",
    ]
    title = question.title or "Question"
    return _page(f"Error: {title}" if faults else title, f"<h1>{_text(title)}</h1>" + "".join(parts))


def message_page(title: str, text: str) -> bytes:
    """A page that only says something."""
    return _page(title, f"<h1>{_text(title)}</h1><p>{_text(text)}</p>")


def _page(title: str, body: str) -> bytes:
    page = (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{_text(title)}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{_STYLE}</style></head>'
        f"<body><main>{body}</main></body></html>"
    )
    return page.encode("utf-8", "replace")


def _text(text: str) -> str:
    return escape(text.replace("\0", "\ufffd"))


def _summary(question: Question, faults: Sequence[Fault]) -> str:
    if not faults:
        return ""
    places = {field.name: f"f{index}" for index, field in enumerate(question.fields)} | {OUTCOME: "outcome"}
    items = "".join(
        f'<li><a href="#{places[fault.path]}">{_text(fault.message)}</a></li>'
        if fault.path in places
        else f"<li>{_text(fault.message)}</li>"
        for fault in faults
    )
    return (
        '<div class="summary" role="alert" aria-labelledby="summary">'
        f'<h2 id="summary">The answer was not sent</h2><ul>{items}</ul></div>'
    )


def _fields(fields: Iterable[QuestionField], values: Mapping[str, Any] | None, faults: Sequence[Fault]) -> list[str]:
    shown = []
    for index, field in enumerate(fields):
        value = field.default if values is None else values.get(field.name)
        messages = [fault.message for fault in faults if fault.path == field.name]
        shown.append(_field(field, f"f{index}", value, messages))
    return shown


def _field(field: QuestionField, place: str, value: Any, faults: Sequence[str]) -> str:
    """A field with its label, its help and what is wrong with it, which the input refers to."""
    label = f'<label for="{place}">{_label(field)}</label>'
    notes, about = _notes(field, place, faults)
    if field.type == "boolean":
        checked = " checked" if value is True or str(value).lower() in ("true", "on", "yes", "1") else ""
        box = f'<input type="checkbox" id="{place}" value="true"{checked}{_common(field, about, faults)}>'
        return f'<div class="field check">{notes}{box} {label}</div>'
    return (
        f'<div class="field">{label}{notes}{_input(field, place, _value(value), _common(field, about, faults))}</div>'
    )


def _label(field: QuestionField) -> str:
    return _text(field.label or field.name) + ("" if field.required else " (optional)")


def _notes(field: QuestionField, place: str, faults: Sequence[str]) -> tuple[str, str]:
    """The sentences about a field, and the attribute that ties its input to them."""
    notes, ids = "", []
    if field.help:
        notes += f'<p class="help" id="{place}-help">{_text(field.help)}</p>'
        ids.append(f"{place}-help")
    if faults:
        notes += f'<p class="fault" id="{place}-fault">Error: {_text(" ".join(faults))}</p>'
        ids.append(f"{place}-fault")
    return notes, f' aria-describedby="{" ".join(ids)}"' if ids else ""


def _common(field: QuestionField, about: str, faults: Sequence[str]) -> str:
    wrong = ' aria-invalid="true"' if faults else ""
    return f' name="{_text(field.name)}"{about}{wrong}{" required" if field.required else ""}'


def _input(field: QuestionField, place: str, value: str, common: str) -> str:
    if field.type == "select":
        options = "".join(_option(choice, choice, chosen=choice == value) for choice in field.choices)
        return f'<select id="{place}"{common}>{_option("", "Choose", chosen=not value)}{options}</select>'
    if field.type == "textarea":
        # A parser drops the first line break behind the tag.
        limit = f' rows="5" maxlength="{field.max_length}"'
        return f'<textarea id="{place}"{common}{limit}>\n{_text(value)}</textarea>'
    kind = _INPUTS.get(field.type, "text")
    return f'<input type="{kind}" id="{place}" value="{_text(value)}"{common}{_KEYBOARDS.get(field.type, "")}>'


def _option(value: str, label: str, *, chosen: bool) -> str:
    return f'<option value="{_text(value)}"{" selected" if chosen else ""}>{_text(label)}</option>'


def _value(value: Any) -> str:
    if isinstance(value, list):
        return ""
    return "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _choice(button: Button) -> str:
    label = _text(button.label or button.name)
    return f'<button type="submit" name="{OUTCOME}" value="{_text(button.name)}">{label}</button>'


def _buttons(buttons: Sequence[Button], faults: Sequence[str]) -> str:
    if len(buttons) == 1:
        return f'<button type="submit">{_text(buttons[0].label or "Send")}</button>'
    shown = "".join(_choice(button) for button in buttons)
    wrong = f'<p class="fault" id="outcome-fault">Error: {_text(" ".join(faults))}</p>' if faults else ""
    about = ' aria-describedby="outcome-fault"' if faults else ""
    return f'<fieldset id="outcome" tabindex="-1"{about}><legend>Your answer</legend>{wrong}{shown}</fieldset>'
