"""The direct way through plain templates: text, and paths through objects and lists with filters behind them.

Most templates are no more than that. Each of their expressions becomes a function of the scope, made once from Liquid's
own syntax tree and calling the filters that Liquid would call: ``{{ n1.text | slice: 0, 20 }} 2`` takes 3.5 us instead
of 11, two of which are the filter's. What fails here (a missing name, a filter's argument, a limit) is rendered again
by Liquid, which alone words errors and knows what to make of missing names; filters are pure, so that does no harm.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final, cast

from liquid import BoundTemplate, Environment
from liquid.ast import Node
from liquid.builtin.content import ContentNode
from liquid.builtin.expressions import FilteredExpression, Path
from liquid.builtin.expressions.arguments import PositionalArgument
from liquid.builtin.expressions.filtered import Filter
from liquid.builtin.expressions.primitive import (
    FalseLiteral,
    FloatLiteral,
    IntegerLiteral,
    Literal,
    Nil,
    StringLiteral,
    TrueLiteral,
)
from liquid.expression import Expression

from shared import jsontext
from shared.templates import allowance, limits
from shared.templates.buffers import place_after
from shared.templates.nodes import ValueNode
from shared.templates.values import JsonText, json_text, limited_value, text_of

Scope = Mapping[str, Any]
#: The value of an expression in a scope; it raises whatever goes wrong.
Value = Callable[[Scope], Any]
#: Text, and what gives values between it, in the order they are written.
Pieces = tuple[str | Value, ...]

#: Look-ups of names and filters in one template. Liquid's watch over the time of a render first stops one at the 32nd
#: (`Context`), so it needs none here; and no more than so many values are held before they are measured.
_LOOKUPS: Final = 31
#: Names that Liquid gives a meaning of its own behind a dot; only it knows what they mean for a value.
_COMPUTED: Final = frozenset({"size", "first", "last"})
_LITERALS: Final = frozenset({StringLiteral, IntegerLiteral, FloatLiteral, TrueLiteral, FalseLiteral})


def pieces_of(bound: BoundTemplate) -> Pieces | None:
    """The pieces of a template that is plain; None for any other."""
    expressions = [node.expression for node in bound.nodes if type(node) is ValueNode]
    if sum(map(_lookups, expressions)) > _LOOKUPS:
        return None
    pieces = [_piece(node, bound.env) for node in bound.nodes]
    return None if None in pieces else cast(Pieces, tuple(pieces))


def value_of(bound: BoundTemplate, pieces: Pieces) -> Value | None:
    """What gives the value, as JSON has it, of a template that is one ``{{ expression }}``; None for any other.

    Args:
        bound: the template.
        pieces: what it consists of.
    """
    if len(pieces) != 1 or isinstance(pieces[0], str):
        return None
    expression = cast(FilteredExpression, cast(ValueNode, bound.nodes[0]).expression)
    if type(expression.left) is Path and not expression.filters:
        return pieces[0]  # JSON already, which may be large: it is not copied
    return partial(_as_json, pieces[0])


def pieces_of_json(pieces: Pieces) -> Pieces | None:
    """The same pieces for a JSON document, as `JsonBuffer` writes it: the author's text alone says where each stands.

    None if a value follows a backslash, which is an error.
    """
    placed: list[str | Value] = []
    place = "outside"
    for piece in pieces:
        if isinstance(piece, str):
            place = place_after(piece, place)
        elif place == "escape":
            return None
        placed.append(piece if isinstance(piece, str) else partial(_PLACED[place], piece))
    return tuple(placed)


def joined(pieces: Pieces, scope: Scope) -> str | None:
    """The text of some pieces; None if it is over the limit of a render.

    Raises:
        Exception: whatever goes wrong in a path or a filter.
    """
    text = "".join([piece if type(piece) is str else text_of(piece(scope)) for piece in pieces])  # type: ignore[operator]
    if len(text) > allowance.LARGE:
        allowance.look()
    if len(text) * 4 > limits.OUTPUT and len(text.encode("utf-8", "surrogatepass")) > limits.OUTPUT:
        return None
    return text


def _inside(value: Value, scope: Scope) -> str:
    return jsontext.encode(str(text_of(value(scope))))[1:-1]


def _outside(value: Value, scope: Scope) -> str:
    found = value(scope)
    return found if isinstance(found, JsonText) else json_text(found)


def _as_json(value: Value, scope: Scope) -> Any:
    return limited_value(value(scope))


_PLACED: Final = {"inside": _inside, "outside": _outside}


def _lookups(expression: Expression) -> int:
    """How often Liquid would look at its watch for an expression; it matters for plain ones alone."""
    filters = expression.filters if isinstance(expression, FilteredExpression) and expression.filters else ()
    return len(filters) + sum(isinstance(child, Path) for child in expression.children())


def _piece(node: Node, environment: Environment) -> str | Value | None:
    if type(node) is ContentNode:
        return node.text
    return _filtered(node.expression, environment) if type(node) is ValueNode else None


def _filtered(expression: Expression, environment: Environment) -> Value | None:
    if type(expression) is not FilteredExpression:
        return None
    value = _primitive(expression.left)
    for filter_ in expression.filters or ():
        value = None if value is None else _behind(value, filter_, environment)
    return value


def _behind(value: Value, filter_: Filter, environment: Environment) -> Value | None:
    """The value behind a filter; None if the filter sees more of a render than its arguments."""
    function = environment.filters[filter_.name]
    if getattr(function, "with_context", False):
        return None
    if getattr(function, "with_environment", False):
        function = partial(function, environment=environment)
    parts = [argument.value for argument in filter_.args if type(argument) is PositionalArgument]
    arguments = [_primitive(part) for part in parts]
    if None in arguments or len(parts) < len(filter_.args):
        return None
    if any(isinstance(part, Path) for part in parts):
        return partial(_call, function, value, cast(Sequence[Value], arguments))
    return partial(_call_constant, function, value, tuple(getattr(part, "value", None) for part in parts))


def _call(function: Callable[..., Any], value: Value, arguments: Sequence[Value], scope: Scope) -> Any:
    return function(value(scope), *[argument(scope) for argument in arguments])


def _call_constant(function: Callable[..., Any], value: Value, arguments: tuple[Any, ...], scope: Scope) -> Any:
    return function(value(scope), *arguments)


def _primitive(expression: Expression) -> Value | None:
    if type(expression) is Path:
        return _path(expression.path)
    if type(expression) in _LITERALS:
        return partial(_constant, cast(Literal[Any], expression).value)
    return partial(_constant, None) if type(expression) is Nil else None


def _constant(value: Any, _: Scope) -> Any:
    return value


def _path(path: Sequence[Any]) -> Value | None:
    first, *rest = path
    if any(isinstance(name, Path) or name in _COMPUTED for name in path):
        return None
    return partial(_follow, first, tuple(rest))


def _follow(first: str, rest: tuple[str | int, ...], scope: Scope) -> Any:
    found = scope[first]
    for name in rest:
        kind = type(found)
        if kind is not dict and (kind is not list or type(name) is not int):
            raise LookupError(name)
        found = found[name]
    return found
