"""The application: every declared route behind its access check."""

from collections.abc import Awaitable, Callable, Iterable
from typing import Final, NoReturn

from aiohttp import hdrs, web

from api.access import Scope
from api.call import Call
from api.routes import (
    authorizations,
    callbacks,
    deliveries,
    documentation,
    events,
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
from api.routing import Route
from api.services import Services
from shared.probes import Check, add_probe_routes

#: Every route of the service but its probes.
ROUTES: Final[tuple[Route, ...]] = (
    *webhooks.ROUTES.declared,
    *deliveries.ROUTES.declared,
    *webhook_tokens.ROUTES.declared,
    *sync.ROUTES.declared,
    *events.ROUTES.declared,
    *callbacks.ROUTES.declared,
    *vault.ROUTES.declared,
    *nodes.ROUTES.declared,
    *schedules.ROUTES.declared,
    *authorizations.ROUTES.declared,
    *workflows.ROUTES.declared,
    *run_bulk.ROUTES.declared,
    *runs.ROUTES.declared,
    *run_actions.ROUTES.declared,
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
    app[documentation.SERVED] = documentation.Served(ROUTES, services.config.public_url)
    add_probe_routes(app, checks, reported)
    by_path: dict[str, list[Route]] = {}
    for route in ROUTES:
        by_path.setdefault(route.path, []).append(route)
    for path, routes in by_path.items():
        _add(app.router.add_resource(path), routes, services)
    return app


def _add(resource: web.Resource, routes: Iterable[Route], services: Services) -> None:
    """Serve a path. Its other methods are refused here: else a path like ``/{id}`` would take them."""
    served: set[str] = set()
    for route in routes:
        handler = _admitted(route, services)
        for method in _methods(route):
            resource.add_route(method, handler)
            served.add(method)
    resource.add_route(hdrs.METH_ANY, _refused(served))


def _methods(route: Route) -> tuple[str, ...]:
    return (route.method, hdrs.METH_HEAD) if route.method == hdrs.METH_GET else (route.method,)


def _refused(served: set[str]) -> _Handler:
    async def refuse(request: web.Request) -> NoReturn:
        raise web.HTTPMethodNotAllowed(request.method, served)

    return refuse


def _admitted(route: Route, services: Services) -> _Handler:
    """The handler, called only by who may."""
    work, access = route.handler, route.access
    if not isinstance(access, Scope):

        async def public(request: web.Request) -> web.StreamResponse:
            return await work(Call(request, services, None))

        return public

    needed, api_key = access, route.api_key

    async def guarded(request: web.Request) -> web.StreamResponse:
        principal = await services.gatekeeper.admit(request.headers, needed, api_key=api_key)
        return await work(Call(request, services, principal))

    return guarded
