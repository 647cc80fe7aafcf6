"""Readable pages, whole in themselves: no script, no font, nothing from elsewhere."""

from collections.abc import Iterable, Mapping
from html import escape
from typing import Any, Final

from api.access import PUBLIC
from api.codes import ERRORS, FAULTS
from api.routing import Route

_STYLE: Final = """
:root { color-scheme: light dark; font: 16px/1.6 system-ui, sans-serif; }
body { max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
code, pre { font: 0.9em/1.5 ui-monospace, monospace; background: #8882; border-radius: 4px; padding: 0.1em 0.3em; }
h2 { margin-top: 2.5rem; border-top: 1px solid #8884; padding-top: 1rem; font-size: 1.1rem; }
table { border-collapse: collapse; } td, th { text-align: left; padding: 0.2rem 1rem 0.2rem 0; vertical-align: top; }
"""


def error_page(code: str) -> str | None:
    """The page of a code, None if the service never gives it."""
    texts = [text for table in (ERRORS, FAULTS) if (text := table.get(code)) is not None]
    if not texts:
        return None
    return _page(code, f"<h1><code>{escape(code)}</code></h1>" + "".join(f"<p>{escape(text)}</p>" for text in texts))


def docs_page(routes: Iterable[Route], document: Mapping[str, Any]) -> str:
    """One page with every route, its fields, and every code."""
    shown = "".join(_route(route, document) for route in routes)
    codes = "".join(f"<tr><td>{_code_link(code)}</td><td>{escape(text)}</td></tr>" for code, text in ERRORS.items())
    head = (
        "<h1>Edgewise API</h1><p>The same as <a href='/openapi.json'>OpenAPI 3.1</a>. Every answer carries "
        "<code>X-Request-Id</code>; errors are <code>{type, code, message, doc_url}</code>.</p>"
    )
    return _page("Edgewise API", f"{head}{shown}<h2>Error codes</h2><table>{codes}</table>")


def _page(title: str, body: str) -> str:
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style><body>{body}</body></html>'
    )


def _code_link(code: str) -> str:
    return f'<a href="/errors/{escape(code)}"><code>{escape(code)}</code></a>'


def _route(route: Route, document: Mapping[str, Any]) -> str:
    access = "no token" if route.access == PUBLIC else f"scope <code>{escape(route.access)}</code>"
    key = "; takes <code>Idempotency-Key</code>" if route.idempotent else ""
    fields = _fields("Body", route.body, document) + _fields("Query", route.query, document)
    answers = ", ".join(str(status) for status in route.answers)
    return (
        f"<h2><code>{route.method} {escape(route.path)}</code></h2>"
        f"<p>{escape(route.summary)}. ({access}{key}; answers {answers})</p>{fields}"
    )


def _fields(title: str, struct: Any, document: Mapping[str, Any]) -> str:
    if struct is None:
        return ""
    if struct is Any:
        return f"<p>{title}: any JSON.</p>"
    schema = document["components"]["schemas"][struct.__name__]
    rows = "".join(
        f"<tr><td><code>{escape(name)}</code></td><td>{escape(_meaning(field))}</td></tr>"
        for name, field in schema.get("properties", {}).items()
    )
    return f"<table><tr><th>{title}</th><th></th></tr>{rows}</table>"


def _meaning(field: Mapping[str, Any]) -> str:
    return str(field.get("description", field.get("type", "")))
