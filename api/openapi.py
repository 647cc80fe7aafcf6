"""The OpenAPI 3.1 document, made of the route declarations and the Structs they name."""

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

from api.access import PUBLIC
from api.api_keys import API_KEY_HEADER
from api.errors import ErrorBody
from api.routing import Route

_REF: Final = "#/components/schemas/{name}"
_PARAMETER: Final = re.compile(r"\{(\w+)\}")


def document(routes: Iterable[Route], public_url: str) -> dict[str, Any]:
    """The document of these routes, served under ``public_url``."""
    declared = list(routes)
    types = [kind for route in declared for kind in _types(route)]
    schemas, components = msgspec.json.schema_components([*types, ErrorBody], ref_template=_REF)
    schema_of = {id(kind): schema for kind, schema in zip([*types, ErrorBody], schemas, strict=True)}
    paths: dict[str, dict[str, Any]] = {}
    for route in declared:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, schema_of, components)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Edgewise", "version": "1", "description": "Workflows that run durably."},
        "servers": [{"url": public_url}],
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT or API key"},
                "api_key": {"type": "apiKey", "in": "header", "name": API_KEY_HEADER},
            },
        },
    }


def _types(route: Route) -> list[Any]:
    described = [route.body, route.query, *route.answers.values()]
    return [kind for kind in described if kind is not None and kind is not str]


def _operation(route: Route, schema_of: Mapping[int, Any], components: Mapping[str, Any]) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": route.handler.__name__,
        "summary": route.summary,
        "security": _security(route),
        "parameters": [*_path_parameters(route), *_query_parameters(route, components), *_key_parameter(route)],
        "responses": {str(status): _response(kind, schema_of) for status, kind in route.answers.items()},
    }
    operation["responses"]["default"] = _response(ErrorBody, schema_of)
    if route.body is not None:
        content = {"application/json": {"schema": schema_of[id(route.body)]}}
        operation["requestBody"] = {"content": content}
    return operation


def _security(route: Route) -> list[dict[str, list[str]]]:
    if route.access == PUBLIC:
        return []
    scope = [str(route.access)]
    return [{"bearer": scope}, {"api_key": scope}] if route.api_key else [{"bearer": scope}]


def _response(kind: Any, schema_of: Mapping[int, Any]) -> dict[str, Any]:
    if kind is None:
        return {"description": "Nothing."}
    if kind is str:
        return {"description": "A page.", "content": {"text/html": {"schema": {"type": "string"}}}}
    about = "An error." if kind is ErrorBody else "The answer."
    return {"description": about, "content": {"application/json": {"schema": schema_of[id(kind)]}}}


def _path_parameters(route: Route) -> list[dict[str, Any]]:
    names = _PARAMETER.findall(route.path)
    return [{"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in names]


def _query_parameters(route: Route, components: Mapping[str, Any]) -> list[dict[str, Any]]:
    if route.query is None:
        return []
    properties = components[route.query.__name__]["properties"]
    return [{"name": name, "in": "query", "schema": schema} for name, schema in properties.items()]


def _key_parameter(route: Route) -> list[dict[str, Any]]:
    if not route.idempotent:
        return []
    rule = {"type": "string", "minLength": 1, "maxLength": 255}
    return [{"name": "Idempotency-Key", "in": "header", "schema": rule}]
