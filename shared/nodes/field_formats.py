"""Rules of ``validate`` about what a value is, and how a text is written."""

import json
from collections.abc import Callable, Mapping
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final
from urllib.parse import urlsplit
from uuid import UUID

from shared.errors import StepFailedError
from shared.nodes.date_comparisons import checked_zone
from shared.nodes.field_checks import Arguments, Asked, Subject, Test
from shared.nodes.operands import number_of, truth_of
from shared.templates.regexes import compiled
from shared.templates.values import text_of

#: Characters of an address or a URL.
_LONGEST: Final = 2_048
_LETTERS: Final = r"^[\pL\pM]+$"
_BOOLEANS: Final = ("true", "false", "1", "0")


def _matching(expression: str) -> Test:
    def test(subject: Subject, _: Arguments) -> bool:
        found = isinstance(subject.value, (str, int)) and not isinstance(subject.value, bool)
        return found and compiled(expression).search(text_of(subject.value)) is not None

    return test


def _read(read: Callable[[str], object]) -> Test:
    """Whether a text can be read so without an error, and not as False."""

    def test(subject: Subject, _: Arguments) -> bool:
        if not isinstance(subject.value, str) or len(subject.value) > _LONGEST:
            return False
        try:
            return read(subject.value) is not False
        except (ValueError, StepFailedError, RecursionError):
            return False

    return test


def _is_email(text: str) -> bool:
    found = compiled(r"^[^\s@<>()\[\],;:\\\"]+@([A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?\.)+[A-Za-z]{2,}$").search(text)
    return found is not None and len(text) <= 254 and ".." not in text


def _is_url(text: str) -> bool:
    parts = urlsplit(text)
    return parts.scheme in ("http", "https") and bool(parts.hostname) and not any(map(str.isspace, text))


def _is_json(subject: Subject, _: Arguments) -> bool:
    try:
        json.loads(subject.value)
    except (TypeError, ValueError, RecursionError):
        return False
    return isinstance(subject.value, str)


def _is_integer(subject: Subject, _: Arguments) -> bool:
    found = number_of(subject.value)
    return found is not None and found == int(found)


def _typed(*types: type) -> Test:
    return lambda subject, _: isinstance(subject.value, types)


#: By name; none takes arguments.
FORMATS: Final[Mapping[str, Asked]] = {
    "string": Asked(_typed(str), "must be text"),
    "integer": Asked(_is_integer, "must be a whole number"),
    "numeric": Asked(lambda subject, _: number_of(subject.value) is not None, "must be a number"),
    "boolean": Asked(
        lambda subject, _: truth_of(subject.value) is not None and text_of(subject.value).lower() in _BOOLEANS,
        "must be true, false, 1 or 0",
    ),
    "array": Asked(_typed(list, dict), "must be a list or an object"),
    "list": Asked(_typed(list), "must be a list"),
    "object": Asked(_typed(dict), "must be an object"),
    "email": Asked(_read(_is_email), "must be an e-mail address"),
    "url": Asked(_read(_is_url), "must be an http or https URL"),
    "uuid": Asked(_read(lambda text: len(text) == 36 and UUID(text)), "must be a UUID"),
    "ulid": Asked(_matching(r"^[0-7][0-9A-HJKMNP-TV-Za-hjkmnp-tv-z]{25}$"), "must be a ULID"),
    "ip": Asked(_read(ip_address), "must be an IP address"),
    "ipv4": Asked(_read(IPv4Address), "must be an IPv4 address"),
    "ipv6": Asked(_read(IPv6Address), "must be an IPv6 address"),
    "mac_address": Asked(_matching(r"^([0-9A-Fa-f]{2}([:-]|$)){6}$"), "must be a MAC address"),
    "timezone": Asked(_read(checked_zone), "must be an IANA time zone"),
    "json": Asked(_is_json, "must be JSON text"),
    "alpha": Asked(_matching(_LETTERS), "must have letters alone"),
    "alpha_num": Asked(_matching(r"^[\pL\pM\pN]+$"), "must have letters and digits alone"),
    "alpha_dash": Asked(_matching(r"^[\pL\pM\pN_-]+$"), "must have letters, digits, - and _ alone"),
    "ascii": Asked(lambda subject, _: isinstance(subject.value, str) and subject.value.isascii(), "must be ASCII"),
    "lowercase": Asked(lambda subject, _: subject.value == text_of(subject.value).lower(), "must be in lower case"),
    "uppercase": Asked(lambda subject, _: subject.value == text_of(subject.value).upper(), "must be in upper case"),
    "hex_color": Asked(
        _matching(r"^#([0-9A-Fa-f]{3,4}|[0-9A-Fa-f]{6}|[0-9A-Fa-f]{8})$"), "must be a colour such as #1a2b3c"
    ),
}
