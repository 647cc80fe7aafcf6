"""Descriptions of SOAP services: read once, from strangers, and hostile: they lead nowhere and explode nothing."""

import asyncio
import time
import tracemalloc
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from aiohttp import web

from shared.egress.client import EgressClient
from shared.nodes import soap_request
from shared.nodes.soap_documents import FRESH, MAX_BYTES, Descriptions, Source
from tests.outward import called, failure_of, outward, serving, silent
from tests.soap import SCHEMA, Stock, answer, data, wsdl
from tests.trap import INTERNAL, trapping


async def test_a_description_is_read_once(stock: Stock) -> None:
    """For all calls of some minutes, those at the same time included; other credentials read it for themselves."""
    await asyncio.gather(*(called("soap_request", data(stock)) for _ in range(5)))
    assert stock.asked.count("GET /stock") == stock.asked.count("GET /types.xsd") == 1
    assert stock.asked.count("POST /soap") == 5
    await called("soap_request", data(stock, headers={"X-Key": "other"}))
    assert stock.asked.count("GET /stock") == 2


async def test_kept_descriptions_are_bounded(stock: Stock) -> None:
    """By age, number and size."""
    now = [0.0]
    kept = Descriptions(clock=lambda: now[0])

    async def read(path: str, egress: EgressClient) -> None:
        source = Source(f"{stock.base}{path}", (), True)
        await kept.get(source, egress, seconds=10, now=datetime(2025, 10, 31, tzinfo=UTC))

    async with outward() as egress:
        await read("/stock", egress)
        now[0] = FRESH + 1
        await read("/stock", egress)
        assert stock.asked.count("GET /stock") == 2
        for number in range(70):
            await read(f"/stock?{number}", egress)
        assert len(kept) == 64
        stock.described = wsdl(stock.base) + f"<!--{'x' * 1_500_000}-->"
        for number in range(4):
            await read(f"/stock?large{number}", egress)
        assert len(kept) == 2


async def test_a_description_that_is_away(stock: Stock) -> None:
    """Is told with its status, and not kept."""
    error = await failure_of("soap_request", data(stock, wsdl=f"{stock.base}/none"))
    assert (error.code, error.category, error.http_status) == ("wsdl_unavailable", "4xx", 404)
    for _ in range(2):
        stock.described = "<html>maintenance</html>"
        assert (await failure_of("soap_request", data(stock))).code == "invalid_wsdl"
    stock.described = None
    assert (await called("soap_request", data(stock))).output["status"] == 200


async def test_credentials_go_to_the_descriptions_own_origin(stock: Stock) -> None:
    """A schema elsewhere is asked for without them."""
    seen: list[str | None] = []
    foreign = Stock()

    async def noting(request: Any) -> Any:
        seen.append(request.headers.get("Authorization"))
        return await foreign(request)

    async with serving(noting) as elsewhere:
        foreign.base = elsewhere
        stock.described = wsdl(stock.base, schema=f"{elsewhere}/types.xsd")
        await called("soap_request", data(stock, username="joe", password="secret-1"))
    assert seen == [None]
    assert stock.headers["Authorization"]


CREDENTIALS: list[dict[str, Any]] = [
    {"username": "joe", "password": "secret-1"},
    {"username": "joe", "password": "secret-1", "login": "username_token"},
    {"username": "joe", "password": "secret-1", "login": "username_digest"},
    {"headers": {"X-Api-Key": "secret-1"}},
    {"soap_headers": {"key": "secret-1"}},
]


@pytest.mark.parametrize("how", CREDENTIALS)
async def test_credentials_go_to_no_address_that_only_the_description_names(stock: Stock, how: dict[str, Any]) -> None:
    """Another origin gets them once the author names it; without any it is called as the description says."""
    foreign = Stock()
    async with serving(foreign) as elsewhere:
        stock.described = wsdl(stock.base).replace(f"{stock.base}/soap", f"{elsewhere}/soap")
        error = await failure_of("soap_request", data(stock, **how))
        assert error.code == "invalid_data"
        assert error.message == (
            f"data.endpoint is required: the WSDL of {stock.base} has an address at {elsewhere}, and headers, SOAP "
            "headers and logins go to no other origin than the WSDL's unless the node names it."
        )
        assert "secret-1" not in str(error.step_input)
        assert foreign.asked == []
        await called("soap_request", data(stock, endpoint=f"{elsewhere}/soap", **how))
        await called("soap_request", data(stock))
    assert foreign.asked == ["POST /soap", "POST /soap"]


