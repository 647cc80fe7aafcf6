"""The charsets that text from outside is decoded from, whoever names them.

Python has other codecs, which unpack, read escapes, or take quadratic time (punycode, idna): half a minute of
processor time for a megabyte.
"""

import codecs
import re
from typing import Final

_SAFE: Final = re.compile(
    r"utf-?(8|16|32)\S*|ascii|latin.1|iso8859-\d+|cp\d+|koi8-\w|mac-\w+|big5\w*|gb\w+|euc_\w+|shift_jis\w*|iso2022_\w+"
)


def codec_of(charset: str) -> str | None:
    """The name of the codec of a charset that text on the web is in; None if it is no such charset."""
    try:
        name = codecs.lookup(charset).name
    except (LookupError, ValueError):
        return None
    return name if _SAFE.fullmatch(name) else None
