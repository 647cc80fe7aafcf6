"""``webhook``: an HTTP request to somewhere else."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

import msgspec

from shared.egress.fields import check_headers
from shared.errors import StepFailedError
from shared.nodes.base import Kind, Mode, NodeType, Outcome, StepContext
from shared.nodes.fields import Json, Plain, Secret, Text
from shared.nodes.http_faults import header_faults, url_faults
from shared.nodes.http_request import Request, headers_of, json_body_fault, request_of
from shared.nodes.http_response import failure, output_of, succeeded
from shared.nodes.paged_request import Pages, Terms
from shared.nodes.pagination import Pagination
from shared.nodes.pagination import faults as page_faults
from shared.templates import is_template
from shared.templates.fields import Rendering

Scalar = str | int | float | bool | None


class Pair(msgspec.Struct, forbid_unknown_fields=True):
    """One header or query parameter."""

    key: str
    value: Scalar


Pairs = list[Pair] | dict[str, Scalar]
StatusCode = Annotated[int, msgspec.Meta(ge=100, le=599)]


class Data(msgspec.Struct, forbid_unknown_fields=True):
    """Configuration.

    Attributes:
        url: http or https.
        headers: a list of ``{key, value}`` or an object.
        query: added to the URL's own, likewise; a list in an object repeats the name.
        body: for ``json`` the text of a document, in which no value can break out of its place, or any JSON value; for
            ``form`` text or an object; for ``text`` text.
        verify_tls: whether the other side must have a certificate that is trusted.
        follow_redirects: other origins see harmless headers alone; a redirect with a body there fails the step.
        success: statuses that count as success instead of 200-299.
        response: how the answer's body is read; ``auto`` goes by its content type.
        pagination: reads a list that comes in pages to its end, in this one step; ``body`` is then the items of all
            pages, and the output has ``pages`` and ``more`` besides.
    """

    method: Plain[Literal["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"]]
    url: Text[Secret[str]]
    headers: Text[Secret[Pairs]] = []
    query: Text[Secret[list[Pair] | dict[str, Scalar | list[Scalar]]]] = []
    body: Json[Secret[Any]] = None
    body_type: Plain[Literal["json", "form", "text"]] = "json"
    verify_tls: bool = True
    follow_redirects: bool = True
    success: list[StatusCode] | None = None
    response: Plain[Literal["auto", "json", "text", "binary"]] = "auto"
    pagination: Pagination | None = None


class Webhook(NodeType[Data]):
    """Sends a request; output ``{status, headers, body, duration_ms}``. A status that is no success fails the step."""

    component_id = "webhook"
    title = "HTTP request"
    kind = Kind.ACTION
    mode = Mode.EFFECT
    data_type = Data
    example: ClassVar[Mapping[str, Any]] = {
        "method": "POST",
        "url": "https://example.com/api/welcome",
        "headers": [{"key": "X-Source", "value": "edgewise"}],
        "body": '{"message": "Welcome!", "run_id": "{{ n1.run_id }}"}',
    }
    example_context: ClassVar[Mapping[str, Any]] = {"n1": {"run_id": "fl_run_01h3j4k5l6m7n8p9q0r1s2t3u4"}}

    def renderings(self, data: Mapping[str, Any]) -> Mapping[str, Rendering]:
        """A body that is no JSON is text; how pages are read is settled when the workflow is saved."""
        body = {} if data.get("body_type", "json") == "json" else {"body": Rendering.TEXT}
        return {**body, "pagination": Rendering.NONE}

    def check(self, data: Mapping[str, Any]) -> list[tuple[str, str]]:
        """See `NodeType.check`."""
        return [
            *url_faults(data["url"]),
            *header_faults(data.get("headers", [])),
            *body_faults(data),
            *page_faults(data),
        ]

    async def call(self, data: Data, context: StepContext) -> Outcome:
        """Send the request and read the answer.

        Raises:
            StepFailedError: what `Egress.request` raises, ``webhook_failed`` with the status and the first 2 KB of the
                body, or ``invalid_response`` if the body is not what ``response`` says; see also `Pages.read`.
        """
        request = request_of(data, context.idempotency_key)
        if data.pagination is not None:
            return await _paged(request, data, data.pagination, context)
        try:
            return await _sent(request, data, context)
        except StepFailedError as error:
            error.step_input = request.logged()
            raise


async def _paged(request: Request, data: Data, pagination: Pagination, context: StepContext) -> Outcome:
    own_key = any(name.lower() == "idempotency-key" for _, name, _ in headers_of(data.headers))
    terms = Terms(pagination, own_key, data.success, data.follow_redirects, data.verify_tls)
    return await Pages(request, terms, context).read()


async def _sent(request: Request, data: Data, context: StepContext) -> Outcome:
    check_headers(request.headers)
    response = await context.egress.request(
        request.method,
        request.url,
        headers=request.headers,
        body=request.body,
        timeout=context.timeout,
        follow_redirects=data.follow_redirects,
        verify_tls=data.verify_tls,
    )
    if not succeeded(response.status, data.success):
        raise failure(response, context.now)
    return Outcome(output_of(response, data.response), step_input=request.logged())


def body_faults(data: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The faults of ``body`` beside its ``body_type``, in the form of `NodeType.check`."""
    body, body_type = data.get("body"), data.get("body_type", "json")
    if isinstance(body, str) and body and body_type == "json" and not is_template(body):
        fault = json_body_fault(body)
        return [("body", fault)] if fault else []
    if body_type == "text" and not isinstance(body, (str, type(None))):
        return [("body", 'With the body_type "text" the body is text.')]
    if body_type == "form" and not isinstance(body, (str, dict, type(None))):
        return [("body", 'With the body_type "form" the body is an object or text.')]
    return []
