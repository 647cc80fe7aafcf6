"""``soap_request`` against a service with a WSDL, a schema that it imports, and a parser that validates by it."""

import base64
from typing import Any

import pytest

from shared.nodes.soap_request import SoapRequest
from tests.outward import KEY, called, failure_of, faults_of
from tests.soap import NS, Stock, answer, data, fault

WSSE = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-secext-1.0.xsd"


async def test_an_operation_is_called(stock: Stock) -> None:
    """Arguments arrive as the schema has them, whatever characters they hold; the result comes back as JSON."""
    arguments = {
        "item": "{{ n1.item }}",
        "warehouses": ["cpt", "</s:item> & \"'"],
        "photo": {"$base64": "AAEC"},
        "since": "2025-01-31",
    }
    outcome = await called("soap_request", data(stock, arguments=arguments), {"n1": {"item": "<b>tea</b>&amp;"}})
    assert outcome.output["status"] == 200
    assert outcome.output["result"] == {
        "total": 4,
        "price": "12.50",
        "at": "2025-10-31T12:00:00+00:00",
        "photo": "AAEC",
        "note": None,
        "line": [{"warehouse": "cpt", "count": 2}, {"warehouse": "</s:item> & \"'", "count": 2}],
    }
    body = stock.envelopes[0]
    assert body.findtext(f".//{{{NS}}}item") == "<b>tea</b>&amp;"
    assert [each.text for each in body.iter(f"{{{NS}}}warehouses")] == ["cpt", "</s:item> & \"'"]
    assert body.findtext(f".//{{{NS}}}photo") == "AAEC"
    assert stock.headers["SOAPAction"] == '"urn:stock#GetLevel"'
    assert stock.headers["Idempotency-Key"] == KEY
    assert stock.asked == ["GET /stock", "GET /types.xsd", "POST /soap"]
    assert outcome.step_input["operation"] == "GetLevel"


async def test_headers_and_logins(stock: Stock) -> None:
    """A header of the message, fields of HTTP and a Basic login go out, and none of the secrets is logged."""
    how = data(stock, soap_headers={"key": "k-1"}, headers={"X-Team": "grün"}, username="joe", password="pässword")
    outcome = await called("soap_request", how)
    assert stock.envelopes[0].findtext(f".//{{{NS}}}Key") == "k-1"
    assert stock.headers["X-Team"] == "grün"
    assert stock.headers["Authorization"] == f"Basic {base64.b64encode('joe:pässword'.encode()).decode()}"
    assert "pässword" not in str(outcome)


@pytest.mark.parametrize("login", ["username_token", "username_digest"])
async def test_username_tokens(stock: Stock, login: str) -> None:
    """The login stands in the message, with its password hashed if that is wanted, and not in a header of HTTP."""
    await called("soap_request", data(stock, username="joe", password="secret-1", login=login))
    assert stock.envelopes[0].findtext(f".//{{{WSSE}}}Username") == "joe"
    shown = stock.envelopes[0].findtext(f".//{{{WSSE}}}Password")
    assert shown
    assert (shown == "secret-1") == (login == "username_token")
    assert "Authorization" not in stock.headers


async def test_other_ports_and_addresses(stock: Stock) -> None:
    """A port is chosen by name, and an endpoint stands in for the address that the WSDL has."""
    await called("soap_request", data(stock, port="Other"))
    await called("soap_request", data(stock, endpoint=f"{stock.base}/third"))
    assert [each for each in stock.asked if each.startswith("POST")] == ["POST /other", "POST /third"]


@pytest.mark.parametrize(("code", "category"), [("Client", "4xx"), ("Server", "5xx"), ("Odd", "error")])
async def test_a_fault_fails_the_step(stock: Stock, code: str, category: str) -> None:
    """With what the service says, and whose fault it is."""
    stock.says = (500, fault(code, "no such\nitem"))
    error = await failure_of("soap_request", data(stock))
    assert (error.code, error.category, error.http_status) == ("soap_fault", category, 500)
    assert error.message == "SOAP fault: no such item"
    assert "faultstring" in error.body
    stock.says = (200, fault(code, "hidden"))
    assert (await failure_of("soap_request", data(stock))).message == "SOAP fault: hidden"


