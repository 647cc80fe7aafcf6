"""``text_transform``: text out of a Liquid template."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import msgspec

from shared.nodes.base import Kind, NodeType, Outcome
from shared.nodes.fields import Text


class Data(msgspec.Struct, forbid_unknown_fields=True):
    """Configuration.

    Attributes:
        template: Liquid.
        is_response: whether the text answers the request that started the run.
        content_type: of that answer.
        status: of that answer, 200-599.
        headers: of that answer.
    """

    template: Text[str]
    is_response: bool = False
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

    def run(self, data: Data) -> Outcome:
        """The rendered text."""
        return Outcome({"text": data.template})
