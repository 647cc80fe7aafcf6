"""Route declarations: what a route is, who may call it, and what it reads and answers.

A route that does not say who may call it cannot be declared, so nothing is served by oversight.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeAlias

import msgspec
from aiohttp import web

from api.access import PUBLIC, Access, Scope
from api.call import Call

Handler: TypeAlias = Callable[[Call], Awaitable[web.StreamResponse]]


class Route(msgspec.Struct, frozen=True):
    """One route.

    Attributes:
        access: the scope it asks for, or ``PUBLIC``.
        handler: decodes, calls one function, encodes.
        summary: one line for the documentation.
        body: the Struct of the request's body, None if it has none that is described.
        query: the Struct of the query parameters.
        answers: the type of the body by status; None for no body, `str` for a page of text.
        idempotent: whether it takes ``Idempotency-Key``.
        api_key: whether an API key is let in as well, which otherwise is refused whatever the scope is.
    """

    method: str
    path: str
    access: Access
    handler: Handler
    summary: str
    body: Any = None
    query: Any = None
    answers: Mapping[int, Any] = {}
    idempotent: bool = False
    api_key: bool = False


class Routes:
    """The routes of one noun, in the order of their declaration."""

    def __init__(self) -> None:
        self.declared: list[Route] = []

    def route(
        self,
        method: str,
        path: str,
        *,
        access: Access,
        summary: str,
        body: Any = None,
        query: Any = None,
        answers: Mapping[int, Any],
        idempotent: bool = False,
        api_key: bool = False,
    ) -> Callable[[Handler], Handler]:
        """Declare a handler's route.

        Raises:
            TypeError: if ``access`` is neither a scope nor ``PUBLIC``, or API keys are let in that lack the scope.
        """
        if not isinstance(access, Scope) and access != PUBLIC:
            raise TypeError(f"{method} {path} must declare its access: a Scope or PUBLIC, not {access!r}.")
        if api_key and access != Scope.WORKFLOWS_EXECUTE:
            raise TypeError(f"{method} {path} lets API keys in, which have {Scope.WORKFLOWS_EXECUTE}, not {access}.")

        def declare(handler: Handler) -> Handler:
            self.declared.append(
                Route(
                    method,
                    path,
                    access,
                    handler,
                    summary,
                    body,
                    query,
                    answers,
                    idempotent=idempotent,
                    api_key=api_key,
                )
            )
            return handler

        return declare