Attack = Callable[[str, str], str]


ATTACKS: dict[str, Attack] = {
    "an import of a schema": lambda base, trap: wsdl(base, schema=f"http://{trap}/x.xsd"),
    "a name that leads inside": lambda base, trap: wsdl(base, schema=f"http://inside.test:{trap.split(':')[1]}/x.xsd"),
    "an include": lambda base, trap: wsdl(
        base, head=f'<types><xs:schema><xs:include schemaLocation="http://{trap}/x.xsd"/></xs:schema></types>'
    ),
    "an import of another WSDL": lambda base, trap: wsdl(
        base, head=f'<import namespace="urn:x" location="http://{trap}/x.wsdl"/>'
    ),
    "a redirected import": lambda base, trap: wsdl(base, schema=f"{base}/redirect/{trap}"),
    "an external document type": lambda base, trap: wsdl(base, prolog=f'<!DOCTYPE d SYSTEM "http://{trap}/x.dtd">'),
    "an external entity": lambda base, trap: wsdl(
        base, prolog=f'<!DOCTYPE d [<!ENTITY x SYSTEM "http://{trap}/x">]>', head="<documentation>&x;</documentation>"
    ),
    "a parameter entity": lambda base, trap: wsdl(
        base, prolog=f'<!DOCTYPE d [<!ENTITY % x SYSTEM "http://{trap}/x"> %x;]>'
    ),
    "a file as an entity": lambda base, _: wsdl(
        base, prolog='<!DOCTYPE d [<!ENTITY x SYSTEM "file:///etc/passwd">]>', head="<documentation>&x;</documentation>"
    ),
    "a file as a schema": lambda base, _: wsdl(base, schema="file:///etc/passwd"),
    "another scheme": lambda base, trap: wsdl(base, schema=f"ftp://{trap}/x.xsd"),
    "an address inside": lambda base, trap: wsdl(base).replace(f"{base}/soap", f"http://{trap}/soap"),
    "an address that is a file": lambda base, _: wsdl(base).replace(f"{base}/soap", "file:///etc/passwd"),
    "no address": lambda base, _: wsdl(base).replace(f"{base}/soap", ""),
}


@pytest.mark.parametrize("attack", ATTACKS)
async def test_a_description_leads_nowhere(stock: Stock, attack: str) -> None:
    """Not by imports, redirects, entities or its address: what is inside hears nothing, and no file is read."""

    async def answering(request: web.Request) -> web.Response:
        if request.path.startswith("/redirect/"):
            return web.Response(status=302, headers={"Location": f"http://{request.path[10:]}/x.xsd"})
        return await stock(request)

    async with trapping() as trap, serving(answering) as base, _outside() as egress:
        stock.base = base
        stock.described = ATTACKS[attack](base, f"{INTERNAL}:{trap.port}")
        error = await failure_of("soap_request", data(stock), egress=egress)
        await asyncio.sleep(0)
        assert trap.caught == []
    assert error.code in ("egress_refused", "invalid_url", "invalid_wsdl", "wsdl_unavailable")
    assert "root:" not in f"{error.message}{error.body}"
    assert not [each for each in stock.asked if each.startswith("POST")]


def _outside() -> EgressClient:
    """A client that may go to the service and to nothing else on this machine."""
    return outward({"inside.test": [INTERNAL]}, allow="127.0.0.1")


async def test_a_relative_file_is_a_path_of_the_server(stock: Stock) -> None:
    """``/etc/passwd`` in an import is what the service has under that path."""
    stock.described = wsdl(stock.base, schema="/etc/passwd")
    assert (await failure_of("soap_request", data(stock))).code == "wsdl_unavailable"
    assert stock.asked == ["GET /stock", "GET /etc/passwd"]


