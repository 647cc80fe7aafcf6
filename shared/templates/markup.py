"""The ``strip_html`` filter in time that grows with the text alone.

Liquid's own uses `html.parser`, which takes 0.9 s for 150,000 tags in 900 KB, and for some texts time that grows with
their square.
"""

import re
from typing import Final

#: What begins something that is taken out, by its end. Anything else behind ``<`` is text: ``a < b``.
_OPENS: Final = re.compile(r"<(?:(!--)|(script)\b|(style)\b|[a-z/!?])", re.IGNORECASE)
_ENDS: Final = (
    re.compile(">"),
    re.compile("-->"),
    re.compile(r"</script\s*>", re.IGNORECASE),
    re.compile(r"</style\s*>", re.IGNORECASE),
)


def without_tags(text: str) -> str:
    """The text without tags, comments, scripts and styles; what is opened and never closed is kept."""
    kept: list[str] = []
    at = 0
    missing = [False] * len(_ENDS)  # an end that is not found is not looked for again
    for opens in _OPENS.finditer(text):
        kind = opens.lastindex or 0
        if opens.start() < at or missing[kind]:
            continue
        ends = _ENDS[kind].search(text, opens.end())
        if ends is None:
            missing[kind] = True
            continue
        kept.append(text[at : opens.start()])
        at = ends.end()
    return "".join((*kept, text[at:]))
