"""``graphql_request``: a query or mutation sent to a GraphQL endpoint over HTTP."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Final

import msgspec

from shared import jsontext
from shared.egress.fields import check_headers
from shared.egress.interface import EgressResponse
from shared.errors import StepFailedError
from shared.nodes.base import Kind, Mode, NodeType, Outcome, StepContext
from shared.nodes.fields import Plain, Secret, Text
from shared.nodes.http_faults import header_faults, url_faults
from shared.nodes.http_request import Request, headers_of
from shared.nodes.http_response import SHOWN, failure, succeeded
from shared.nodes.webhook import Pairs

#: Characters of a document.
_MAX_QUERY: Final = 100_000
_DEFAULTS: Final = {
    "content-type": ("Content-Type", "application/json"),
    "accept": ("Accept", "application/graphql-response+json, application/json;q=0.9"),
}


class Data(msgspec.Struct, forbid_unknown_fields=True):
    """Configuration.

    Attributes:
        url: of the endpoint; http or https.
        query: the GraphQL document. It takes no template: values go into ``variables``, where none can change it.
        variables: by name; a value that is exactly one ``{{ expression }}`` keeps its type.
        operation_name: which operation of the document is meant, if it has several.
        headers: a list of ``{key, value}`` or an object.
        allow_errors: whether an answer that has ``errors`` still counts as success.
        verify_tls: whether the other side must have a certificate that is trusted.
    """

    url: Text[str]
    query: Plain[Annotated[str, msgspec.Meta(min_length=1, max_length=_MAX_QUERY)]]
    variables: dict[str, Any] = {}
    operation_name: Text[str | None] = None
    headers: Text[Secret[Pairs]] = []
    allow_errors: bool = False
    verify_tls: bool = True


class GraphqlRequest(NodeType[Data]):
    """Sends a GraphQL operation; output ``{status, data, errors, extensions, duration_ms}``. Errors fail the step."""

    component_id = "graphql_request"
    title = "GraphQL request"
    kind = Kind.ACTION
    mode = Mode.EFFECT
    data_type = Data
    example: ClassVar[Mapping[str, Any]] = {
        "url": "https://example.com/graphql",
        "query": "query Site($id: ID!) { site(id: $id) { name status } }",
        "variables": {"id": "{{ n1.site_id }}"},
    }
    example_context: ClassVar[Mapping[str, Any]] = {"n1": {"site_id": "st_7"}}

    def check(self, data: Mapping[str, Any]) -> list[tuple[str, str]]:
        """See `NodeType.check`."""
        return [*url_faults(data["url"]), *header_faults(data.get("headers", []))]

    async def call(self, data: Data, context: StepContext) -> Outcome:
        """Send the operation and read the answer.

        Raises:
            StepFailedError: what `Egress.request` raises; ``graphql_failed`` with the first error's message or the
                status; ``invalid_response`` for what is no GraphQL answer.
        """
        request = _request(data, context.idempotency_key)
        try:
            response = await _sent(request, data, context)
            return Outcome(_output(response, context, allow_errors=data.allow_errors), step_input=request.logged())
        except StepFailedError as error:
            error.step_input = request.logged()
            raise


def _request(data: Data, idempotency_key: str) -> Request:
    headers = [(name, value) for _, name, value in headers_of(data.headers)]
    given = {name.lower() for name, _ in headers}
    defaults = {**_DEFAULTS, "idempotency-key": ("Idempotency-Key", idempotency_key)}
    headers.extend(field for name, field in defaults.items() if name not in given)
    operation: dict[str, Any] = {"query": data.query, "variables": data.variables}
    if data.operation_name:
        operation["operationName"] = data.operation_name
    return Request("POST", data.url, headers, jsontext.to_bytes(jsontext.encode(operation)))


async def _sent(request: Request, data: Data, context: StepContext) -> EgressResponse:
    check_headers(request.headers)
    return await context.egress.request(
        request.method,
        request.url,
        headers=request.headers,
        body=request.body,
        timeout=context.timeout,
        verify_tls=data.verify_tls,
    )


def _output(response: EgressResponse, context: StepContext, *, allow_errors: bool) -> dict[str, Any]:
    if not succeeded(response.status, None):
        raise failure(response, context.now, code="graphql_failed", what="GraphQL request")
    answer = _answer(response)
    errors = answer.get("errors") or []
    if errors and not allow_errors:
        raise _failed(response, errors)
    return {
        "status": response.status,
        "data": answer.get("data"),
        "errors": errors,
        "extensions": answer.get("extensions"),
        "duration_ms": response.duration_ms,
    }


def _answer(response: EgressResponse) -> dict[str, Any]:
    """The answer as the GraphQL specification (October 2021, 7.1) has it."""
    try:
        answer = jsontext.decode(response.body)
    except (ValueError, RecursionError) as error:
        raise _invalid(response, f"it is no JSON document ({error})") from error
    if not isinstance(answer, dict) or not {"data", "errors"} & answer.keys():
        raise _invalid(response, "it has neither data nor errors")
    if not isinstance(answer.get("errors") or [], list):
        raise _invalid(response, "its errors are no list")
    return answer


def _failed(response: EgressResponse, errors: list[Any]) -> StepFailedError:
    first = errors[0].get("message") if isinstance(errors[0], dict) else None
    message = first if isinstance(first, str) else "an error without a message"
    return StepFailedError(
        "graphql_failed",
        f"GraphQL request failed: {message[:500]}",
        http_status=response.status,
        body=response.body[:SHOWN].decode("utf-8", "replace"),
    )


def _invalid(response: EgressResponse, why: str) -> StepFailedError:
    return StepFailedError(
        "invalid_response",
        f"The answer is no GraphQL answer: {why}.",
        http_status=response.status,
        body=response.body[:SHOWN].decode("utf-8", "replace"),
    )
