"""One request under way: what a handler is given."""

import re
import secrets
from contextlib import AbstractAsyncContextManager
from itertools import count
from typing import Final, NamedTuple, TypeVar
from uuid import UUID

from aiohttp import web

from api.access import Principal
from api.database import reading, snapshot, writing
from api.services import Services
from shared.db import Connection
from shared.errors import NotFoundError
from shared.ids import Prefix, decode

REQUEST_ID_HEADER: Final = "X-Request-Id"
#: Where the middleware keeps the id of a request.
REQUEST_ID: Final = web.RequestKey("request_id", str)

_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._:/+=@-]{1,128}")
_TRACEPARENT: Final = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
_process: Final = secrets.token_hex(11)
_numbers: Final = count(1)
_Thing = TypeVar("_Thing")


class Call(NamedTuple):
    """A request, who makes it, and what is there to serve it.

    Attributes:
        caller: None on public routes.
    """

    request: web.Request
    services: Services
    caller: Principal | None

    @property
    def principal(self) -> Principal:
        """Who is calling a route that asks for a scope."""
        if self.caller is None:
            raise LookupError("a public route has no principal")
        return self.caller

    @property
    def workspace_id(self) -> UUID:
        """The caller's workspace."""
        return self.principal.workspace_id

    @property
    def request_id(self) -> str:
        """The id that follows the request and the run."""
        return self.request[REQUEST_ID]

    @property
    def traceparent(self) -> str | None:
        """The caller's W3C trace context, if it sent one that is valid."""
        text = self.request.headers.get("traceparent")
        return text if text is not None and _TRACEPARENT.fullmatch(text) else None

    def reading(self) -> AbstractAsyncContextManager[Connection]:
        """A connection without a transaction; see `api.database.reading`."""
        return reading(self.services.pool)

    def snapshot(self) -> AbstractAsyncContextManager[Connection]:
        """A connection whose statements all see the same moment; see `api.database.snapshot`."""
        return snapshot(self.services.pool)

    def writing(self) -> AbstractAsyncContextManager[Connection]:
        """A connection in a transaction; see `api.database.writing`."""
        return writing(self.services.pool)

    def path_id(self, prefix: Prefix) -> UUID:
        """The UUID of the TypeID in the path.

        Raises:
            NotFoundError: if it is not such an id.
        """
        return decode(prefix, self.request.match_info["id"])


def request_id_of(request: web.Request) -> str:
    """The caller's own ``X-Request-Id`` if it is fit to be logged and stored, else a fresh one."""
    text = request.headers.get(REQUEST_ID_HEADER)
    if text is not None and _REQUEST_ID.fullmatch(text):
        return text
    return fresh_request_id()


def fresh_request_id() -> str:
    """An id for a request that brought none: the process's random part, and a number."""
    return f"req_{_process}{next(_numbers):010x}"


def found(thing: _Thing | None, kind: str, call: Call) -> _Thing:
    """The thing the path names.

    Raises:
        NotFoundError: if it is None.
    """
    if thing is None:
        name = call.request.match_info["id"]
        raise NotFoundError("not_found", f"There is no {kind} {name[:80]!r} in this workspace.")
    return thing
