"""Where a URL points: its scheme, canonical host and port, read as a browser would read them or not at all.

Follows the WHATWG URL standard's host parser (numbers in decimal, octal, hexadecimal and short form, IDNA dots and
digits), and refuses what parsers are known to disagree on: user information, backslashes before the query, control
characters, percent-encoded hosts and zone identifiers.
"""

import re
from functools import lru_cache
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from typing import NamedTuple
from urllib.parse import quote

from yarl import URL

from shared.egress.addresses import Address
from shared.errors import StepFailedError

MAX_URL = 16_384
_DEFAULT_PORTS = {"http": 80, "https": 443}
_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):(//)?([^/?#]*)([^#]*)", re.DOTALL)
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_BLANK_ENDS = " \t\r\n\f"
_HOST_PORT = re.compile(r"(\[[^\[\]]*\]|[^:\[\]]*)(?::([0-9]*))?")
_NAME = re.compile(r"(?=.{1,253}\Z)[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_PLAIN = re.compile(r"[A-Za-z0-9%/?:@!$&'()*+,;=._~\[\]|^-]*")
_KEPT = "%/?:@!$&'()*+,;=._~[]|^-"


class Target(NamedTuple):
    """One origin; equal targets are the same origin.

    Attributes:
        scheme: ``http`` or ``https``.
        host: in lower case and ASCII; an IPv6 address without brackets.
        port: 1 to 65535.
        address: the host as an address, or None for a name.
    """

    scheme: str
    host: str
    port: int
    address: Address | None

    def __hash__(self) -> int:
        """An address follows from its host, and its own hash is slow."""
        return hash(self[:3])

    @property
    def origin(self) -> str:
        """It as a URL without a path: ``https://example.com:8443``."""
        return f"{self.scheme}://{self.authority}"

    @property
    def authority(self) -> str:
        """Host and port as a URL shows them."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"


@lru_cache(maxsize=1024)
def parse_url(text: str) -> tuple[Target, URL]:
    """The target of a URL, and the URL as it is sent: canonical authority, path and query as given, no fragment.

    Blanks around it are dropped. What needs percent-encoding is encoded; what is encoded already stays as it is.

    Raises:
        StepFailedError: ``invalid_url``; ``egress_refused`` for another scheme. Messages never show the URL.
    """
    text = text.strip(_BLANK_ENDS)
    if len(text) > MAX_URL or _CONTROL.search(text):
        raise _invalid(f"A URL is at most {MAX_URL} characters, none of them a control character.")
    match = _URL.fullmatch(text.partition("#")[0])
    if match is None:
        raise _invalid("A URL starts with http:// or https://.")
    scheme, slashes, authority, rest = match.groups()
    scheme = scheme.lower()
    if scheme not in _DEFAULT_PORTS:
        raise StepFailedError("egress_refused", "Only http and https URLs are called.")
    if not slashes:
        raise _invalid(f"{scheme}: is followed by // and a host.")
    target = parse_authority(scheme, authority)
    return target, URL(f"{scheme}://{target.authority}{_path_and_query(rest)}", encoded=True)


def _path_and_query(rest: str) -> str:
    if "\\" in rest.partition("?")[0]:
        raise _invalid("A URL has no backslash before its query.")
    if not rest.startswith("/"):
        rest = f"/{rest}"
    if _PLAIN.fullmatch(rest):
        return rest
    try:
        return quote(rest, safe=_KEPT, errors="surrogateescape")
    except UnicodeEncodeError:
        raise _invalid("A URL is made of Unicode characters; this one has half of a surrogate pair.") from None


@lru_cache(maxsize=4096)
def parse_authority(scheme: str, authority: str) -> Target:
    """The target of ``host`` or ``host:port``.

    Raises:
        StepFailedError: ``invalid_url``.
    """
    if "@" in authority:
        raise _invalid("A URL carries no user name or password; credentials go into a header.")
    match = _HOST_PORT.fullmatch(authority)
    if match is None:
        raise _invalid("A URL names one host, with an optional port of decimal digits.")
    host, digits = match.groups()
    name, address = parse_host(host)
    return Target(scheme, name, _port(digits) if digits else _DEFAULT_PORTS[scheme], address)


def _port(digits: str) -> int:
    port = int(digits) if len(digits) <= 20 else 0
    if not 1 <= port <= 65_535:
        raise _invalid("A port is between 1 and 65535.")
    return port


def parse_host(text: str) -> tuple[str, Address | None]:
    """A host in canonical form, and as an address if it is one; IPv6 stands in brackets.

    Raises:
        StepFailedError: ``invalid_url``.
    """
    if text.startswith("["):
        address = _ipv6(text[1:-1])
        return str(address), address
    name = _ascii(text).removesuffix(".")
    if not _NAME.fullmatch(name):
        raise _invalid("A host is a name of letters, digits, hyphens and dots, or an address.")
    if _NUMBER.fullmatch(name.rpartition(".")[2]):
        v4 = _ipv4(name)
        return str(v4), v4
    return name, None


def _ascii(text: str) -> str:
    """The host in lower case, in Punycode where it has other characters (UTS 46)."""
    if text.isascii():
        return text.lower()
    try:
        return (URL.build(scheme="http", host=text).raw_host or "").lower()
    except ValueError:
        raise _invalid("The host is not a valid internationalised name.") from None


def _ipv6(text: str) -> IPv6Address:
    try:
        if "%" in text:
            raise _invalid("A host has no zone identifier.")
        return IPv6Address(text)
    except AddressValueError:
        raise _invalid("The host in brackets is not an IPv6 address.") from None


def _ipv4(name: str) -> IPv4Address:
    """The address of one to four numbers in any base; the last one fills what the others leave."""
    parts = name.split(".")
    try:
        numbers = [_number(part) for part in parts]
    except ValueError:
        raise _invalid("A host that ends in a number is an IPv4 address; this one is not.") from None
    if len(parts) > 4 or any(number > 255 for number in numbers[:-1]) or numbers[-1] >= 256 ** (5 - len(parts)):
        raise _invalid("A host that ends in a number is an IPv4 address; this one is out of range.")
    return IPv4Address(sum(number << 8 * (3 - place) for place, number in enumerate(numbers[:-1])) + numbers[-1])


def _number(text: str) -> int:
    if text.startswith("0x"):
        return int(text[2:] or "0", 16)
    return int(text, 8 if text.startswith("0") else 10)


def _invalid(message: str) -> StepFailedError:
    return StepFailedError("invalid_url", message)
