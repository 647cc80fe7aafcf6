"""A SOAP service on this machine: WSDL, a schema that it imports, and answers to what that schema finds valid."""

from html import escape
from typing import Any

from aiohttp import web
from lxml import etree

NS = "urn:stock"
ENVELOPE = "http://schemas.xmlsoap.org/soap/envelope/"
SCHEMA = f"""<?xml version="1.0"?>
<xs:schema xmlns:xs="http://www.w3.org/2001/XMLSchema" xmlns:s="{NS}" targetNamespace="{NS}"
  elementFormDefault="qualified">
  <xs:element name="GetLevel"><xs:complexType><xs:sequence>
    <xs:element name="item" type="xs:string"/>
    <xs:element name="warehouses" type="xs:string" maxOccurs="unbounded" minOccurs="0"/>
    <xs:element name="photo" type="xs:base64Binary" minOccurs="0"/>
    <xs:element name="since" type="xs:date" minOccurs="0"/>
  </xs:sequence></xs:complexType></xs:element>
  <xs:complexType name="Line"><xs:sequence>
    <xs:element name="warehouse" type="xs:string"/><xs:element name="count" type="xs:int"/>
  </xs:sequence></xs:complexType>
  <xs:element name="GetLevelResponse"><xs:complexType><xs:sequence>
    <xs:element name="total" type="xs:int"/>
    <xs:element name="price" type="xs:decimal"/>
    <xs:element name="at" type="xs:dateTime"/>
    <xs:element name="photo" type="xs:base64Binary"/>
    <xs:element name="note" type="xs:string" nillable="true"/>
    <xs:element name="line" type="s:Line" maxOccurs="unbounded" minOccurs="0"/>
  </xs:sequence></xs:complexType></xs:element>
  <xs:element name="Key" type="xs:string"/>
</xs:schema>"""


def wsdl(base: str, *, schema: str | None = None, prolog: str = "", head: str = "") -> str:
    """The description, whose schema is imported from ``schema``."""
    place = schema or f"{base}/types.xsd"
    return f"""<?xml version="1.0"?>{prolog}
<definitions xmlns="http://schemas.xmlsoap.org/wsdl/" xmlns:soap="http://schemas.xmlsoap.org/wsdl/soap/"
  xmlns:xs="http://www.w3.org/2001/XMLSchema" xmlns:s="{NS}" targetNamespace="{NS}" name="Stock">{head}
  <types><xs:schema><xs:import namespace="{NS}" schemaLocation="{place}"/></xs:schema></types>
  <message name="In"><part name="parameters" element="s:GetLevel"/></message>
  <message name="Head"><part name="key" element="s:Key"/></message>
  <message name="Out"><part name="parameters" element="s:GetLevelResponse"/></message>
  <portType name="Stock"><operation name="GetLevel"><input message="s:In"/><output message="s:Out"/></operation>
  </portType>
  <binding name="StockSoap" type="s:Stock">
    <soap:binding transport="http://schemas.xmlsoap.org/soap/http" style="document"/>
    <operation name="GetLevel"><soap:operation soapAction="urn:stock#GetLevel"/>
      <input><soap:header message="s:Head" part="key" use="literal"/><soap:body use="literal"/></input>
      <output><soap:body use="literal"/></output></operation>
  </binding>
  <service name="Stock"><port name="Main" binding="s:StockSoap"><soap:address location="{base}/soap"/></port>
    <port name="Other" binding="s:StockSoap"><soap:address location="{base}/other"/></port></service>
</definitions>"""


def answer(lines: list[str]) -> str:
    """The service's answer for these warehouses."""
    shown = "".join(f"<line><warehouse>{escape(name)}</warehouse><count>2</count></line>" for name in lines)
    return f"""<e:Envelope xmlns:e="{ENVELOPE}" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">
<e:Body><GetLevelResponse xmlns="{NS}"><total>{2 * len(lines)}</total><price>12.50</price>
<at>2025-10-31T12:00:00Z</at><photo>AAEC</photo><note xsi:nil="true"/>{shown}</GetLevelResponse></e:Body>
</e:Envelope>"""


def fault(code: str, text: str) -> str:
    """A fault of SOAP 1.1."""
    return (
        f'<e:Envelope xmlns:e="{ENVELOPE}"><e:Body><e:Fault><faultcode>e:{code}</faultcode>'
        f"<faultstring>{text}</faultstring></e:Fault></e:Body></e:Envelope>"
    )


class Stock:
    """What the service saw, and what it says.

    Attributes:
        asked: method and path of each request.
        headers: of the last request.
        envelopes: what was asked of the service, as parsed.
        says: the status and body of the next answers in place of the right one.
        described: the WSDL in place of the right one.
        schema: that it imports.
    """

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.headers: dict[str, str] = {}
        self.envelopes: list[etree._Element] = []
        self.says: tuple[int, str] | None = None
        self.described: str | None = None
        self.schema = SCHEMA
        self.base = ""
        self._schema = etree.XMLSchema(etree.fromstring(SCHEMA.encode()))

    async def __call__(self, request: web.Request) -> web.Response:
        self.asked.append(f"{request.method} {request.path}")
        self.headers = dict(request.headers)
        if request.method == "GET":
            found = {"/stock": self.described or wsdl(self.base), "/types.xsd": self.schema}.get(request.path)
            return web.Response(status=200 if found else 404, text=found or "", content_type="text/xml")
        status, text = self.says or self._answered(await request.read())
        return web.Response(status=status, text=text, content_type="text/xml")

    def _answered(self, body: bytes) -> tuple[int, str]:
        envelope = etree.fromstring(body)
        self.envelopes.append(envelope)
        content = envelope.find(f"{{{ENVELOPE}}}Body")
        assert content is not None
        if not self._schema.validate(content[0]):
            return 500, fault("Client", f"invalid: {self._schema.error_log.last_error.message}")
        return 200, answer([each.text or "" for each in content[0].findall(f"{{{NS}}}warehouses")])


def data(stock: Stock, **more: Any) -> dict[str, Any]:
    """The data of a node that asks for the level of tea."""
    return {"wsdl": f"{stock.base}/stock", "operation": "GetLevel", "arguments": {"item": "tea"}, **more}
