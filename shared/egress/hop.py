"""One hop of an exchange, and the hop that a redirect makes of it.

As the Fetch standard's HTTP-redirect fetch, except that another origin sees harmless header fields alone, and no body.
"""

import re
from typing import NamedTuple
from urllib.parse import urljoin

from yarl import URL

from shared.egress.fields import Headers, check_headers, for_other_origin, without_body
from shared.egress.target import Target, parse_url
from shared.errors import StepFailedError

MAX_REDIRECTS = 10
_METHOD = re.compile(r"[A-Za-z]{1,32}")
_REFUSED_METHODS = frozenset(("CONNECT", "TRACE"))
_REDIRECTS = frozenset((301, 302, 303, 307, 308))


class Hop(NamedTuple):
    """What is sent to one target.

    Attributes:
        url: with canonical authority; what `target` was read from.
        body: None to send none.
    """

    method: str
    target: Target
    url: URL
    headers: Headers
    body: bytes | None


def first_hop(method: str, url: str, headers: Headers, body: bytes | None) -> Hop:
    """Check and canonicalise a request.

    Raises:
        StepFailedError: ``invalid_url``, ``invalid_header`` or ``egress_refused``.
    """
    if not _METHOD.fullmatch(method) or method.upper() in _REFUSED_METHODS:
        raise StepFailedError("egress_refused", "A method is up to 32 letters and neither CONNECT nor TRACE.")
    check_headers(headers)
    target, parsed = parse_url(url)
    return Hop(method.upper(), target, parsed, headers, body)


def next_hop(hop: Hop, status: int, location: str | None) -> Hop | None:
    """The hop a redirect leads to, or None if the answer is no redirect.

    Raises:
        StepFailedError: ``invalid_url`` or ``egress_refused`` for the place it names; ``egress_refused`` as well if a
            body would go to another origin, for a body may hold secrets as headers do, and nothing tells which.
    """
    if status not in _REDIRECTS or location is None:
        return None
    target, url = parse_url(_joined(str(hop.url), location))
    method, headers, body = hop.method, hop.headers, hop.body
    if (status == 303 and method not in ("GET", "HEAD")) or (status in (301, 302) and method == "POST"):
        method, headers, body = "GET", without_body(headers), None
    if target != hop.target:
        if body and not _is_upgrade(hop.target, target):
            raise _body_elsewhere(hop.target, target, status)
        headers = for_other_origin(headers)
    return Hop(method, target, url, headers, body)


def _is_upgrade(before: Target, after: Target) -> bool:
    """Whether it is the same host over TLS, each at its usual port: whoever answers there has seen the body already."""
    return (before.scheme, before.port, after.scheme, after.port, after.host) == ("http", 80, "https", 443, before.host)


def _body_elsewhere(before: Target, after: Target, status: int) -> StepFailedError:
    message = (
        f"{before.origin} redirects the call to {after.origin} ({status}), and a body goes to no other origin than "
        "the one that the node names. If it is meant to go there, name that URL in the node."
    )
    return StepFailedError("egress_refused", message, http_status=status)


def _joined(base: str, location: str) -> str:
    try:
        return urljoin(base, location)
    except ValueError:
        raise StepFailedError("invalid_url", "A redirect names a place that is not a URL.") from None
