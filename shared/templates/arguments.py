"""What filters are given, held against what they take when a template is parsed.

Liquid calls a filter and tells what Python says of it, in the words of Python and while a run is under way. What a
filter takes is known before: from its signature, whose value before the ``|`` and what Liquid puts in do not count.
"""

import inspect
from collections.abc import Callable, Iterator
from difflib import get_close_matches
from functools import cache
from typing import Any, Final, NamedTuple

from liquid import BoundTemplate
from liquid.builtin.expressions import FilteredExpression
from liquid.builtin.expressions.arguments import KeywordArgument
from liquid.builtin.expressions.filtered import Filter
from liquid.expression import Expression

from shared.templates.errors import TemplateSyntaxError

#: Characters of a name that a message shows, and that others are compared with.
_SHOWN: Final = 60
#: What Liquid hands to a filter that asks for it.
_PUT_IN: Final = frozenset({"context", "environment"})


class Taken(NamedTuple):
    """What a filter takes behind its colon.

    Attributes:
        least, most: how many arguments; None for any number.
        keywords: names of those that are given by name, and by it alone.
    """

    least: int
    most: int | None
    keywords: tuple[str, ...]


@cache
def taken_by(function: Callable[..., Any]) -> Taken:
    """What a filter takes."""
    parameters = [*inspect.signature(function).parameters.values()][1:]
    placed = [each for each in parameters if each.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD]
    any_number = any(each.kind is inspect.Parameter.VAR_POSITIONAL for each in parameters)
    named = [each.name for each in parameters if each.kind is inspect.Parameter.KEYWORD_ONLY]
    return Taken(
        sum(each.default is inspect.Parameter.empty for each in placed),
        None if any_number else len(placed),
        tuple(name for name in named if name not in _PUT_IN),
    )


def check_arguments(bound: BoundTemplate, expressions: Iterator[Expression]) -> None:
    """Refuse filters with too few or too many arguments, or with keywords that they do not take.

    Args:
        bound: the template, whose filters all exist.
        expressions: all that are in it.

    Raises:
        TemplateSyntaxError: for the first of them.
    """
    for expression in expressions:
        for each in (expression.filters or ()) if isinstance(expression, FilteredExpression) else ():
            _check(each, taken_by(bound.env.filters[each.name]))


def _check(given: Filter, taken: Taken) -> None:
    keywords = [argument.name for argument in given.args if isinstance(argument, KeywordArgument)]
    for name in keywords:
        if name not in taken.keywords:
            raise TemplateSyntaxError(_no_keyword(given.name, name, taken.keywords))
    count = len(given.args) - len(keywords)
    if count < taken.least or (taken.most is not None and count > taken.most):
        raise TemplateSyntaxError(f'the filter "{given.name}" takes {_amount(taken)}, not {count}')


def _no_keyword(filter_name: str, name: str, legal: tuple[str, ...]) -> str:
    rule = f"legal: {', '.join(legal)}" if legal else "it has none"
    near = get_close_matches(name[:_SHOWN], legal, n=1)
    hint = f'; did you mean "{near[0]}"?' if near else ""
    return f'the filter "{filter_name}" has no keyword "{name[:_SHOWN]}"; {rule}{hint}'


def _amount(taken: Taken) -> str:
    if taken.most is None:
        return f"at least {_counted(taken.least)}"
    if taken.least == taken.most:
        return _counted(taken.most) if taken.most else "no arguments"
    if taken.least == 0:
        return f"at most {_counted(taken.most)}"
    return f"{taken.least} to {_counted(taken.most)}"


def _counted(number: int) -> str:
    return f"{number} argument{'' if number == 1 else 's'}"
