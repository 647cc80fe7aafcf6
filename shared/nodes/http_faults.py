"""Faults of URLs and header fields that show before anything is sent, for every node type that sends HTTP."""

from typing import Any

from shared.egress.fields import check_headers
from shared.egress.target import parse_url
from shared.errors import StepFailedError
from shared.nodes.http_request import headers_of
from shared.templates import is_template

Faults = list[tuple[str, str]]


def url_faults(url: str, path: str = "url") -> Faults:
    """The fault of a URL that is no template, in the form of `NodeType.check`."""
    if is_template(url):
        return []
    try:
        parse_url(url)
    except StepFailedError as error:
        return [(path, error.message)]
    return []


def header_faults(headers: Any) -> Faults:
    """The faults of the header fields that are no templates, however they are given."""
    if isinstance(headers, str):  # one template for all of them
        return []
    faults = []
    if isinstance(headers, list):
        headers = [pair if isinstance(pair, dict) else {"key": pair, "value": pair} for pair in headers]
    for place, name, value in headers_of(headers):
        if is_template(name) or is_template(value):
            continue
        try:
            check_headers([(name, value)])
        except StepFailedError as error:
            faults.append((f"headers{place}", error.message))
    return faults
