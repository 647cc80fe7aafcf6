"""Syntax errors, told so that the author can mend them; and sources that are not worth parsing."""

import re
from typing import Any, Final

from liquid.exceptions import LiquidError

from shared.templates import limits
from shared.templates.errors import TemplateSyntaxError

_OPENING: Final = re.compile(r"\{[{%]")
_RAW: Final = re.compile(r"\{%-?\s*(end)?(raw|doc)\b")
#: A path that begins with a number or with a word of Liquid's own: ``1.x``, ``true["y"]``.
_NO_NAME: Final = re.compile(
    r"(?<![\w.\"'\]-])(-?\d[\w-]*|-[\w-]+|"
    r"(?:true|false|nil|null|empty|blank|and|or|contains|not|in|offset|limit|reversed|cols|continue|with|for|as|if|else"
    r"|required))\s*(?:\.\s*(?=\D)|\[)"
)


def markup_in(value: Any) -> int:
    """Characters that stand within the tags and expressions of all texts in a JSON value."""
    size = 0
    pending = [value]
    for part in pending:
        if isinstance(part, str):
            size += _markup(part)
        elif isinstance(part, dict):
            pending.extend(part.values())
        elif isinstance(part, list):
            pending.extend(part)
    return size


def _markup(text: str) -> int:
    size = 0
    for piece in _OPENING.split(text)[1:]:
        ends = [at for end in ("}}", "%}") if (at := piece.find(end)) >= 0]
        size += 4 + min(ends, default=len(piece))
    return size


def check_source(source: str) -> None:
    """Refuse what would take the lexer long.

    Raises:
        TemplateSyntaxError: if the source is too long, or a ``raw`` block is not closed: the lexer looks for its end
            once for each.
    """
    if len(source) > limits.SOURCE:
        raise TemplateSyntaxError(f"a template has at most {limits.SOURCE} characters, not {len(source)}")
    for block in ("raw", "doc"):
        ends = [match.group(1) for match in _RAW.finditer(source) if match.group(2) == block]
        if ends and ends[-1] is None:
            raise TemplateSyntaxError(f"the last {{% {block} %}} block is not closed by {{% end{block} %}}")


def explained(error: LiquidError, source: str) -> str:
    """What is wrong, where, and how to refer to a node whose id is no name of Liquid."""
    place = error.context() if error.token is not None and error.token.source == source else None
    where = f" (line {place[0]}, column {place[1] + 1})" if place else ""
    return f"{error.message}{where}{_hint(place[3] if place else source)}"


def _hint(line: str) -> str:
    found = _NO_NAME.search(line)
    return f'; {found.group(1)} is no name in Liquid: write nodes["{found.group(1)}"]' if found else ""
