"""``text_transform``: text out of a Liquid template."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import msgspec

from shared import jsontext
from shared.errors import StepFailedError
from shared.nodes.base import Kind, NodeType, Outcome
from shared.nodes.fields import Plain, Text
from shared.responses import Head, check_content_type, check_head
from shared.templates import is_template
from shared.templates.fields import Rendering


class Data(msgspec.Struct, forbid_unknown_fields=True):
    """Configuration.

    Attributes:
        template: Liquid. With a ``content_type`` of JSON no value can break the document: it is escaped inside quotes
            and serialised outside them.
        is_response: whether the text answers the request that started the run (``sync_request_trigger``).
        content_type: of that answer.
        status: of that answer, 200-599.
        headers: of that answer; at most 50 of 8 KiB together, none that frames the message or binds the API's origin.
    """

    template: Text[str]
    is_response: Plain[bool] = False
    content_type: Text[str] = "text/plain; charset=utf-8"
    status: Annotated[int, msgspec.Meta(ge=200, le=599)] = 200
    headers: Text[dict[str, str]] = {}


class TextTransform(NodeType[Data]):
    """Renders a template; output ``{text}``."""

    component_id = "text_transform"
    title = "Text transform"
    kind = Kind.ACTION
    data_type = Data
    example: ClassVar[Mapping[str, Any]] = {
        "template": "Hello {{ n1.name | capitalize }}, you have {{ n1.items | size }} items."
    }
    example_context: ClassVar[Mapping[str, Any]] = {"n1": {"name": "ada", "items": [1, 2]}}

    def renderings(self, data: Mapping[str, Any]) -> Mapping[str, Rendering]:
        """A template whose content type is JSON is the text of a document."""
        return {"template": Rendering.JSON} if _is_json(data.get("content_type")) else {}

    def check(self, data: Mapping[str, Any]) -> list[tuple[str, str]]:
        """See `NodeType.check`."""
        headers, kind = data.get("headers", {}), data.get("content_type", "")
        fixed = {} if isinstance(headers, str) else {k: "" if is_template(v) else v for k, v in headers.items()}
        faults = [*_header_faults(fixed), *([] if is_template(kind) else _kind_faults(kind))]
        if _is_json(kind) and not is_template(data["template"]):
            faults += _json_faults(data["template"])
        return faults

    def answers(self, data: Mapping[str, Any]) -> bool:
        """See `NodeType.answers`."""
        return data.get("is_response") is True

    def run(self, data: Data) -> Outcome:
        """The rendered text; what an answer is headed by stands as the step's input.

        Raises:
            StepFailedError: ``invalid_header`` if it is an answer whose headers could not, or may not, be sent.
        """
        if not data.is_response:
            return Outcome({"text": data.template})
        check_head(data.headers, data.content_type)
        head = Head(data.status, data.content_type, data.headers)
        return Outcome({"text": data.template}, step_input=msgspec.to_builtins(head))


def _is_json(content_type: Any) -> bool:
    if not isinstance(content_type, str):
        return False
    kind = content_type.partition(";")[0].strip().lower()
    return kind == "application/json" or kind.endswith("+json")


def _kind_faults(content_type: str) -> list[tuple[str, str]]:
    try:
        check_content_type(content_type or Head().content_type)
    except StepFailedError as error:
        return [("content_type", error.message)]
    return []


def _header_faults(headers: Mapping[str, str]) -> list[tuple[str, str]]:
    faults = []
    for name, value in headers.items():
        try:
            check_head({name: value}, Head().content_type)
        except StepFailedError as error:
            faults.append((f"headers.{name}", error.message))
    return faults


def _json_faults(text: str) -> list[tuple[str, str]]:
    try:
        jsontext.decode(text)
    except (ValueError, RecursionError) as error:
        return [("template", f"With a content_type of JSON it is a JSON document: {error}.")]
    return []
