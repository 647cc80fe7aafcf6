"""How much the types of a WSDL hold once what they refer to is written out, counted before the library does that.

The library puts what a group, an attribute group or a base type holds into every type that refers to it. Each of 30
groups that refers twice to the next makes 2**30 elements of three kilobytes, in a thread that nothing ends. Here each
component is counted once, whatever refers to it.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple

from shared.errors import StepFailedError

#: Elements and attributes of one type, and of all types of a description.
MOST_EACH: Final = 10_000
MOST_ALL: Final = 200_000
_XS: Final = "{http://www.w3.org/2001/XMLSchema}"
_COUNTED: Final = frozenset(f"{_XS}{name}" for name in ("element", "any", "attribute", "anyAttribute"))
_GROUPS: Final = frozenset((f"{_XS}group", f"{_XS}attributeGroup"))
_DERIVED: Final = frozenset((f"{_XS}extension", f"{_XS}restriction"))
_TYPE: Final = f"{_XS}complexType"


class _Name(NamedTuple):
    """A component: its tag, namespace (empty: none) and name."""

    tag: str
    namespace: str
    name: str


class _Own(NamedTuple):
    """What a component holds itself, and what it refers to."""

    size: int
    refers: list[_Name]


def check(documents: Iterable[bytes], etree: Any) -> None:
    """Refuse a description whose types hold too much. What is no XML is left to the library.

    Args:
        documents: the WSDL and what it imports.
        etree: the module of lxml that the library uses.

    Raises:
        StepFailedError: ``invalid_wsdl``.
    """
    named: dict[_Name, list[_Own]] = defaultdict(list)
    nameless: list[_Own] = []
    for document in documents:
        for name, own in _components(document, etree):
            if name is None:
                nameless.append(own)
            else:
                named[name].append(own)
    counted = _Counted(named)
    try:
        total = sum(map(counted.of, [own for owns in named.values() for own in owns] + nameless))
    except RecursionError:
        raise _refused("its types refer to each other too many levels deep") from None
    if total > MOST_ALL:
        raise _refused(f"its types hold more than {MOST_ALL:,} elements and attributes together")


class _Counted:
    def __init__(self, named: Mapping[_Name, list[_Own]]) -> None:
        self._named = dict(named)
        self._sizes: dict[_Name, int] = {}
        self._open: set[_Name] = set()
        self._alike: dict[tuple[str, str], list[_Name]] = defaultdict(list)
        for name in named:
            self._alike[name.tag, name.name].append(name)

    def of(self, own: _Own) -> int:
        size = own.size + sum(self._size(found) for name in own.refers for found in self._found(name))
        if size > MOST_EACH:
            raise _refused(f"one of its types holds more than {MOST_EACH:,} elements and attributes")
        return size

    def _found(self, name: _Name) -> list[_Name]:
        """The component of that name; of a schema that is included into other namespaces whichever is called so."""
        return [name] if name in self._named else self._alike.get((name.tag, name.name), [])

    def _size(self, name: _Name) -> int:
        if name in self._open:
            raise _refused(f"{name.name[:100]} refers to itself")
        if name not in self._sizes:
            self._open.add(name)
            self._sizes[name] = sum(map(self.of, self._named[name]))
            self._open.discard(name)
        return self._sizes[name]


def _components(document: bytes, etree: Any) -> Iterator[tuple[_Name | None, _Own]]:
    """Groups and types, those without a name, too."""
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False)
    try:
        root = etree.fromstring(document, parser)
    except etree.XMLSyntaxError:
        return
    for schema in root.iter(f"{_XS}schema"):
        namespace = schema.get("targetNamespace", "")
        for component in schema.iter(_TYPE, *_GROUPS):
            if component.get("ref") is None:
                name = component.get("name")
                yield (None if name is None else _Name(component.tag, namespace, name)), _own(component)


def _own(component: Any) -> _Own:
    """Elements count once: what their types hold is put in nowhere."""
    size, refers = 0, []
    inside = list(component)
    while inside:
        part = inside.pop()
        if part.tag in _COUNTED:
            size += 1
        elif part.tag in _GROUPS:
            refers.append(_named(part, part.tag, part.get("ref", "")))
        else:
            if part.tag in _DERIVED:
                refers.append(_named(part, _TYPE, part.get("base", "")))
            inside.extend(part)
    return _Own(size, refers)


def _named(part: Any, tag: str, text: str) -> _Name:
    prefix, _, name = text.strip().rpartition(":")
    return _Name(tag, part.nsmap.get(prefix or None) or "", name)


def _refused(why: str) -> StepFailedError:
    return StepFailedError("invalid_wsdl", f"The WSDL cannot be used: {why}.")
