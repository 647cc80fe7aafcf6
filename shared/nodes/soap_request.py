"""``soap_request``: an operation of a SOAP service, as its WSDL describes it."""

import base64
import time
from collections.abc import Mapping
from functools import partial
from typing import Any, ClassVar, Final, Literal

import msgspec

from shared.egress.fields import check_headers
from shared.egress.interface import EgressResponse
from shared.egress.pinned import shown
from shared.egress.target import parse_url
from shared.errors import StepFailedError
from shared.nodes.base import Kind, Mode, NodeType, Outcome, StepContext
from shared.nodes.fields import Plain, Secret, Text
from shared.nodes.http_faults import header_faults, url_faults
from shared.nodes.http_request import headers_of
from shared.nodes.http_response import SHOWN, failure
from shared.nodes.soap_documents import SOAP, Descriptions, Source
from shared.nodes.soap_messages import Message, Told, message_of, result_of
from shared.nodes.threads import in_thread
from shared.nodes.webhook import Pairs

#: Of processor time for making a message, and for reading an answer.
_SECONDS: Final = 5.0
#: Bytes of an answer; a step's output has at most 1 MiB of JSON, which is shorter than XML.
MAX_ANSWER: Final = 4 * 1024 * 1024
_descriptions: Final = Descriptions()


class Data(msgspec.Struct, forbid_unknown_fields=True):
    """Configuration.

    Attributes:
        wsdl: URL of the service's description; it is kept for five minutes. With all that it imports it has at most 50
            documents and 2 MiB, none of which has a DOCTYPE; with all it refers to a type holds at most 10,000
            elements and attributes.
        operation: of the service.
        arguments: by name, as the description nests them; an object ``{"$base64": "..."}`` stands for bytes.
        service, port: which of the description's is meant; by default its first.
        endpoint: URL that is called instead of the one in the description. It is required where that is at another
            origin than the WSDL, and the call has headers, SOAP headers or a login.
        soap_headers: by name, as the description has them.
        headers: of HTTP: a list of ``{key, value}`` or an object. They go to the origin of the WSDL, too.
        username, password: see ``login``.
        login: ``basic``: in a header of HTTP, for the WSDL, too; ``username_token``, ``username_digest``: in the
            message (WS-Security UsernameToken), with the password as it is or hashed.
        verify_tls: whether the other side must have a certificate that is trusted.
    """

    wsdl: Text[Secret[str]]
    operation: Plain[str]
    arguments: Secret[dict[str, Any]] = {}
    service: Plain[str | None] = None
    port: Plain[str | None] = None
    endpoint: Text[Secret[str | None]] = None
    soap_headers: Secret[dict[str, Any]] = {}
    headers: Text[Secret[Pairs]] = []
    username: Text[str | None] = None
    password: Text[Secret[str | None]] = None
    login: Plain[Literal["basic", "username_token", "username_digest"]] = "basic"
    verify_tls: bool = True


class SoapRequest(NodeType[Data]):
    """Calls an operation; output ``{status, result, duration_ms}``. A fault of the service fails the step."""

    component_id = "soap_request"
    title = "SOAP request"
    kind = Kind.ACTION
    mode = Mode.EFFECT
    data_type = Data
    extras = (SOAP,)
    example: ClassVar[Mapping[str, Any]] = {
        "wsdl": "https://example.com/stock?wsdl",
        "operation": "GetLevel",
        "arguments": {"item": "{{ n1.item }}", "warehouses": ["cpt", "jnb"]},
    }
    example_context: ClassVar[Mapping[str, Any]] = {"n1": {"item": "tea"}}

    def check(self, data: Mapping[str, Any]) -> list[tuple[str, str]]:
        """See `NodeType.check`."""
        return [
            *url_faults(data["wsdl"], "wsdl"),
            *(url_faults(data["endpoint"], "endpoint") if data.get("endpoint") else ()),
            *header_faults(data.get("headers", [])),
            *_login_faults(data),
            *_argument_faults(data),
        ]

    async def call(self, data: Data, context: StepContext) -> Outcome:
        """Read the description, send the message and read the answer.

        Raises:
            StepFailedError: what `Egress.request` raises; ``wsdl_unavailable``, ``wsdl_too_large``, ``invalid_wsdl``;
                ``invalid_data``, also where credentials would go to an origin that only the description names;
                ``soap_fault`` with what the service said, whose category is ``4xx`` for a fault of the caller and
                ``5xx`` for one of the service; ``soap_failed`` with a status; ``invalid_response``.
        """
        logged = {"wsdl": data.wsdl, "operation": data.operation, "arguments": data.arguments}
        try:
            _check(data)
            return Outcome(await _called(data, context), step_input=logged)
        except StepFailedError as error:
            error.step_input = logged
            raise