async def test_what_is_no_answer(stock: Stock) -> None:
    """A status is told as one; a success that is no answer of the operation is told as that."""
    for status, category in ((503, "5xx"), (429, "429"), (401, "4xx")):
        stock.says = (status, "<html>busy</html>")
        error = await failure_of("soap_request", data(stock))
        assert (error.code, error.category, error.http_status) == ("soap_failed", category, status)
    for text in ("", "no xml", "<a/>", answer([])[:-30], answer([]).replace("<total>0</total>", "<x/>")):
        stock.says = (200, text)
        assert (await failure_of("soap_request", data(stock))).code == "invalid_response"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"operation": "GetLevels"}, '"GetLevels" is no operation of the service; it has "GetLevel".'),
        ({"service": "Shop"}, 'The WSDL has no such service or port; it has "Stock/Main", "Stock/Other".'),
        ({"port": "Third"}, 'The WSDL has no such service or port; it has "Stock/Main", "Stock/Other".'),
        ({"arguments": {"itm": "tea"}}, 'data.arguments do not fit "GetLevel": '),
        ({"arguments": {}}, 'data.arguments do not fit "GetLevel": '),
        ({"arguments": {"item": "tea", "photo": {"$base64": "?"}}}, "data.arguments: a $base64 is no base64."),
        ({"arguments": {"item": "tea", "photo": 7}}, 'data.arguments do not fit "GetLevel": '),
        ({"arguments": "{{ n1 }}"}, "data.arguments._soapheaders: "),
    ],
)
async def test_what_does_not_fit_the_description(stock: Stock, change: dict[str, Any], told: str) -> None:
    """Nothing is sent, and the message names what would fit."""
    scope = {"n1": {"item": "tea", "_soapheaders": {"key": "k"}}}
    error = await failure_of("soap_request", data(stock, **change), scope)
    assert error.code == "invalid_data"
    assert error.message.startswith(told)
    assert "POST /soap" not in stock.asked


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"wsdl": "file:///etc/passwd"}, "d.wsdl"),
        ({"wsdl": "/etc/passwd"}, "d.wsdl"),
        ({"endpoint": "ftp://a.test/"}, "d.endpoint"),
        ({"headers": {"X": "a\nb"}}, "d.headers.X"),
        ({"password": "secret-1"}, "d.username"),
        ({"login": "username_token"}, "d.username"),
        ({"arguments": {"_soapheaders": 1}}, "d.arguments._soapheaders"),
        ({"operation": "{{ n1.x }}"}, "d.operation"),
    ],
)
def test_faults_when_saved(change: dict[str, Any], path: str) -> None:
    """What can be seen to be wrong is refused."""
    how = {"wsdl": "https://a.test/?wsdl", "operation": "GetLevel", **change}
    assert [where for where, _ in faults_of("soap_request", how)] == [path]


async def test_large_answers_are_refused(stock: Stock) -> None:
    """Over 4 MiB of XML nothing is parsed."""
    stock.says = (200, answer(["x" * 5_000_000]))
    assert (await failure_of("soap_request", data(stock))).code == "response_too_large"


async def test_the_example_is_answered(stock: Stock) -> None:
    """The type's own example, at the address of a service, is what its description takes."""
    where = {"wsdl": f"{stock.base}/stock?wsdl"}
    outcome = await called("soap_request", {**SoapRequest.example, **where}, dict(SoapRequest.example_context))
    assert outcome.output["status"] == 200
    assert [line["warehouse"] for line in outcome.output["result"]["line"]] == ["cpt", "jnb"]
    assert stock.envelopes[0].findtext(f".//{{{NS}}}item") == "tea"
