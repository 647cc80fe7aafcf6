"""How templates in a field of ``data`` are rendered, said by the field's annotation.

``url: Text[str]`` is rendered to text, ``name: Plain[str]`` holds no templates, ``body: Json[Any]`` is the text of a
JSON document; a field without such a mark is rendered by value. See `shared.templates.fields.Rendering`.

``password: Text[Secret[str]]``: templates in it may read the vault, which they may in no other field.
"""

from typing import Annotated, Any, TypeVar, get_args, get_origin

from msgspec import Meta

from shared.templates.fields import Rendering

T = TypeVar("T")

Text = Annotated[T, Meta(extra={"rendering": Rendering.TEXT})]
Json = Annotated[T, Meta(extra={"rendering": Rendering.JSON})]
Plain = Annotated[T, Meta(extra={"rendering": Rendering.NONE})]
#: A field that may hold a secret: nothing that the node gives out shows what it was called with here.
Secret = Annotated[T, Meta(extra={"secret": True})]


def is_secret(annotation: Any) -> bool:
    """Whether templates in a field with this annotation may read the vault."""
    marked: bool = _mark(annotation, "secret", default=False)
    return marked


def rendering_of(annotation: Any) -> Rendering:
    """How a field with this annotation is rendered."""
    rendering: Rendering = _mark(annotation, "rendering", Rendering.VALUE)
    return rendering


def fallbacks_of(annotation: Any) -> str:
    """The name of the field that stands in for undefined names in a field with this annotation; empty if none does."""
    name: str = _mark(annotation, "fallbacks", "")
    return name


def _mark(annotation: Any, key: str, default: Any) -> Any:
    metas = get_args(annotation)[1:] if get_origin(annotation) is Annotated else ()
    marks = [meta.extra[key] for meta in metas if isinstance(meta, Meta) and meta.extra and key in meta.extra]
    return marks[-1] if marks else default
