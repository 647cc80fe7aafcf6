"""What events are called, and how many runs one may start."""

import re
from typing import Final

#: Workflows that listen to one event of a request.
MAX_LISTENERS: Final = 10_000
#: And of a step: its runs start in the transaction that settles other steps too, which wait for each of them.
MAX_STEP_LISTENERS: Final = 1_000
#: Bytes that the payloads of all runs of one event have together.
MAX_BYTES: Final = 64 * 1024 * 1024
#: What a name is, for people.
NAME_RULE: Final = "1 to 128 letters, digits, dots, colons, hyphens and underscores, the first a letter or a digit"
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}")


def is_name(text: str) -> bool:
    """Whether an event can be called so."""
    return _NAME.fullmatch(text) is not None
