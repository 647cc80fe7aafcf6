"""Node types of packages that are installed beside the project: found by their entry points, judged before use.

A package that breaks when it is imported, or that declares what is no node type, takes no process down: its types are
left out, and the log names the distribution, the entry point and the reason.
"""

from collections.abc import Iterator
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Final, NamedTuple

from shared.log import get
from shared.nodes.base import NodeType
from shared.nodes.declaration import flaws

GROUP: Final = "edgewise.nodes"
_log = get(__name__)


class Plugin(NamedTuple):
    """A type of another distribution.

    Attributes:
        origin: ``ENTRY of DISTRIBUTION VERSION``.
    """

    node_type: NodeType[Any]
    origin: str


def installed() -> Iterator[Plugin]:
    """The types that installed packages add, in the order of their entry points' names and distributions."""
    for entry in sorted(entry_points(group=GROUP), key=lambda entry: (entry.name, origin_of(entry))):
        origin = origin_of(entry)
        try:
            node_type = _loaded(entry)
        except (Exception, SystemExit) as error:  # noqa: BLE001 — importing runs code of others
            reason = f"{type(error).__name__}: {error}"
            _log.error("a node type of an installed package is left out", origin=origin, reason=reason, exc_info=True)
            continue
        wrong = flaws(node_type)
        if wrong:
            _log.error("a node type of an installed package is left out", origin=origin, reason=" ".join(wrong))
        else:
            yield Plugin(node_type, origin)


def origin_of(entry: EntryPoint) -> str:
    """The entry point and the distribution that it belongs to."""
    named = f"{entry.dist.name} {entry.dist.version}" if entry.dist is not None else "an unnamed distribution"
    return f"{entry.name} of {named}"


def _loaded(entry: EntryPoint) -> NodeType[Any]:
    """An instance of the type that an entry point names.

    Raises:
        TypeError: if that is no node type.
    """
    found = entry.load()
    if not isinstance(found, type) or not issubclass(found, NodeType):
        raise TypeError(f"{entry.value} is no subclass of shared.nodes.base.NodeType")
    made: NodeType[Any] = found()
    return made
