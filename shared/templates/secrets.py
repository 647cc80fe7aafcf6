"""What a template reads of the vault: ``{{ vault.name }}`` and ``{{ vault["a b"] }}``, and nothing else.

A value of the vault stands where it is written out, and nowhere else: a tag could put it, or a part of it, into a name
of the template's own, and what becomes of that could not be followed.
"""

from collections.abc import Iterator
from typing import Any, Final, NamedTuple, TextIO, cast

from liquid import BoundTemplate, RenderContext
from liquid.ast import Node
from liquid.builtin.expressions import FilteredExpression, Path
from liquid.expression import Expression

from shared.templates.analysis import is_bound, paths, with_parts
from shared.templates.buffers import TextBuffer
from shared.templates.context import Context
from shared.templates.nodes import PlainCaptureNode, ValueNode
from shared.templates.values import json_value, text_of

VAULT: Final = "vault"
#: Filters whose results do not tell what they were made of.
_DIGESTS: Final = frozenset({"hmac_sha256"})
_PATH_RULE: Final = 'write {{ vault.name }} or {{ vault["a name"] }}'
_PLACE_RULE: Final = "a value of the vault is written out by {{ }} alone: no tag may read or keep it"
_NAME_RULE: Final = '"vault" is the vault everywhere: no tag may give that name to something else'


class VaultUse(NamedTuple):
    """What a template reads of the vault.

    Attributes:
        names: of items.
        faults: why it may not, as parts of a sentence.
    """

    names: frozenset[str] = frozenset()
    faults: tuple[str, ...] = ()


NOTHING: Final = VaultUse()


class SecretNode(ValueNode):
    """``{{ expression }}`` that reads the vault: what it writes is a secret too, and told to whoever asks."""

    __slots__ = ()

    def render_to_output(self, context: RenderContext, buffer: TextIO) -> int:
        value = self.expression.evaluate(context)
        exposed = cast(Context, context).exposed
        if exposed is not None and not _is_digest(self.expression):
            exposed += (text_of(value), *_texts_in(json_value(value)))
        return cast(TextBuffer, buffer).write_value(value)


def vault_use(bound: BoundTemplate) -> VaultUse:
    """What a template that begins a path with ``vault`` reads; its nodes that do become `SecretNode`."""
    names: set[str] = set()
    faults: set[str] = set()
    for path in paths(bound):
        if path[0] == VAULT and len(path) == 2 and isinstance(path[1], str):
            names.add(path[1])
        elif path[0] == VAULT:
            faults.add(_PATH_RULE)
    if is_bound(bound, VAULT):
        faults.add(_NAME_RULE)
    context = RenderContext(bound)
    faults.update(fault for node in bound.nodes for fault in _mark(node, context, captured=False))
    return VaultUse(frozenset(names), tuple(sorted(faults)))


def _mark(node: Node, context: RenderContext, *, captured: bool) -> Iterator[str]:
    if any(map(_reads, node.expressions())):
        if type(node) is ValueNode and not captured:
            node.__class__ = SecretNode
        else:
            yield _PLACE_RULE
    for child in node.children(context, include_partials=False):
        yield from _mark(child, context, captured=captured or isinstance(node, PlainCaptureNode))


def _reads(expression: Expression) -> bool:
    return any(isinstance(part, Path) and part.path[0] == VAULT for part in with_parts(expression))


def _is_digest(expression: Any) -> bool:
    """Whether what an expression gives was made by a digest, and nothing of the vault was put to it behind that."""
    filters = expression.filters if isinstance(expression, FilteredExpression) else None
    for each in reversed(filters or ()):
        if each.name in _DIGESTS:
            return True
        if any(map(_reads, each.children())):
            return False
    return False


def _texts_in(value: Any) -> Iterator[str]:
    """The texts of a list or an object, which others give back one by one."""
    parts = value if isinstance(value, list) else [*value, *value.values()] if isinstance(value, dict) else ()
    for part in parts:
        if isinstance(part, (list, dict)):
            yield from _texts_in(part)
        else:
            yield text_of(part)
