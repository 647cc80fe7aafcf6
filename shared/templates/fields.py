"""Rendering a field of a node's ``data``: a whole value, with templates in some of its strings."""

from collections.abc import Callable, Iterator
from enum import StrEnum
from typing import Any, Final

from shared.errors import StepFailedError
from shared.templates import limits
from shared.templates.direct import Scope
from shared.templates.errors import TemplateError, TemplateSyntaxError, UndefinedNameError
from shared.templates.template import is_template, parse

Render = Callable[[Scope], Any]
#: What is said of a template that reads the vault: reasons quote values, and what filters made of them.
_UNTOLD: Final = "the template could not be rendered; why is left out, since it reads the vault"


class Rendering(StrEnum):
    """How the templates of a field are rendered.

    ``value``: a string that is exactly one ``{{ expression }}`` keeps the value's type, any other becomes text; through
    objects and lists. ``text``: always text, likewise. ``json``: a string is the text of a JSON document that no value
    can break; an object or a list as ``value``. ``none``: nothing in it is a template.
    """

    VALUE = "value"
    TEXT = "text"
    JSON = "json"
    NONE = "none"


def templates_in(value: Any, path: str, rendering: Rendering, depth: int = 0) -> Iterator[tuple[str, str]]:
    """Every (path, source) of a template in a field's value.

    Raises:
        TemplateSyntaxError: if it nests deeper than a node's data may.
    """
    if depth > limits.DEPTH:
        raise TemplateSyntaxError(f"objects and lists nest at most {limits.DEPTH} deep")
    if rendering is Rendering.NONE:
        return
    if isinstance(value, str):
        if is_template(value):
            yield path, value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from templates_in(item, f"{path}.{key}", rendering, depth + 1)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from templates_in(item, f"{path}[{index}]", rendering, depth + 1)


def renderer(value: Any, path: str, rendering: Rendering, fallbacks: Any = None) -> Render | None:
    """A function that renders a field's value in a scope; None if there is no template in it.

    The function raises `StepFailedError` ``template_error``, naming the path of the string that failed.

    Args:
        value: as the author wrote it.
        path: where it stands, for errors.
        rendering: how its templates are rendered.
        fallbacks: what stands in for undefined names, in the shape of ``value``: a string that has its like there
            becomes None instead of failing.

    Raises:
        TemplateSyntaxError: if a string is no template.
    """
    if next(templates_in(value, path, rendering), None) is None:
        return None
    if isinstance(value, str):
        strict = _string_renderer(value, path, rendering)
        return strict if fallbacks is None else _or_none(strict)
    inner = Rendering.TEXT if rendering is Rendering.TEXT else Rendering.VALUE
    if isinstance(value, dict):
        return _object_renderer(value, path, inner, fallbacks if isinstance(fallbacks, dict) else {})
    return _list_renderer(value, path, inner)


def _string_renderer(source: str, path: str, rendering: Rendering) -> Render:
    template = parse(source)
    ways = {Rendering.VALUE: template.value, Rendering.TEXT: template.text, Rendering.JSON: template.json}
    render = ways[rendering]

    def render_string(scope: Scope) -> Any:
        try:
            return render(scope)
        except TemplateError as error:
            told = _UNTOLD if template.vault.names and not isinstance(error, UndefinedNameError) else error
            raise StepFailedError("template_error", f"{path}: {told}.") from error

    return render_string


def _or_none(render: Render) -> Render:
    def render_or_none(scope: Scope) -> Any:
        try:
            return render(scope)
        except StepFailedError as error:
            if isinstance(error.__cause__, UndefinedNameError):
                return None
            raise

    return render_or_none


def _object_renderer(value: dict[str, Any], path: str, rendering: Rendering, fallbacks: dict[str, Any]) -> Render:
    parts = [(key, renderer(item, f"{path}.{key}", rendering, fallbacks.get(key))) for key, item in value.items()]
    changing = [(key, render) for key, render in parts if render is not None]
    return lambda scope: {**value, **{key: render(scope) for key, render in changing}}


def _list_renderer(value: list[Any], path: str, rendering: Rendering) -> Render:
    parts = [(index, renderer(item, f"{path}[{index}]", rendering)) for index, item in enumerate(value)]
    changing = [(index, render) for index, render in parts if render is not None]

    def render_list(scope: Scope) -> list[Any]:
        rendered = list(value)
        for index, render in changing:
            rendered[index] = render(scope)
        return rendered

    return render_list
