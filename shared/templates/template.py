"""A parsed template: the names it begins its paths with, and its three ways of being rendered."""

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import Any, Final, ParamSpec, TypeVar

from liquid import BoundTemplate
from liquid.exceptions import LiquidError, LiquidInterrupt, UndefinedError

from shared import jsontext
from shared.templates import allowance, limits
from shared.templates.analysis import check_filters, is_bound, keep_ranges_small, only_expression, paths, roots
from shared.templates.buffers import JsonBuffer, TextBuffer
from shared.templates.context import Context
from shared.templates.direct import Pieces, Scope, joined, pieces_of, pieces_of_json, value_of
from shared.templates.environment import ENVIRONMENT
from shared.templates.errors import TemplateError, TemplateSyntaxError, UndefinedNameError
from shared.templates.secrets import NOTHING, VAULT, vault_use
from shared.templates.syntax import check_source, explained
from shared.templates.values import limited_value

P = ParamSpec("P")
T = TypeVar("T")
#: Characters of a template that is kept once it is parsed: it takes some 50 times as many bytes.
_KEPT: Final = 2_048
_TOO_DEEP: Final = "the template nests too deep"


class Template:
    """One parsed template. It holds no state of a render and may be shared.

    Plain ones are rendered directly (`shared.templates.direct`); the others, and whatever fails there, by Liquid.

    Attributes:
        roots: the names that its paths begin with; ``nodes["x"]`` counts as ``x``, ``nodes`` with a computed key as
            ``nodes``.
        vault: what it reads of the vault.
    """

    __slots__ = ("_bound", "_expression", "_json", "_pieces", "_value", "roots", "vault")

    def __init__(self, bound: BoundTemplate) -> None:
        check_filters(bound)
        keep_ranges_small(bound)
        self._bound = bound
        self.roots = roots(bound)
        self.vault = vault_use(bound) if VAULT in self.roots or is_bound(bound, VAULT) else NOTHING
        self._expression = only_expression(bound)
        self._pieces = pieces = pieces_of(bound)
        self._json = None if pieces is None else pieces_of_json(pieces)
        self._value = None if pieces is None else value_of(bound, pieces)

    def paths(self) -> Iterator[Sequence[object]]:
        """The paths that it looks up: names, indices, and lists for what it computes."""
        return paths(self._bound)

    def text(self, scope: Scope) -> str:
        """Render to text.

        Raises:
            TemplateError: an undefined name, a filter's argument, a limit.
        """
        text = _directly(self._pieces, scope)
        return _guarded(self._write, scope, TextBuffer(limits.OUTPUT)) if text is None else text

    def json(self, scope: Scope) -> str:
        """Render to the text of a JSON document: values are escaped inside strings and serialised outside them.

        Raises:
            TemplateError: as `text`, and if what comes out is no JSON document.
        """
        text = _directly(self._json, scope)
        if text is None:
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
        if self._value is not None:
            try:
                return self._value(scope)
            except Exception:  # noqa: BLE001, S110 — told by Liquid
                pass
        return _guarded(self._evaluate, scope)

    def exposed(self, scope: Scope) -> list[str]:
        """The texts that its expressions give which read the vault; digests are none.

        Raises:
            TemplateError: as `text`.
        """
        found: list[str] = []
        _guarded(self._write, scope, TextBuffer(limits.OUTPUT), found)
        return found

    def _evaluate(self, scope: Scope) -> Any:
        allowance.look()
        context = Context(self._bound, scope)
        return limited_value(self._expression.evaluate(context)) if self._expression is not None else None

    def _write(self, scope: Scope, buffer: TextBuffer, exposed: list[str] | None = None) -> str:
        allowance.look()
        context = Context(self._bound, scope, exposed)
        for node in self._bound.nodes:
            node.render(context, buffer)
        return buffer.getvalue()


def parse(source: str) -> Template:
    """The template of a text, parsed once and kept; a long one is parsed each time, or few of them would fill memory.

    Raises:
        TemplateSyntaxError: if it is no template.
    """
    return _kept(source) if len(source) <= _KEPT else _parsed(source)


@lru_cache(maxsize=4096)
def _kept(source: str) -> Template:
    return _parsed(source)


def _parsed(source: str) -> Template:
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


def _directly(pieces: Pieces | None, scope: Scope) -> str | None:
    """The text of a plain template; None if there is none, so that Liquid has to render it, or to say why it fails."""
    if pieces is None:
        return None
    try:
        return joined(pieces, scope)
    except Exception:  # noqa: BLE001 — filters fail in their own ways on values of any type
        return None


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
    except ArithmeticError as error:  # decimal's says so by the names of its classes
        raise TemplateError("a number is out of range, or is none") from error
    except Exception as error:  # a filter of the library fails in its own ways on values of any type
        raise TemplateError(f"{type(error).__name__}: {error}") from error
