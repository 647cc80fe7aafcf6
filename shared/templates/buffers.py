"""Where rendered text goes: plain text, or a JSON document whose structure no value can change."""

import re
from functools import lru_cache
from io import StringIO
from typing import Any, Final

from liquid.exceptions import OutputStreamLimitError

from shared import jsontext
from shared.templates.errors import TemplateError
from shared.templates.values import JsonText, json_text, text_of


class TextBuffer(StringIO):
    """Plain text of at most ``limit`` bytes in UTF-8; lone surrogates are kept and count three bytes each."""

    def __init__(self, limit: int) -> None:
        super().__init__()
        self.limit = limit
        self.size = 0

    def write(self, text: str, /) -> int:
        self.size += len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
        if self.size > self.limit:
            raise OutputStreamLimitError(f"the output is over {self.limit} bytes", token=None)
        return super().write(text)

    def write_value(self, value: Any) -> int:
        """Write the value of an expression."""
        return self.write(text_of(value))

    def sibling(self) -> "TextBuffer":
        """An empty buffer for a part of this one, with what is left of the limit."""
        return TextBuffer(self.limit - self.size)


class JsonBuffer(TextBuffer):
    """A JSON document in the making.

    The author's own text is followed to know whether the next character stands inside a string. Values are escaped
    inside strings and serialised outside them, so none of them can leave its place: where the document stands depends
    on the author's text alone.
    """

    def __init__(self, limit: int, place: str = "outside") -> None:
        super().__init__(limit)
        self.place = place

    def write(self, text: str, /) -> int:
        self.place = place_after(text, self.place)
        return super().write(text)

    def write_value(self, value: Any) -> int:
        """Write the value of an expression, escaped or serialised."""
        if self.place == "escape":
            raise TemplateError("a value may not follow a backslash in a JSON string: it would be read as an escape")
        if self.place == "inside":
            return super().write(jsontext.encode(str(text_of(value)))[1:-1])
        return super().write(value if isinstance(value, JsonText) else json_text(value))

    def sibling(self) -> "JsonBuffer":
        """An empty buffer that goes on from the same place."""
        return JsonBuffer(self.limit - self.size, self.place)


#: Characters of a text whose turns are remembered.
_KNOWN: Final = 512
_TURNS: Final = re.compile(r'["\\]')
#: What a quote or a backslash does to the place; any other character ends an escape.
_MOVES: Final = {
    ("outside", '"'): "inside",
    ("inside", '"'): "outside",
    ("inside", "\\"): "escape",
}


def place_after(text: str, place: str) -> str:
    """Where a document stands after some text: ``outside`` or ``inside`` a string, or in an ``escape``."""
    return _known_place(text, place) if len(text) <= _KNOWN else _place_after(text, place)


@lru_cache(maxsize=4096)
def _known_place(text: str, place: str) -> str:
    return _place_after(text, place)


def _place_after(text: str, place: str) -> str:
    position = 0
    while position < len(text):
        if place == "escape":
            place, position = "inside", position + 1
            continue
        turn = _TURNS.search(text, position)
        if turn is None:
            return place
        place = _MOVES.get((place, turn.group()), place)
        position = turn.end()
    return place
