"""``api_call``: a request to the API that the workflow's authorization is for, with its credentials put in."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import msgspec

from shared.egress.fields import check_headers
from shared.egress.interface import EgressResponse
from shared.egress.target import parse_url
from shared.errors import StepFailedError
from shared.nodes.api_endpoint import fault_of, url_below
from shared.nodes.base import Authorization, Grant, Kind, Mode, NodeType, Outcome, StepContext
from shared.nodes.fields import Json, Plain, Text
from shared.nodes.http_faults import header_faults
from shared.nodes.http_request import Request, request_of
from shared.nodes.http_response import failure, output_of, succeeded
from shared.nodes.webhook import Pair, Pairs, Scalar, StatusCode, body_faults
from shared.templates import is_template
from shared.templates.fields import Rendering


class Data(msgspec.Struct, forbid_unknown_fields=True):
    """Configuration.

    Attributes:
        endpoint: a path below the base URL of the workflow's authorization, with its query if it has one:
            ``/users?active=true``. Nothing in it leads out of that URL.
        headers: a list of ``{key, value}`` or an object; the authorization's own is put in besides.
        query: added to the endpoint's own, likewise; a list in an object repeats the name.
        body: for ``json`` the text of a document, in which no value can break out of its place, or any JSON value; for
            ``form`` text or an object; for ``text`` text.
        follow_redirects: other origins see no credentials; a redirect with a body there fails the step.
        success: statuses that count as success instead of 200-299.
        response: how the answer's body is read; ``auto`` goes by its content type.
    """

    method: Plain[Literal["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"]]
    endpoint: Text[str]
    headers: Text[Pairs] = []
    query: Text[list[Pair] | dict[str, Scalar | list[Scalar]]] = []
    body: Json[Any] = None
    body_type: Plain[Literal["json", "form", "text"]] = "json"
    follow_redirects: bool = True
    success: list[StatusCode] | None = None
    response: Plain[Literal["auto", "json", "text", "binary"]] = "auto"


class _Target(msgspec.Struct):
    """The node's data with the URL that its endpoint has at one base URL."""

    method: str
    url: str
    headers: Any
    query: Any
    body: Any
    body_type: str


class ApiCall(NodeType[Data]):
    """Calls the API of the workflow's authorization; output ``{status, headers, body, duration_ms}``.

    A 401 to a token that can be renewed is answered with a newer one, once. A status that is no success fails the step.
    """

    component_id = "api_call"
    aliases = ("altostrat_api",)
    title = "API call"
    kind = Kind.ACTION
    mode = Mode.EFFECT
    data_type = Data
    authorized = True
    example: ClassVar[Mapping[str, Any]] = {
        "method": "POST",
        "endpoint": "/sites/{{ n1.site_id }}/notes",
        "body": '{"text": "Checked by {{ n1.name }}."}',
    }
    example_context: ClassVar[Mapping[str, Any]] = {"n1": {"site_id": "st_7", "name": "Ada"}}

    def renderings(self, data: Mapping[str, Any]) -> Mapping[str, Rendering]:
        """A body that is no JSON is text."""
        return {} if data.get("body_type", "json") == "json" else {"body": Rendering.TEXT}

    def check(self, data: Mapping[str, Any]) -> list[tuple[str, str]]:
        """See `NodeType.check`."""
        return [*_endpoint_faults(data["endpoint"]), *header_faults(data.get("headers", [])), *body_faults(data)]

    async def call(self, data: Data, context: StepContext) -> Outcome:
        """Send the request, a second time if a newer token is wanted, and read the answer.

        Raises:
            StepFailedError: what `Authorization.grant` and `Egress.request` raise, ``authorization_missing``,
                ``invalid_endpoint``, ``api_call_failed`` with the status and the first 2 KB of the body, or
                ``invalid_response`` if the body is not what ``response`` says.
        """
        authorization = context.authorization
        if authorization is None:
            message = "The workflow has no authorization; give it an authorization_id."
            raise StepFailedError("authorization_missing", message)
        grant = await authorization.grant()
        request = _request(data, grant, context)
        try:
            response = await _answered(request, grant, authorization, data, context)
            if not succeeded(response.status, data.success):
                raise failure(response, context.now, code="api_call_failed", what="API call")
            return Outcome(output_of(response, data.response), step_input=request.logged())
        except StepFailedError as error:
            error.step_input = request.logged()
            raise


def _request(data: Data, grant: Grant, context: StepContext) -> Request:
    """The request but for the authorization's header."""
    url = url_below(grant.base_url, data.endpoint)
    target = _Target(data.method, url, data.headers, data.query, data.body, data.body_type)
    return request_of(target, context.idempotency_key)


async def _answered(
    request: Request, grant: Grant, authorization: Authorization, data: Data, context: StepContext
) -> EgressResponse:
    """The answer to the first grant that is not refused.

    A grant that was given in answer to a refusal and is refused as well is the last: asking for another one raises.
    """
    response = await _sent(request, grant, data, context)
    while grant.renewable and _is_refused(response, request):
        grant = await authorization.grant(grant)
        response = await _sent(request, grant, data, context)
    return response


def _is_refused(response: EgressResponse, request: Request) -> bool:
    """Whether the API refused what was presented; another origin, behind a redirect, was presented nothing."""
    return response.status == 401 and parse_url(response.url)[0] == parse_url(request.url)[0]


async def _sent(request: Request, grant: Grant, data: Data, context: StepContext) -> EgressResponse:
    own = grant.header[0].lower()
    if any(name.lower() == own for name, _ in request.headers):
        message = f"data.headers: {grant.header[0]} is set by the workflow's authorization; leave it out."
        raise StepFailedError("invalid_header", message)
    headers = [*request.headers, grant.header]
    check_headers(headers)
    return await context.egress.request(
        request.method,
        request.url,
        headers=headers,
        body=request.body,
        timeout=context.timeout,
        follow_redirects=data.follow_redirects,
    )


def _endpoint_faults(endpoint: str) -> list[tuple[str, str]]:
    fault = None if is_template(endpoint) else fault_of(endpoint)
    return [("endpoint", fault)] if fault else []
