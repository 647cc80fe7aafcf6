"""``/openapi.json``, ``/docs`` and ``/errors/{code}``: what the service says about itself."""

from collections.abc import Sequence
from functools import cached_property
from typing import Any, Final

import msgspec
from aiohttp import web

from api.access import PUBLIC
from api.call import Call
from api.openapi import document
from api.pages import docs_page, error_page
from api.routing import Route, Routes
from shared.errors import NotFoundError
from shared.graph.suggest import shown

ROUTES: Final = Routes()


class Served:
    """What an application serves, and how it is described; that is made when it is first asked for."""

    def __init__(self, routes: Sequence[Route], public_url: str) -> None:
        self.routes = routes
        self._public_url = public_url

    @cached_property
    def document(self) -> dict[str, Any]:
        """In OpenAPI."""
        return document(self.routes, self._public_url)


#: Where the application keeps it: the list of the routes holds these too, so they can't import it.
SERVED: Final = web.AppKey("served", Served)


@ROUTES.route("GET", "/openapi.json", access=PUBLIC, summary="The API in OpenAPI 3.1", answers={200: dict[str, Any]})
async def openapi(call: Call) -> web.Response:
    """Made of the declarations of the routes."""
    body = msgspec.json.encode(call.request.app[SERVED].document)
    return web.Response(body=body, content_type="application/json")


@ROUTES.route("GET", "/docs", access=PUBLIC, summary="The API as a page to read", answers={200: str})
async def docs(call: Call) -> web.Response:
    """The same, for people."""
    served = call.request.app[SERVED]
    return _html(docs_page(served.routes, served.document))


@ROUTES.route("GET", "/errors/{code}", access=PUBLIC, summary="What an error code means", answers={200: str})
async def explain_error(call: Call) -> web.Response:
    """Where ``doc_url`` leads."""
    code = call.request.match_info["code"]
    page = error_page(code)
    if page is None:
        raise NotFoundError("not_found", f"This service gives no error {shown(code)}.")
    return _html(page)


def _html(page: str) -> web.Response:
    return web.Response(text=page, content_type="text/html")
