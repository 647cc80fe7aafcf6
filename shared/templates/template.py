"""A parsed template: the names it begins its paths with, and its three ways of being rendered."""

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Final, ParamSpec, TypeVar

from liquid import BoundTemplate
from liquid.exceptions import LiquidError, LiquidInterrupt, UndefinedError

from shared import jsontext
from shared.templates import limits
from shared.templates.analysis import check_filters, keep_ranges_small, only_expression, plain_parts, roots
from shared.templates.buffers import JsonBuffer, TextBuffer
from shared.templates.context import Context
from shared.templates.environment import ENVIRONMENT
from shared.templates.errors import TemplateError, TemplateSyntaxError, UndefinedNameError
from shared.templates.syntax import check_source, explained
from shared.templates.values import json_value, text_of

P = ParamSpec("P")
T = TypeVar("T")
Scope = Mapping[str, Any]
#: Text and plain paths (``n1.user.name``) in the order they are written.
Parts = tuple[str | tuple[str, ...], ...]
_TOO_DEEP: Final = "the template nests too deep"


class Template:
    """One parsed template. It holds no state of a render and may be shared.

    Most templates are text and plain paths through objects. Those are followed directly, at a tenth of the cost;
    whatever is not found that way (``size`` of a list, a missing name) is left to Liquid, which words the error.

    Attributes:
        roots: the names that its paths begin with; ``nodes["x"]`` counts as ``x``, ``nodes`` with a computed key as
            ``nodes``.
    """

    __slots__ = ("_bound", "_expression", "_parts", "roots")

    def __init__(self, bound: BoundTemplate) -> None:
        check_filters(bound)
        keep_ranges_small(bound)
        self._bound = bound
        self._expression = only_expression(bound)
        self._parts: Parts | None = plain_parts(bound)
        self.roots = roots(bound)

    def text(self, scope: Scope) -> str:
        """Render to text.

        Raises:
            TemplateError: an undefined name, a filter's argument, a limit.
        """
        if self._parts is not None:
            try:
                text = "".join([part if type(part) is str else text_of(_follow(scope, part)) for part in self._parts])
            except LookupError:
                return _guarded(self._write, scope, TextBuffer(limits.OUTPUT))
            if len(text) * 4 <= limits.OUTPUT:
                return text
        return _guarded(self._write, scope, TextBuffer(limits.OUTPUT))

    def json(self, scope: Scope) -> str:
        """Render to the text of a JSON document: values are escaped inside strings and serialised outside them.

        Raises:
            TemplateError: as `text`, and if what comes out is no JSON document.
        """
        text = _guarded(self._write, scope, JsonBuffer(limits.OUTPUT))
        try:
            jsontext.decode(text)
        except (ValueError, RecursionError) as error:
            raise TemplateError(f"the rendered text is no JSON document: {error}") from error
        return text

    def value(self, scope: Scope) -> Any:
        """The value of a template that is one ``{{ expression }}``, with its type; of any other, its text.

        Raises:
            TemplateError: as `text`.
        """
        if self._expression is None:
            return self.text(scope)
        if self._parts is not None:
            try:
                return _follow(scope, self._parts[0])
            except LookupError:
                pass
        return _guarded(self._evaluate, scope)

    def _evaluate(self, scope: Scope) -> Any:
        context = Context(self._bound, scope)
        return json_value(self._expression.evaluate(context)) if self._expression is not None else None

    def _write(self, scope: Scope, buffer: TextBuffer) -> str:
        context = Context(self._bound, scope)
        for node in self._bound.nodes:
            node.render(context, buffer)
        return buffer.getvalue()


@lru_cache(maxsize=4096)
def parse(source: str) -> Template:
    """The template of a text, parsed once and kept.

    Raises:
        TemplateSyntaxError: if it is no template.
    """
    check_source(source)
    try:
        return Template(ENVIRONMENT.from_string(source))
    except LiquidError as error:
        nested = isinstance(error.__cause__, RecursionError)
        raise TemplateSyntaxError(_TOO_DEEP if nested else explained(error, source)) from error
    except RecursionError as error:
        raise TemplateSyntaxError(_TOO_DEEP) from error


def is_template(text: str) -> bool:
    """Whether a text holds anything to render."""
    return "{{" in text or "{%" in text


def _follow(scope: Scope, path: str | tuple[str, ...]) -> Any:
    """The value at a path through objects.

    Raises:
        LookupError: if a name is missing or something on the way is no object.
    """
    found: Any = scope
    for name in path:
        if type(found) is not dict and found is not scope:
            raise LookupError(name)
        found = found[name]
    return found


def _guarded(render: Callable[P, T], *arguments: P.args, **keywords: P.kwargs) -> T:
    """Render, with whatever goes wrong as a `TemplateError`."""
    try:
        return render(*arguments, **keywords)
    except TemplateError:
        raise
    except LiquidInterrupt as error:
        raise TemplateError(f"{error} stands outside a loop") from error
    except UndefinedError as error:
        raise UndefinedNameError(str(error.message)) from error
    except LiquidError as error:
        raise TemplateError(str(error.message)) from error
    except RecursionError as error:
        raise TemplateError(_TOO_DEEP) from error
    except Exception as error:  # a filter of the library fails in its own ways on values of any type
        raise TemplateError(f"{type(error).__name__}: {error}") from error
