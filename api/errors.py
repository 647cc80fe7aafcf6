"""Errors as the contract has them: ``{"type", "code", "message", "doc_url"}``, and ``errors`` for validation."""

from typing import Any, Final

import msgspec
from aiohttp import hdrs, web
from aiohttp.typedefs import Handler

from api.call import REQUEST_ID, REQUEST_ID_HEADER, request_id_of
from shared import jsontext
from shared.errors import (
    AuthenticationError,
    BadRequestError,
    EdgewiseError,
    Fault,
    NotFoundError,
    RequestTimeoutError,
    TooLargeError,
)
from shared.log import get

_log = get(__name__)
#: The header ``Server``: the name alone, since versions help those who look for holes.
SERVER: Final = "edgewise"
#: What a body too large to be kept is answered with when aiohttp finds out first.
_TOO_LARGE: Final = 413


class MethodNotAllowedError(EdgewiseError):
    """The path is served, and not with this method."""

    type = "invalid_request_error"
    status = 405


class ErrorBody(msgspec.Struct, frozen=True, omit_defaults=True):
    """The body of every error.

    Attributes:
        doc_url: a page of this service that explains the code.
        errors: every fault of the request, when there are several to tell.
        run_id: the run that the request started all the same.
    """

    type: str
    code: str
    message: str
    doc_url: str
    errors: tuple[Fault, ...] = ()
    run_id: str = ""


def answer(error: EdgewiseError, public_url: str) -> web.Response:
    """The response of an error."""
    body: dict[str, Any] = {
        "type": error.type,
        "code": error.code,
        "message": error.message,
        "doc_url": f"{public_url}/errors/{error.code}",
    }
    if error.faults:
        body["errors"] = [{"path": f.path, "code": f.code, "message": f.message} for f in error.faults]
    if error.run_id is not None:
        body["run_id"] = error.run_id
    response = web.Response(
        status=error.status, body=jsontext.encode(body).encode(), headers={"Content-Type": "application/json"}
    )
    if error.retry_after is not None:
        response.headers["Retry-After"] = str(error.retry_after)
    if isinstance(error, AuthenticationError):
        response.headers["WWW-Authenticate"] = error.challenge
    if isinstance(error, RequestTimeoutError):
        response.force_close()
    return response


def in_envelope(handle: Handler, public_url: str) -> Handler:
    """The handler of every request: gives it an id, and turns whatever is raised into an error of the contract.

    It stands around the application and is no middleware, since aiohttp answers some requests before any middleware.
    """

    async def enveloped(request: web.Request) -> web.StreamResponse:
        request_id = request[REQUEST_ID] = request_id_of(request)
        try:
            response = await handle(request)
        except EdgewiseError as error:
            response = _expected(error, request, public_url)
        except web.HTTPException as error:
            response = _of_http(error, request, public_url)
        except Exception:  # noqa: BLE001 — whatever it is, the caller gets an answer and the log the reason
            _log.exception("request failed", request_id=request_id, method=request.method, path=_route_of(request))
            response = answer(internal(request_id), public_url)
        response.headers[REQUEST_ID_HEADER] = request_id
        response.headers[hdrs.SERVER] = SERVER
        return response

    return enveloped


def _expected(error: EdgewiseError, request: web.Request, public_url: str) -> web.Response:
    if error.status >= 500 and error.run_id is None:  # what a run answers is no fault of the service
        _log.error(
            "request could not be served",
            request_id=request[REQUEST_ID],
            method=request.method,
            path=_route_of(request),
            code=error.code,
            cause=repr(error.__cause__),
        )
    if error.status == 500:
        return answer(internal(request[REQUEST_ID]), public_url)
    return answer(error, public_url)


def internal(request_id: str) -> EdgewiseError:
    """What callers are told of a fault of the service."""
    return EdgewiseError(
        "internal_error", f"Something broke in the service. Its log tells more under the request id {request_id}."
    )


def _of_http(error: web.HTTPException, request: web.Request, public_url: str) -> web.StreamResponse:
    """The contract's form of what aiohttp itself answers."""
    if isinstance(error, web.HTTPMethodNotAllowed):
        allowed = ", ".join(sorted(error.allowed_methods))
        response = answer(
            MethodNotAllowedError(
                "method_not_allowed", f"{request.method} is not served on this path; these are: {allowed}."
            ),
            public_url,
        )
        response.headers["Allow"] = allowed
        return response
    if isinstance(error, web.HTTPNotFound):
        return answer(NotFoundError("route_not_found", "There is nothing at this path."), public_url)
    if error.status == _TOO_LARGE:
        return answer(TooLargeError("body_too_large", "The body is over the limit of this route."), public_url)
    return answer(BadRequestError("bad_request", "The request could not be read."), public_url)


def _route_of(request: web.Request) -> str:
    """The path's pattern: a real path may hold a webhook token."""
    resource = request.match_info.route.resource
    return resource.canonical if resource is not None else "unknown"