def _bomb(text: str) -> str:
    entities = "".join(f'<!ENTITY a{level} "{f"&a{level - 1};" * 10}">' for level in range(1, 10))
    return text.replace("?>", f'?><!DOCTYPE d [<!ENTITY a0 "ha">{entities}]>', 1)


@pytest.mark.parametrize("place", ["wsdl", "schema", "answer", "attribute"])
async def test_entities_do_not_explode(stock: Stock, place: str) -> None:
    """A document type is refused wherever it comes, before it costs anything."""
    prolog = '<?xml version="1.0"?>'
    if place == "answer":
        stock.says = (200, _bomb(prolog + answer([]).replace("<total>0", "<total>&a9;")))
    elif place == "attribute":
        stock.described = _bomb(wsdl(stock.base)).replace('name="Stock">', 'name="&a9;">', 1)
    elif place == "wsdl":
        head = "<documentation>&a9;</documentation>"
        stock.described = _bomb(wsdl(stock.base, head=head))
    else:
        stock.schema = _bomb(SCHEMA).replace('type="xs:string"/>', 'type="&a9;"/>', 1)
    await failure_of("soap_request", data(stock, wsdl=f"{stock.base}/none"))  # what the library takes to be loaded
    tracemalloc.start()
    try:
        error = await failure_of("soap_request", data(stock))
        assert tracemalloc.get_traced_memory()[1] < 20_000_000
    finally:
        tracemalloc.stop()
    assert error.code == ("invalid_response" if place == "answer" else "invalid_wsdl")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # finalizers may be what is interrupted
