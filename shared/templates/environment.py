"""Liquid as Edgewise offers it: strict, limited, without files or other templates."""

from collections.abc import Callable
from functools import wraps
from typing import Any, ClassVar, Final

from liquid import Environment, StrictDefaultUndefined
from liquid.exceptions import FilterValueError
from liquid.filter import string_filter

from shared.templates import allowance, filters, limits, nodes
from shared.templates.values import text_of

#: What all filters that take text have in common: they are called by the same function.
_TAKES_TEXT: Final = string_filter(lambda value: value).__code__
_PLAIN: Final = frozenset({str, int, float})
#: Tags that would load other templates.
_WITHOUT: Final = ("include", "render")
_TAGS: Final = (nodes.ValueOutput, nodes.Echo, nodes.Cycle, nodes.Capture, nodes.IfChanged)


class LimitedEnvironment(Environment):
    """The one environment of the process; it holds no state of any template."""

    block_nesting_limit: ClassVar[int] = limits.NESTING
    local_namespace_limit: ClassVar[int | None] = limits.LOCALS
    loop_iteration_limit: ClassVar[int | None] = limits.ITERATIONS
    output_stream_limit: ClassVar[int | None] = limits.OUTPUT

    def __init__(self) -> None:
        super().__init__(undefined=StrictDefaultUndefined)

    def setup_tags_and_filters(self, *, extra: bool = False) -> None:
        """Liquid's standard tags and filters, less what reads files, and those of `shared.templates.filters`."""
        super().setup_tags_and_filters(extra=extra)
        for name in _WITHOUT:
            del self.tags[name]
        for tag in _TAGS:
            self.add_tag(tag)
        self.filters.update(filters.FILTERS)
        self.filters = {name: _limited(name, function) for name, function in self.filters.items()}


def _as_text(value: Any) -> Any:
    """Lists, objects and booleans as a template writes them; Liquid's filters would take Python's way of writing."""
    return text_of(value) if isinstance(value, (list, tuple, dict, range, bool)) else value


def _limited(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """The filter, refusing a result that is too large to go on with, and arguments that would make one."""
    guard = filters.GUARDS.get(name)
    takes_text = getattr(function, "__code__", None) is _TAKES_TEXT

    @wraps(function)
    def limited(value: Any, *args: Any, **kwargs: Any) -> Any:
        if takes_text:
            if type(value) is not str:
                value = _as_text(value)
            if any(type(argument) not in _PLAIN for argument in args):
                args = tuple(map(_as_text, args))
        if guard is not None and guard(value, *args) > limits.OUTPUT:
            raise FilterValueError(f"{name}: the result would be over {limits.OUTPUT} characters", token=None)
        result = function(value, *args, **kwargs)
        if isinstance(result, (str, list)) and len(result) > allowance.LARGE:
            allowance.look()
            if len(result) > limits.OUTPUT:
                raise FilterValueError(f"{name}: the result is over {limits.OUTPUT} characters or items", token=None)
        if isinstance(result, int) and result.bit_length() > limits.INTEGER_BITS:
            raise FilterValueError(f"{name}: the result is over {limits.INTEGER_BITS} bits", token=None)
        return result

    return limited


ENVIRONMENT: Final = LimitedEnvironment()