def _check(data: Data) -> None:
    """What a template may have made of it."""
    rendered = {"username": data.username, "password": data.password, "login": data.login, "arguments": data.arguments}
    for path, message in (*_login_faults(rendered), *_argument_faults(rendered)):
        raise StepFailedError("invalid_data", f"data.{path}: {message}")


async def _called(data: Data, context: StepContext) -> dict[str, Any]:
    ends = time.monotonic() + context.timeout
    headers = _headers(data)
    check_headers(headers)
    source = Source(data.wsdl, headers, data.verify_tls)
    document = await _descriptions.get(source, context.egress, seconds=context.timeout, now=context.now)
    message = await in_thread(partial(message_of, document, data), seconds=_SECONDS)
    _check_address(data, message.address)
    response = await context.egress.request(
        "POST",
        message.address,
        headers=_sent_headers(message, headers, context.idempotency_key),
        body=message.body,
        timeout=max(0.001, ends - time.monotonic()),
        verify_tls=data.verify_tls,
        max_bytes=MAX_ANSWER,
    )
    result = await in_thread(partial(result_of, document, data, response), seconds=_SECONDS)
    if isinstance(result, Told):
        raise _fault(result, response)
    if result is None:
        raise failure(response, context.now, code="soap_failed", what="SOAP request")
    return {"status": response.status, **result, "duration_ms": response.duration_ms}


def _check_address(data: Data, address: str) -> None:
    """Whoever writes the WSDL may have credentials sent to its own origin, and nowhere else.

    Raises:
        StepFailedError: ``invalid_data``; ``invalid_url`` or ``egress_refused`` for an address that is none.
    """
    if data.endpoint or not (data.headers or data.soap_headers or data.username is not None):
        return
    own, called = parse_url(data.wsdl)[0], parse_url(address)[0]
    if called != own:
        message = (
            f"data.endpoint is required: the WSDL of {own.origin} has an address at {called.origin}, and headers, SOAP "
            "headers and logins go to no other origin than the WSDL's unless the node names it."
        )
        raise StepFailedError("invalid_data", message)


def _headers(data: Data) -> list[tuple[str, str]]:
    headers = [(name, value) for _, name, value in headers_of(data.headers)]
    if data.login == "basic" and data.username is not None:
        login = f"{data.username}:{data.password or ''}".encode()
        headers.append(("Authorization", f"Basic {base64.b64encode(login).decode()}"))
    return headers


def _sent_headers(message: Message, own: list[tuple[str, str]], idempotency_key: str) -> list[tuple[str, str]]:
    given = {name.lower() for name, _ in own}
    defaults = [*message.headers.items(), ("Idempotency-Key", idempotency_key)]
    return [*own, *((name, value) for name, value in defaults if name.lower() not in given)]


def _fault(told: Told, response: EgressResponse) -> StepFailedError:
    return StepFailedError(
        "soap_fault",
        f"SOAP fault: {shown(told.message)}",
        category=told.category,
        http_status=response.status,
        body=response.body[:SHOWN].decode("utf-8", "replace"),
    )


def _login_faults(data: Mapping[str, Any]) -> list[tuple[str, str]]:
    if data.get("password") and not data.get("username"):
        return [("username", "A password goes with a username.")]
    if data.get("login", "basic") != "basic" and not data.get("username"):
        return [("username", f'The login "{data["login"]}" wants a username.')]
    return []


def _argument_faults(data: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Names that the library would take for options of its own."""
    return [
        (f"arguments.{name}", "No argument begins with an underscore, except _value_1 and the like.")
        for name in data.get("arguments", {})
        if name.startswith("_") and not name.startswith("_value_")
    ]
