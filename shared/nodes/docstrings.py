"""What docstrings say of a node type and of its fields, for the catalogue and for the pages made from it."""

import inspect
import re
from collections.abc import Iterator, Mapping

import msgspec

_SECTION = "Attributes:\n"
_ENTRY = re.compile(r"    (\w+(?:, \w+)*): (.*)")


def summary(described: type) -> str:
    """What a docstring says of its class, without sections: paragraphs of text."""
    return _flowing((inspect.getdoc(described) or "").partition(_SECTION)[0])


def field_docs(struct: type[msgspec.Struct]) -> Mapping[str, str]:
    """What the docstrings of a Struct and its bases say of their fields, by the fields' names."""
    found: dict[str, str] = {}
    for base in reversed(struct.__mro__):
        if base.__doc__ and issubclass(base, msgspec.Struct):
            found.update(_entries(inspect.cleandoc(base.__doc__).partition(_SECTION)[2]))
    return found


def _entries(section: str) -> Iterator[tuple[str, str]]:
    names: list[str] = []
    text: list[str] = []
    for line in [*section.splitlines(), ""]:
        begins = _ENTRY.fullmatch(line)
        if begins or not line.startswith("    "):
            yield from ((name, " ".join(text).replace("``", "`")) for name in names)
            names, text = (begins.group(1).split(", "), [begins.group(2)]) if begins else ([], [])
        else:
            text.append(line.strip())


def _flowing(text: str) -> str:
    return "\n\n".join(" ".join(part.split()) for part in text.strip().split("\n\n")).replace("``", "`")
