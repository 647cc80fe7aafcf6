"""Messages of a SOAP call: what is sent for JSON arguments, and the JSON of what comes back.

Both run in threads, since the library is Python all through and a large message keeps it busy.
"""

import base64
import copy
import math
from collections.abc import Callable, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, Final, Protocol

import msgspec

from shared.egress.interface import EgressResponse
from shared.errors import StepFailedError
from shared.graph.suggest import listed
from shared.graph.suggest import shown as quoted
from shared.nodes.soap_documents import SOAP, described, settings

#: An object with this key alone stands for bytes, in arguments.
BYTES: Final = "$base64"
_CLIENTS: Final = frozenset(("Client", "Sender"))
_SERVERS: Final = frozenset(("Server", "Receiver"))


class Operation(Protocol):
    """What is taken of the node's rendered data."""

    operation: str
    service: str | None
    port: str | None
    endpoint: str | None
    arguments: dict[str, Any]
    soap_headers: dict[str, Any]
    username: str | None
    password: str | None
    login: Any


class Message(msgspec.Struct, frozen=True):
    """What is sent."""

    address: str
    headers: dict[str, str]
    body: bytes


class Told(msgspec.Struct, frozen=True):
    """What a service said instead of a result.

    Attributes:
        code: its local name, such as ``Client``; empty if there is none.
    """

    code: str
    message: str

    @property
    def category(self) -> str:
        """The sender's fault is as a 4xx, the receiver's as a 5xx."""
        local = self.code.rpartition(":")[2].partition(".")[0]
        return "4xx" if local in _CLIENTS else "5xx" if local in _SERVERS else "error"


class _Captured(Exception):  # noqa: N818 — no fault: the message is what was wanted
    def __init__(self, message: Message) -> None:
        super().__init__()
        self.message = message


class _Outwards:
    """A transport that gives the message to whoever asked for it, instead of sending it."""

    def post_xml(self, address: str, envelope: Any, headers: Mapping[str, str]) -> Any:
        body: bytes = SOAP.load("wsdl.utils").etree_to_string(envelope)
        raise _Captured(Message(address or "", dict(headers), body))


class _Inwards:
    """A transport that has the answer already; it is also the answer, as the library reads one."""

    encoding = "utf-8"

    def __init__(self, response: EgressResponse) -> None:
        self.status_code = response.status
        self.content = response.body
        content_type = next((value for name, value in response.headers if name.lower() == "content-type"), "text/xml")
        self.headers = {"Content-Type": content_type}

    def post_xml(self, address: str, envelope: Any, headers: Mapping[str, str]) -> Any:  # noqa: ARG002
        return self


def message_of(document: Any, called: Operation) -> Message:
    """The message of a call.

    Raises:
        StepFailedError: ``invalid_data`` if the description has no such operation, or it takes no such arguments.
    """
    try:
        _call(document, called, _Outwards())
    except _Captured as captured:
        return captured.message
    except StepFailedError:
        raise
    except Exception as error:  # the library raises TypeError, ValueError, its own errors and others over arguments
        message = f"data.arguments do not fit {quoted(called.operation)}: {described(error)}"
        raise StepFailedError("invalid_data", message) from error
    raise StepFailedError("invalid_data", f"{quoted(called.operation)} is no operation over SOAP.")


def result_of(document: Any, called: Operation, response: EgressResponse) -> Any:
    """The result of a call as JSON, a fault as `Told`, or None for an answer that is neither.

    Raises:
        StepFailedError: ``invalid_response`` for a result that the description has no place for.
    """
    exceptions = SOAP.load("exceptions")
    try:
        result = _call(document, called, _Inwards(response))
    except exceptions.Fault as fault:
        known = fault.code or fault.message != "Unknown fault occured"
        return Told(str(fault.code or ""), str(fault.message or "no message")) if known else None
    except Exception as error:
        if response.status // 100 != 2:
            return None
        message = f"The answer is not what the WSDL says: {described(error)}"
        raise StepFailedError("invalid_response", message, http_status=response.status) from error
    return {"result": json_form(SOAP.load("helpers").serialize_object(getattr(result, "root", result), dict))}


def _call(document: Any, called: Operation, transport: Any) -> Any:
    client = SOAP.load("client").Client(document, transport=transport, settings=settings(), wsse=_token(called))
    operations = _port(client, called)
    names = [name for name, _ in operations]
    if called.operation not in names:
        message = f"{quoted(called.operation)} is no operation of the service; it has {listed(sorted(names))}."
        raise StepFailedError("invalid_data", message)
    headers = {"_soapheaders": _sent(called.soap_headers)} if called.soap_headers else {}
    return operations[called.operation](**_sent(called.arguments), **headers)


def _port(client: Any, called: Operation) -> Any:
    """The operations of the service and port that are meant, at their address or the one that was given."""
    try:
        operations = client.bind(called.service, called.port)
    except ValueError:  # it knows no such name
        operations = None
    if operations is None:
        ports = [f"{name}/{port}" for name, service in client.wsdl.services.items() for port in service.ports]
        message = f"The WSDL has no such service or port; it has {listed(ports)}." if ports else "The WSDL has none."
        raise StepFailedError("invalid_data", message)
    if called.endpoint:
        return client.create_service(operations._binding.name, called.endpoint)  # noqa: SLF001 — named nowhere else
    return operations


def _token(called: Operation) -> Any:
    if called.login == "basic" or called.username is None:
        return None
    digest = called.login == "username_digest"
    return SOAP.load("wsse.username").UsernameToken(called.username, called.password or "", use_digest=digest)


def _sent(value: Any) -> Any:
    """Arguments as the library takes them: a copy, since it changes what it is given, with bytes where they are meant.

    Raises:
        StepFailedError: ``invalid_data``.
    """
    if isinstance(value, list):
        return [_sent(item) for item in value]
    if not isinstance(value, dict):
        return copy.copy(value)
    if value.keys() == {BYTES} and isinstance(value[BYTES], str):
        try:
            return base64.b64decode(value[BYTES], validate=True)
        except ValueError:
            raise StepFailedError("invalid_data", f"data.arguments: a {BYTES} is no base64.") from None
    return {name: _sent(item) for name, item in value.items()}


def json_form(value: Any) -> Any:
    """What the library makes of a value of XML Schema, as JSON.

    Moments are in ISO 8601, bytes in base64, decimals are text, since a float would round them.
    """
    if isinstance(value, dict):
        return {str(name): json_form(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [json_form(item) for item in value]
    if value is None or isinstance(value, (str, bool, int)):
        return value
    for kind, form in _FORMS.items():
        if isinstance(value, kind):
            return form(value)
    return _xml(value)


def _xml(value: Any) -> str:
    """An element where anything may stand, as its text; of what is no element the text that Python has for it."""
    if not hasattr(value, "tag"):
        return str(value)
    text: str = SOAP.load("wsdl.utils").etree.tostring(value, encoding="unicode", with_tail=False)
    return text


_FORMS: Final[dict[type, Callable[[Any], Any]]] = {
    float: lambda value: value if math.isfinite(value) else str(value),
    Decimal: str,
    bytes: lambda value: base64.b64encode(value).decode(),
    datetime: lambda value: value.isoformat(),
    date: lambda value: value.isoformat(),
    time: lambda value: value.isoformat(),
    timedelta: lambda value: value.total_seconds(),
}