async def test_an_endless_answer_ends(stock: Stock, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sequence may repeat without an end and take nothing: the library tries two thousand million times."""
    monkeypatch.setattr(soap_request, "_SECONDS", 0.3)
    total = '<xs:element name="total" type="xs:int"'
    stock.schema = SCHEMA.replace(f"<xs:sequence>\n    {total}", f'<xs:sequence maxOccurs="unbounded">\n    {total}')
    optional = [f'<xs:element name="{name}"' for name in ("total", "price", "at", "photo", "note")]
    before, place, after = stock.schema.partition('name="GetLevelResponse"')
    for element in optional:
        after = after.replace(element, f'{element} minOccurs="0"', 1)
    stock.schema = before + place + after
    stock.says = (200, answer([]).replace("<total>0</total>", "<other/>"))
    assert (await failure_of("soap_request", data(stock))).code == "too_slow"


async def test_descriptions_are_capped(stock: Stock) -> None:
    """In bytes, of one document and of all, and in the number of documents."""
    stock.described = wsdl(stock.base) + f"<!--{'x' * MAX_BYTES}-->"
    assert (await failure_of("soap_request", data(stock))).code == "wsdl_too_large"
    stock.described = wsdl(stock.base) + f"<!--{'x' * (MAX_BYTES - 2000)}-->"
    assert (await failure_of("soap_request", data(stock))).code == "wsdl_too_large"

    async def endless(request: Any) -> Any:
        depth = int(request.path[1:] or 0)
        text = (
            f'<definitions xmlns="http://schemas.xmlsoap.org/wsdl/" targetNamespace="urn:{depth}">'
            f'<import namespace="urn:{depth + 1}" location="/{depth + 1}"/></definitions>'
        )
        return web.Response(text=text, content_type="text/xml")

    async with serving(endless) as base:
        error = await failure_of("soap_request", {"wsdl": f"{base}/0", "operation": "Get"})
    assert (error.code, error.message) == ("wsdl_too_large", "The WSDL imports more than 49 other documents.")


@pytest.mark.parametrize("shape", ["nested", "cyclic", "wide"])
async def test_odd_descriptions_end(stock: Stock, shape: str) -> None:
    """Whatever they are made of, the step ends, and says so."""
    if shape == "nested":
        stock.described = wsdl(stock.base, head="<documentation>" + "<a>" * 100_000)
    elif shape == "cyclic":
        stock.described = wsdl(stock.base, head='<import namespace="urn:stock" location="/stock"/>')
    else:
        stock.described = wsdl(stock.base, head="<documentation/>" * 50_000)
    if shape == "nested":
        assert (await failure_of("soap_request", data(stock))).code == "invalid_wsdl"
    else:
        assert (await called("soap_request", data(stock))).output["status"] == 200


def _nested(tag: str, levels: int, times: int, last: str = "") -> str:
    """Groups each of which refers so often to the next; the last one has an element or attribute, or ``last``."""
    own = last or f'<xs:{"element" if tag == "group" else "attribute"} name="x" type="xs:string"/>'
    inside = [f'<xs:{tag} ref="s:g{level + 1}"/>' * times for level in range(levels)] + [own]
    opened, closed = ("<xs:sequence>", "</xs:sequence>") if tag == "group" else ("", "")
    return "".join(f'<xs:{tag} name="g{at}">{opened}{text}{closed}</xs:{tag}>' for at, text in enumerate(inside))


def _holding(tag: str, groups: str) -> str:
    """The schema whose operation takes what the first of the groups holds, too."""
    end, reference = "</xs:sequence></xs:complexType>", f'<xs:{tag} ref="s:g0"/>'
    held = f"{reference}{end}" if tag == "group" else f"</xs:sequence>{reference}</xs:complexType>"
    return SCHEMA.replace(end, held, 1).replace("</xs:schema>", f"{groups}</xs:schema>")


@pytest.mark.parametrize("tag", ["group", "attributeGroup"])
async def test_groups_do_not_explode(stock: Stock, tag: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are counted before they are written out: 2**12 elements are read, 2**30 and circles are refused at once."""
    stock.schema = _holding(tag, _nested(tag, 12, 2))
    if tag == "group":
        assert "Missing element x" in (await failure_of("soap_request", data(stock))).message
    else:
        assert (await called("soap_request", data(stock))).output["status"] == 200
    for groups, told in (
        (_nested(tag, 30, 2), "one of its types holds more than 10,000 elements and attributes."),
        (_nested(tag, 3, 1, f'<xs:{tag} ref="s:g0"/>'), "refers to itself."),
        (_nested(tag, 5_000, 1), "too many levels deep."),
    ):
        stock.schema = _holding(tag, groups)
        monkeypatch.setattr(soap_request, "_descriptions", Descriptions())
        began = time.process_time()
        error = await failure_of("soap_request", data(stock))
        assert (error.code, error.message.endswith(told)) == ("invalid_wsdl", True), error.message
        assert time.process_time() - began < 2


def _derived(levels: int) -> str:
    """Types each of which holds an element and extends the next; the elements of one are of the first type."""
    types = "".join(
        f'<xs:complexType name="T{at}"><xs:complexContent><xs:extension base="s:T{at + 1}"><xs:sequence>'
        f'<xs:element name="e{at}" type="s:T0" minOccurs="0"/></xs:sequence></xs:extension></xs:complexContent>'
        "</xs:complexType>"
        for at in range(levels)
    )
    last = f'<xs:complexType name="T{levels}"><xs:sequence><xs:any minOccurs="0"/></xs:sequence></xs:complexType>'
    return f"{types}{last}"


async def test_types_that_extend_each_other(stock: Stock, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a type inherits counts, and what its elements hold does not, so types may well contain themselves."""
    stock.schema = SCHEMA.replace("</xs:schema>", f"{_derived(30)}</xs:schema>")
    assert (await called("soap_request", data(stock))).output["status"] == 200
    monkeypatch.setattr(soap_request, "_descriptions", Descriptions())
    stock.schema = SCHEMA.replace("</xs:schema>", f"{_derived(700)}</xs:schema>")
    error = await failure_of("soap_request", data(stock))
    assert error.message.startswith("The WSDL cannot be used: its types")


@pytest.mark.parametrize("place", ["wsdl", "service"])
async def test_time_is_limited(stock: Stock, place: str) -> None:
    """A silent server ends the step when its time is over, whichever it is, and no thread waits for it."""
    async with silent() as port:
        there = {"wsdl": f"http://127.0.0.1:{port}/"} if place == "wsdl" else {"endpoint": f"http://127.0.0.1:{port}/"}
        error = await failure_of("soap_request", data(stock, **there), seconds=0.5)
    assert (error.code, error.category) == ("timeout", "timeout")
