"""``/openapi.json``, ``/docs`` and ``/errors/{code}``: what the service says about itself."""

from functools import lru_cache
from types import ModuleType
from typing import Any, Final

import msgspec
from aiohttp import web

from api.access import PUBLIC
from api.call import Call
from api.openapi import document
from api.pages import docs_page, error_page
from api.routes import (
    authorizations,
    callbacks,
    deliveries,
    nodes,
    run_actions,
    run_bulk,
    runs,
    schedules,
    sync,
    vault,
    webhook_tokens,
    webhooks,
    workflows,
)
from api.routing import Routes
from shared.errors import NotFoundError
from shared.graph.suggest import shown

ROUTES: Final = Routes()


@ROUTES.route("GET", "/openapi.json", access=PUBLIC, summary="The API in OpenAPI 3.1", answers={200: dict[str, Any]})
async def openapi(call: Call) -> web.Response:
    """Made of the declarations of the routes."""
    body = msgspec.json.encode(_document(call.services.config.public_url))
    return web.Response(body=body, content_type="application/json")


@ROUTES.route("GET", "/docs", access=PUBLIC, summary="The API as a page to read", answers={200: str})
async def docs(call: Call) -> web.Response:
    """The same, for people."""
    return _html(docs_page(_declared(), _document(call.services.config.public_url)))


@ROUTES.route("GET", "/errors/{code}", access=PUBLIC, summary="What an error code means", answers={200: str})
async def explain_error(call: Call) -> web.Response:
    """Where ``doc_url`` leads."""
    code = call.request.match_info["code"]
    page = error_page(code)
    if page is None:
        raise NotFoundError("not_found", f"This service gives no error {shown(code)}.")
    return _html(page)


def _declared() -> list[Any]:
    public = (webhooks, callbacks, sync)
    nouns = (
        workflows,
        schedules,
        nodes,
        runs,
        run_actions,
        run_bulk,
        webhook_tokens,
        deliveries,
        vault,
        authorizations,
    )
    modules: list[ModuleType] = [*nouns, *public]
    return [*(route for noun in modules for route in noun.ROUTES.declared), *ROUTES.declared]


@lru_cache(maxsize=4)
def _document(public_url: str) -> dict[str, Any]:
    return document(_declared(), public_url)


def _html(page: str) -> web.Response:
    return web.Response(text=page, content_type="text/html")
