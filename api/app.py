"""The application: every declared route behind its access check."""

from collections.abc import Awaitable, Callable
from typing import Final

from aiohttp import hdrs, web

from api.access import Scope
from api.call import Call
from api.routes import documentation, runs, webhooks, workflows
from api.routing import Route
from api.services import Services
from shared.probes import Check, add_probe_routes

#: Every route of the service but its probes.
ROUTES: Final[tuple[Route, ...]] = (
    *webhooks.ROUTES.declared,
    *workflows.ROUTES.declared,
    *runs.ROUTES.declared,
    *documentation.ROUTES.declared,
)

_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def make_app(services: Services, checks: dict[str, Check], reported: dict[str, Check]) -> web.Application:
    """The application.

    Args:
        services: what handlers work with.
        checks: what must be well for ``/readyz`` to say ready.
        reported: what ``/readyz`` tells about and is ready without.
    """
    app = web.Application()
    add_probe_routes(app, checks, reported)
    for route in ROUTES:
        _add(app, route, _admitted(route, services))
    return app


def _add(app: web.Application, route: Route, handler: _Handler) -> None:
    app.router.add_route(route.method, route.path, handler)
    if route.method == hdrs.METH_GET:
        app.router.add_route(hdrs.METH_HEAD, route.path, handler)


def _admitted(route: Route, services: Services) -> _Handler:
    """The handler, called only by who may."""
    work, access = route.handler, route.access
    if not isinstance(access, Scope):

        async def public(request: web.Request) -> web.StreamResponse:
            return await work(Call(request, services, None))

        return public

    needed = access

    async def guarded(request: web.Request) -> web.StreamResponse:
        principal = await services.gatekeeper.admit(request.headers.get(hdrs.AUTHORIZATION), needed)
        return await work(Call(request, services, principal))

    return guarded
