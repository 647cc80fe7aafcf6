"""Every route says who may call it, and every code has a page."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from api.access import PUBLIC, Principal, Scope
from api.app import ROUTES
from api.codes import ERRORS, FAULTS
from api.openapi import document
from api.pages import docs_page, error_page
from api.routing import Route, Routes
from shared import errors
from shared.ids import Mint

_ROOT = Path(__file__).parents[2]
#: Where an error that is raised can reach a caller of the api.
_SOURCES = (
    "api",
    "shared/graph",
    "shared/nodes",
    "shared/schedule",
    "shared/ids.py",
    "shared/events.py",
    "shared/inputs.py",
    "shared/ingest.py",
)
_SERVED = {
    name
    for name, kind in vars(errors).items()
    if isinstance(kind, type) and issubclass(kind, errors.EdgewiseError) and kind is not errors.StepFailedError
} | {"MethodNotAllowedError"}
#: Raised only where no caller of the api is: by workers and by the process's start.
_ELSEWHERE = {"plan_format"}
#: All that an API key may be used for.
_OF_KEYS = {"/workflows/{id}/execute", "/workflows/sync/{id}", "/workflows/events/{name}"}


@pytest.mark.parametrize("access", [None, "", "workflows:everything", "PUBLIC"])
def test_a_route_without_access_cannot_be_declared(access: object) -> None:
    """Neither a missing nor an unknown access is taken: deny by default."""
    with pytest.raises(TypeError, match="must declare its access"):
        Routes().route("GET", "/x", access=access, summary="", answers={})  # type: ignore[arg-type]


def test_access_has_no_default() -> None:
    """Leaving the access out is an error of the call itself."""
    with pytest.raises(TypeError):
        Routes().route("GET", "/x", summary="", answers={})  # type: ignore[call-arg]


def test_only_these_routes_are_public() -> None:
    """The public routes are the webhook, the links, the redirect URI and the documentation; one more is added here."""
    public = {route.path for route in ROUTES if route.access == PUBLIC}
    assert public == {
        "/workflows/webhooks/{token}",
        "/workflows/callbacks/{token}",
        "/workflows/authorization/callback",
        "/openapi.json",
        "/docs",
        "/errors/{code}",
    }


def test_api_keys_are_let_in_by_these_routes_only() -> None:
    """A route that says nothing lets none in, and one with another scope than keys have can't be declared to."""
    assert {route.path for route in ROUTES if route.api_key} == _OF_KEYS
    with pytest.raises(TypeError, match="lets API keys in"):
        Routes().route("GET", "/x", access=Scope.VAULT_READ, summary="", answers={}, api_key=True)
    with pytest.raises(TypeError, match="lets API keys in"):
        Routes().route("GET", "/x", access=PUBLIC, summary="", answers={}, api_key=True)


def test_admin_is_every_scope() -> None:
    """A principal with admin may do what any scope allows; one without scopes nothing."""
    workspace = Mint().uuid()
    admin = Principal("a", workspace, frozenset({"admin"}))
    nobody = Principal("n", workspace, frozenset())
    assert all(admin.may(scope) for scope in Scope)
    assert not any(nobody.may(scope) for scope in Scope)


def _files() -> Iterator[Path]:
    for source in _SOURCES:
        place = _ROOT / source
        yield from sorted(place.rglob("*.py")) if place.is_dir() else [place]


def _calls() -> Iterator[tuple[str, ast.Call]]:
    for file in _files():
        for found in ast.walk(ast.parse(file.read_text())):
            if isinstance(found, ast.Call):
                name = found.func.attr if isinstance(found.func, ast.Attribute) else getattr(found.func, "id", "")
                yield name, found


def _constants() -> set[object]:
    """Every text in the sources; some codes are chosen before they are given."""
    trees = (ast.parse(file.read_text()) for file in _files() if file.name != "codes.py")
    return {node.value for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Constant)}


def _literal(call: ast.Call, place: int) -> str | None:
    argument = call.args[place] if len(call.args) > place else None
    return argument.value if isinstance(argument, ast.Constant) and isinstance(argument.value, str) else None


def test_every_code_of_an_error_has_a_page() -> None:
    """Each code that an error is raised with is explained, and nothing is explained that is never given."""
    codes = {code for name, call in _calls() if name in _SERVED and (code := _literal(call, 0))}
    assert codes - _ELSEWHERE - {"invalid_graph", "invalid_schedule"} <= set(ERRORS)
    assert set(ERRORS) <= codes
    assert all(error_page(code) for code in codes - _ELSEWHERE - {"invalid_graph"})


def test_every_code_of_a_fault_has_a_page() -> None:
    """Each code that a fault is made with is explained, and nothing is explained that is never given."""
    codes = {code for name, call in _calls() if name in ("Fault", "_fault") and (code := _literal(call, 1))}
    assert codes <= set(FAULTS)
    assert set(FAULTS) <= _constants()
    assert all(error_page(code) for code in codes)


def test_pages_escape_what_they_show() -> None:
    """A code nobody gives has no page, whatever it holds."""
    assert error_page("<script>") is None
    assert "<script" not in docs_page(ROUTES, document(ROUTES, "http://x"))


def test_openapi_describes_every_route() -> None:
    """Each declared route is an operation with its scope and its answers; every reference leads somewhere."""
    made = document(ROUTES, "http://x")
    assert made["openapi"] == "3.1.0"
    for route in ROUTES:
        operation = made["paths"][route.path][route.method.lower()]
        assert operation["security"] == _security(route)
        assert {str(status) for status in route.answers} < set(operation["responses"])
    ids = [operation["operationId"] for path in made["paths"].values() for operation in path.values()]
    assert len(ids) == len(set(ids)) == len(ROUTES)
    assert set(_references(made)) <= {f"#/components/schemas/{name}" for name in made["components"]["schemas"]}


def test_openapi_tells_what_a_webhook_may_answer() -> None:
    """A run, a handshake or an author's response, and each error of docs/webhooks.md."""
    responses = document(ROUTES, "http://x")["paths"]["/workflows/webhooks/{token}"]["post"]["responses"]
    refused = {str(status) for status in (400, 401, 403, 404, 409, 413, 415, 429, 503)}
    assert set(responses) == {"200", "202", "default"} | refused
    assert all(responses[status] == responses["default"] for status in refused)


def _security(route: Route) -> list[dict[str, list[str]]]:
    """API keys may start workflows, and nothing else."""
    keys = ["bearer", "api_key"] if route.path in _OF_KEYS else ["bearer"]
    return [] if route.access == PUBLIC else [{key: [str(route.access)]} for key in keys]


def _references(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        for name, inner in value.items():
            if name == "$ref":
                yield inner
            else:
                yield from _references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _references(inner)
