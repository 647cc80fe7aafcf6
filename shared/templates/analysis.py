"""What can be known of a parsed template without rendering it."""

from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from itertools import chain
from typing import Final

from liquid import BoundTemplate, RenderContext
from liquid.ast import Node
from liquid.builtin.content import ContentNode
from liquid.builtin.expressions.primitive import RangeLiteral
from liquid.builtin.output import OutputNode
from liquid.expression import Expression

from shared.templates.arguments import check_arguments
from shared.templates.errors import TemplateSyntaxError
from shared.templates.nodes import SmallRange, ValueNode

#: Characters of a name that a message shows, and that others are compared with.
_SHOWN: Final = 60


def roots(bound: BoundTemplate) -> frozenset[str]:
    """The names that the paths of a template begin with, less those it sets itself.

    ``run.links.x`` counts as ``run``, and as ``run.links.x`` besides.

    Raises:
        TemplateSyntaxError: if a path begins with a computed name.
    """
    paths = [variable.segments for variable in chain.from_iterable(bound.analyze().globals.values())]
    return frozenset((*map(_root, paths), *filter(None, map(_link, paths))))


def paths(bound: BoundTemplate) -> Iterator[Sequence[object]]:
    """The paths that a template looks up in the scope: names, indices, and lists for what it computes."""
    for variable in chain.from_iterable(bound.analyze().globals.values()):
        yield variable.segments


def is_bound(bound: BoundTemplate, name: str) -> bool:
    """Whether a tag gives a meaning of its own to a name: assigned, captured, counted, or that of a loop's items."""
    if all(isinstance(node, (ContentNode, OutputNode)) for node in bound.nodes):
        return False
    found = bound.analyze()
    return name in found.locals or len(found.variables.get(name, ())) > len(found.globals.get(name, ()))


def check_filters(bound: BoundTemplate) -> None:
    """Refuse filters that do not exist, and arguments that they do not take.

    Raises:
        TemplateSyntaxError: naming the first of them, and the nearest filter or keyword that there is.
    """
    legal = sorted(bound.env.filters)
    for name in bound.analyze().filters:
        if name not in bound.env.filters:
            near = get_close_matches(name[:_SHOWN], legal, n=1)
            hint = f'; did you mean "{near[0]}"?' if near else ""
            raise TemplateSyntaxError(f'there is no filter "{name[:_SHOWN]}"{hint}')
    context = RenderContext(bound)
    check_arguments(bound, chain.from_iterable(_expressions(node, context) for node in bound.nodes))


def _root(segments: Sequence[object]) -> str:
    first = segments[0]
    if not isinstance(first, str):
        raise TemplateSyntaxError("a path begins with a name: write nodes[key] to look a node up by a computed id")
    if first == "nodes" and len(segments) > 1 and isinstance(segments[1], str):
        return segments[1]
    return first


def _link(segments: Sequence[object]) -> str | None:
    """``run.links.x`` if that is what a path begins with."""
    if len(segments) > 2 and tuple(segments[:2]) == ("run", "links") and isinstance(segments[2], str):
        return f"run.links.{segments[2]}"
    return None


def only_expression(bound: BoundTemplate) -> Expression | None:
    """The expression of a template that is exactly one ``{{ expression }}``."""
    nodes = bound.nodes
    return nodes[0].expression if len(nodes) == 1 and isinstance(nodes[0], ValueNode) else None


def keep_ranges_small(bound: BoundTemplate) -> None:
    """Give every range of a template its limit. The parser makes them by name, so their class is changed after it."""
    context = RenderContext(bound)
    for node in bound.nodes:
        for expression in _expressions(node, context):
            if type(expression) is RangeLiteral:
                expression.__class__ = SmallRange


def _expressions(node: Node, context: RenderContext) -> Iterator[Expression]:
    for expression in node.expressions():
        yield from with_parts(expression)
    for child in node.children(context, include_partials=False):
        yield from _expressions(child, context)


def with_parts(expression: Expression) -> Iterator[Expression]:
    """An expression, its parts, and theirs."""
    yield expression
    for part in expression.children():
        yield from with_parts(part)
