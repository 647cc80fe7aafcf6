"""What an endpoint may be, and what leads out of a base URL."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.egress.target import parse_url
from shared.errors import StepFailedError
from shared.nodes.api_endpoint import fault_of, url_below

BASE = "https://api.example.com:8443/v1"


@pytest.mark.parametrize(
    ("endpoint", "url"),
    [
        ("/users", f"{BASE}/users"),
        ("users/7", f"{BASE}/users/7"),
        ("", BASE),
        ("?a=1", f"{BASE}?a=1"),
        ("/users?filter[status]=new&to=https://evil.example/../x", None),
        ("/a..b/...", f"{BASE}/a..b/..."),
        ("/a:b/c@d", f"{BASE}/a:b/c@d"),
        ("/caf%C3%A9/%2f", f"{BASE}/caf%C3%A9/%2f"),
    ],
)
def test_legal_endpoints(endpoint: str, url: str | None) -> None:
    """A path with or without a slash before it, and a query; what it holds stays as it is."""
    assert fault_of(endpoint) is None
    assert url_below(BASE, endpoint) == (url or BASE + endpoint)


@pytest.mark.parametrize(
    "endpoint",
    [
        "//evil.example/x",
        "///evil.example",
        "https://evil.example/",
        "HTTPS:evil.example",
        "javascript:alert(1)",
        "\\\\evil.example",
        "/\\evil.example",
        "/..",
        "/../admin",
        "..",
        "../admin",
        "/users/../../admin",
        "/%2e%2e/admin",
        "/%2E./admin",
        "/.%2e/admin",
        "/%252e%252e/admin",
        "/%25252e%25252e/admin",
        "/x/..%2f..%2fadmin",
        "/x/..%5cadmin",
        "/x/..;/admin",
        "/x/..;a=b/admin",
        "/x/..%3b/admin",
        "/%00",
        "/x\r\nHost: evil.example",
        "/x\nX-Other: 1",
        "/x y",
        "/x\t",
        "/x#fragment",
        "/x\x00",
        "\x0b//evil.example",
    ],
)
def test_what_leads_out_is_refused(endpoint: str) -> None:
    """No scheme, no host, no way up, also behind percent-encoding and parameters, and nothing that breaks a line."""
    assert fault_of(endpoint) is not None
    with pytest.raises(StepFailedError) as caught:
        url_below(BASE, endpoint)
    assert caught.value.code == "invalid_endpoint"
    assert "evil" not in caught.value.message


@pytest.mark.parametrize("endpoint", ["@evil.example/", ".evil.example/", ":99/", "/x"])
@pytest.mark.parametrize("base", ["https://api.example.com", "https://api.example.com/v1", "http://[::1]:8080"])
def test_nothing_is_glued_to_the_host(base: str, endpoint: str) -> None:
    """An endpoint without a slash gets one, so that it cannot become a part of the host or its port."""
    there, url = parse_url(url_below(base, endpoint))
    here, below = parse_url(base)
    assert there == here
    assert url.raw_path.startswith(below.raw_path.rstrip("/") + "/")


@given(st.text(st.sampled_from("/.%2eEfF5c\\;:@#?\t\n xa\u00e9"), max_size=24))
def test_whatever_stands_there(endpoint: str) -> None:
    """Any endpoint is refused, or its URL is at the base URL's origin and below its path."""
    try:
        url = url_below(BASE, endpoint)
    except StepFailedError:
        return
    there, made = parse_url(url)
    assert there == parse_url(BASE)[0]
    assert made.raw_path == "/v1" or made.raw_path.startswith("/v1/")
    assert ".." not in made.path.split("/")
