"""How URLs are read: as a browser reads them, or not at all."""

from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.egress.target import MAX_URL, parse_authority, parse_url
from shared.errors import StepFailedError


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1", "2130706433", "0x7f000001", "0x7F.1", "127.1", "127.0.1", "0177.0.0.1", "017700000001"),
        *(
            "0x7f.0x0.0x0.0x1",
            "127.0.0.1.",
            "0000177.0.0.01",
            "127.0x000000000000000001",
            "127。0。0。1",
            "１２７.0.0.1",
        ),
        *("①②⑦.0.0.1", "127．0．0．1", "127｡0｡0｡1", "0X7f000001"),
    ],
)
def test_every_spelling_of_an_ipv4_address_is_that_address(host: str) -> None:
    """Decimal, octal, hexadecimal, short and full-width forms are one and the same target."""
    target, url = parse_url(f"http://{host}/")
    assert (target.host, target.address, url.raw_host) == ("127.0.0.1", IPv4Address("127.0.0.1"), "127.0.0.1")


@given(st.integers(0, 2**32 - 1))
def test_numeric_hosts_agree_with_their_dotted_form(number: int) -> None:
    """A 32-bit number and its hexadecimal form mean the address of that number."""
    forms = (str(number), hex(number), f"0{number:o}", str(IPv4Address(number)))
    assert {parse_authority("http", form).address for form in forms} == {IPv4Address(number)}


@pytest.mark.parametrize(
    ("text", "sent"),
    [
        ("https://Example.COM", "https://example.com/"),
        ("HTTP://example.com:80/a", "http://example.com/a"),
        ("http://example.com:/a", "http://example.com/a"),
        ("http://example.com:0080/a", "http://example.com/a"),
        ("https://example.com:8443?q=1#part", "https://example.com:8443/?q=1"),
        ("http://example.com./a", "http://example.com/a"),
        ("  http://example.com/a\n", "http://example.com/a"),
        ("http://example.com/a b/ü?q=ü&x=%2f%41+|", "http://example.com/a%20b/%C3%BC?q=%C3%BC&x=%2f%41+|"),
        ('http://example.com/"<>`{}?"<>', "http://example.com/%22%3C%3E%60%7B%7D?%22%3C%3E"),
        ("http://example.com/?back=\\x", "http://example.com/?back=%5Cx"),
        ("http://example.com/?u=http://10.0.0.1/@:", "http://example.com/?u=http://10.0.0.1/@:"),
        ("http://faß.de/", "http://xn--fa-hia.de/"),
        ("http://ⓔxample.com/", "http://example.com/"),
        ("http://[2606:4700:0:0::1111]:8080/", "http://[2606:4700::1111]:8080/"),
        ("http://my_host-1/", "http://my_host-1/"),
        ("http://1.2.3.4.example/", "http://1.2.3.4.example/"),
    ],
)
def test_what_is_sent(text: str, sent: str) -> None:
    """The authority is made canonical, path and query are encoded where they must be and else kept to the letter."""
    assert str(parse_url(text)[1]) == sent


@pytest.mark.parametrize(
    "text",
    [
        *("", "   ", "example.com", "//example.com/", "/path", "http:", "http:/example.com", "http:example.com"),
        *("http://", "http:///path", "http://?q", "http://:80/", "http://./", "http://../", "http://a..b/"),
        *("http://user@example.com/", "http://user:pass@example.com/", "http://@example.com/", "http://a@b@c/"),
        *("http://example.com\\@127.0.0.1/", "http://example.com\\.evil.test/", "http://example.com/\\evil.test"),
        *(
            "http:\\\\example.com/",
            "http://exa\tmple.com/",
            "http://example.com/a\r\nHost: x",
            "http://example.com/\x00",
        ),
        *("http://exa mple.com/", "http://%31%32%37.0.0.1/", "http://example.com%2f/", "http://127.0.0.1%00.test/"),
        *("http://[::1%25eth0]/", "http://[fe80::1%eth0]/", "http://[::1/", "http://::1/", "http://[::1]x/"),
        *("http://[v1.a]/", "http://[127.0.0.1]/", "http://[]/", "http://[[::1]]/", "http://[:::1]/"),
        *("http://example.com:0/", "http://example.com:65536/", "http://example.com:-1/", "http://example.com:8a/"),
        *("http://example.com:+80/", "http://example.com:８０/", "http://example.com:80:80/", "http://a:1e2/"),
        *("http://256.0.0.1/", "http://1.2.3.4.5/", "http://4294967296/", "http://0x100000000/", "http://127.0.0.08/"),
        *("http://1.2.3.256/", "http://1.16777216/", "http://a.1/", "http://foo.0x1/", "http://127.0.0.1../"),
        *(
            "http://exam<ple.com/",
            "http://a,b/",
            "http://a;b/",
            "http://$x/",
            "http://a*b/",
            "http://*/",
            "http://a|b/",
        ),
        *("http://lo\u00adcalhost/", "http://\u202eexample.com/", "http://\ud800.com/", "http://example.com/\ud800"),
        "http://" + "a" * 64 + ".com/",
        "http://" + "a." * 127 + "com/",
        "http://example.com/" + "a" * MAX_URL,
    ],
)
def test_what_parsers_disagree_on_is_refused(text: str) -> None:
    """A URL that different software would read differently, or nobody at all, is no URL."""
    with pytest.raises(StepFailedError) as caught:
        parse_url(text)
    assert caught.value.code == "invalid_url"


@pytest.mark.parametrize(
    "text",
    [
        *("file:///etc/passwd", "gopher://example.com/_x", "ftp://example.com/", "dict://example.com:11211/stats"),
        *("data:text/plain,x", "javascript:alert(1)", "ldap://example.com/", "unix:/var/run/docker.sock", "ws://a/"),
        *("http+unix://%2Fvar%2Frun%2Fdocker.sock/info", "jar:http://example.com!/", "localhost:80/"),
    ],
)
def test_other_schemes_are_refused(text: str) -> None:
    """Only http and https leave."""
    with pytest.raises(StepFailedError) as caught:
        parse_url(text)
    assert caught.value.code == "egress_refused"


@given(st.text(max_size=60), st.sampled_from(["", "http://", "https://[", "http://a:", "http://127.", "HTTP://0x"]))
def test_no_text_breaks_the_parser(text: str, start: str) -> None:
    """Whatever stands in a URL, it is either a target whose URL reads the same again, or refused by name."""
    codes = set()
    try:
        target, url = parse_url(start + text)
    except StepFailedError as error:
        codes.add(error.code)
    else:
        assert (url.scheme, url.raw_host, url.port) == (target.scheme, target.host, target.port)
        assert url.raw_user is None
        assert parse_url(str(url)) == (target, url)
    assert codes <= {"invalid_url", "egress_refused"}


def test_messages_hold_nothing_of_the_url() -> None:
    """A URL that is refused may hold a password or a token, so it is never shown."""
    for text in (
        "http://joe:hunter2@example.com/?t=tok3n",
        "http://example.com:99999/?t=tok3n",
        "ftp://hunter2@x/tok3n",
    ):
        with pytest.raises(StepFailedError) as caught:
            parse_url(text)
        assert "hunter2" not in caught.value.message
        assert "tok3n" not in caught.value.message
