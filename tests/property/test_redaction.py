"""Secrets are blanked in every form, whatever they are and wherever they stand."""

import base64
import html
import json
import time
from collections.abc import Callable
from urllib.parse import quote, quote_plus, urlencode

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from shared.redaction import BLANK, Redactor
from shared.secret_forms import LEAST, forms
from shared.templates.values import JsonText
from tests.searching import found

_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
_SECRET = st.text(st.characters(exclude_categories=["Cs"]), min_size=LEAST, max_size=70)


def _b64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def _strange(text: str) -> str:
    return "".join(char for char in text if not char.isascii() or char == "\x7f")


def _escaped(text: str, escaped: str, case: Callable[[str], str]) -> str:
    """JSON, some characters of which are written by their numbers."""
    written = []
    for char in text:
        coded = json.dumps(char)[1:-1]
        if char not in escaped:
            coded = char if not char.isascii() or char == "\x7f" else coded
        elif not coded.startswith("\\u"):
            coded = f"\\u{ord(char):04x}"
        written.append(coded if coded[:2] != "\\u" else "\\u".join(map(case, coded.split("\\u"))))
    return f'"{"".join(written)}"'


#: How others write a secret between two texts of theirs.
_ECHOES = {
    "as it is": lambda before, secret, after: before + secret + after,
    "base64": lambda before, secret, after: _b64((before + secret + after).encode()),
    "base64 for URLs": lambda before, secret, after: base64.urlsafe_b64encode(
        (before + secret + after).encode()
    ).decode(),
    "base64 without padding": lambda before, secret, after: _b64(secret.encode()).rstrip("="),
    "a Basic header": lambda before, secret, after: f"Basic {_b64(f'{before}:{secret}'.encode())}",
    "a Basic header in base64": lambda before, secret, after: _b64(f"Basic {_b64(f'u:{secret}'.encode())}".encode()),
    "hexadecimal": lambda before, secret, after: (before + secret).encode().hex(),
    "a URL": lambda before, secret, after: quote(before + secret + after, safe=""),
    "a path": lambda before, secret, after: quote(secret),
    "a form": lambda before, secret, after: urlencode({"a": before, "b": secret}),
    "a query of JavaScript": lambda before, secret, after: (
        quote_plus(secret, safe="!~*'()").lower() if secret.islower() else quote(secret, safe="!~*'()")
    ),
    "JSON": lambda before, secret, after: json.dumps({before: secret}),
    "JSON in UTF-8": lambda before, secret, after: json.dumps([before, secret], ensure_ascii=False),
    "JSON of PHP": lambda before, secret, after: json.dumps(secret).replace("/", "\\/"),
    "JSON of Go": lambda before, secret, after: _escaped(secret, "<>&\u2028\u2029", str.lower),
    "JSON of Gson": lambda before, secret, after: _escaped(secret, "<>&='\u2028\u2029", str.lower),
    "JSON of .NET": lambda before, secret, after: _escaped(secret, "\"&'+<>`" + _strange(secret), str.upper),
    "JSON of Jackson": lambda before, secret, after: _escaped(secret, _strange(secret), str.upper),
    "base64 in lines": lambda before, secret, after: base64.encodebytes((before + secret + after).encode()).decode(),
    "base64 in lines in JSON": lambda before, secret, after: json.dumps(
        base64.encodebytes((before + secret + after).encode()).decode()
    ),
    "JSON in JSON in base64": lambda before, secret, after: _b64(
        json.dumps(json.dumps({"x" + before: secret})).encode()
    ),
    "JSON in JSON": lambda before, secret, after: json.dumps(json.dumps(secret)),
    "JSON in base64": lambda before, secret, after: _b64(json.dumps({"x" + before: secret}).encode()),
    "a URL in base64": lambda before, secret, after: _b64(("?q=" + quote_plus(secret)).encode()),
    "base64 in a URL": lambda before, secret, after: quote(_b64(secret.encode()), safe=""),
    "HTML": lambda before, secret, after: html.escape(before + secret + after),
    "Python": lambda before, secret, after: repr(before + secret) if "'" not in before + secret else repr(secret),
    "Latin-1": lambda before, secret, after: before + secret.encode().decode("latin-1") + after,
}


def _telling(secret: str) -> set[str]:
    """What tells a secret to who finds it: itself, and its base64, but for edges that depend on what stands around."""
    raw = secret.encode()
    inner = {
        encode(bytes(before) + raw).decode().rstrip("=")[-(-before * 8 // 6) : (before + len(raw)) * 8 // 6]
        for before in range(3)
        for encode in (base64.b64encode, base64.urlsafe_b64encode)
    }
    return {secret, quote(secret, safe=""), json.dumps(secret)[1:-1], raw.hex(), *inner}


@pytest.mark.parametrize("echo", _ECHOES)
@settings(max_examples=20)
@given(before=_TEXT, secret=_SECRET, after=_TEXT)
@example(before="", secret='"\\/\n\u2028é%+= &<', after="")
@example(before="a", secret="????>>>>~~~~", after="b")
def test_an_echo_is_blanked(echo: str, before: str, secret: str, after: str) -> None:
    """However it is written, nothing that tells the secret is left."""
    cleaned = Redactor([secret]).text(_ECHOES[echo](before, secret, after))
    assert BLANK in cleaned
    rest = cleaned.replace(BLANK, "\n\0\n")
    joined = rest.replace("\\n", "").replace("\n", "")
    assert not [form for form in _telling(secret) if form in rest or form in joined]


@given(secret=_SECRET, text=_TEXT)
def test_a_text_without_the_secret_is_left_alone(secret: str, text: str) -> None:
    """What no form stands in comes back as it is."""
    if not any(form in text for form in forms(secret)):
        assert Redactor([secret]).text(text) == text


@given(st.lists(_SECRET, min_size=1, max_size=4), st.data())
def test_values_are_blanked_through_and_through(secrets: list[str], data: st.DataObject) -> None:
    """In keys, in lists, in objects, between lone surrogates, and where secrets stand side by side."""
    leaf = st.sampled_from([*secrets, "".join(secrets), f"\ud800{secrets[0]}\udfff", 1, 2.5, None, True])
    value = data.draw(
        st.recursive(leaf, lambda inner: st.dictionaries(st.sampled_from(secrets), inner) | st.lists(inner))
    )
    cleaned = Redactor(secrets).value(value)
    assert not [secret for secret in secrets if secret in repr(cleaned).replace(BLANK, "\n")]


def test_numbers_are_blanked() -> None:
    """A secret of digits that comes back as a JSON number."""
    assert Redactor(["12345678", "1234.56789"]).value({"a": 12345678, "b": 1234.56789, "c": 123456789, "d": 12}) == {
        "a": BLANK, "b": BLANK, "c": BLANK, "d": 12,
    }  # fmt: skip


@given(secret=st.text(st.sampled_from("abc"), min_size=LEAST, max_size=200), kept=st.integers(_HEAD := 4, 200))
def test_a_form_that_was_cut_is_blanked(secret: str, kept: int) -> None:
    """At the end of a text that is long enough to have been cut, with and without an ellipsis."""
    for end in ("", "…", "..."):
        cleaned = Redactor([secret]).text("-" * 300 + secret[: min(kept, len(secret) - 1)] + end)
        assert cleaned == "-" * 300 + BLANK + end


def test_a_long_secret_is_found_whole_cut_and_in_its_codings() -> None:
    """Forms of a secret of 64 KiB are blanked to their ends, and no further."""
    secret = "".join(chr(33 + i * i % 90) for i in range(65_536))
    redactor = Redactor([secret])
    assert redactor.text(f"<{secret}>") == f"<{BLANK}>"
    assert redactor.text(f"<{secret[:60_001]}>") == f"<{BLANK}>"
    assert redactor.text(f"<{quote(secret, safe='')}>") == f"<{BLANK}>"
    assert redactor.value([secret, _b64(secret.encode())]) == [BLANK, BLANK]


_LINES = [_b64(bytes((i * j) % 251 for j in range(1, 49))) for i in range(1, 40)]
_TOKEN = ".".join(line.replace("+", "-").replace("/", "_") for line in _LINES)
#: Secrets, and what of them must not be told.
_LONG = {
    "a key in PEM": ("\n".join(["-----BEGIN KEY-----", *_LINES, "-----END KEY-----", ""]), "\n".join(_LINES)),
    "an account of a service": (json.dumps({"type": "service", "key": "\n".join(_LINES)}), "\n".join(_LINES)),
    "a token of one line": (_TOKEN, _TOKEN),
}
_WRITTEN: dict[str, Callable[[str], str]] = {
    "trimmed": lambda secret: secret.strip(),
    "with CRLF": lambda secret: secret.replace("\n", "\r\n"),
    "as lines": lambda secret: json.dumps(secret.splitlines()),
    "JSON three times": lambda secret: json.dumps(json.dumps(json.dumps(secret))),
    "JSON in base64": lambda secret: _b64(json.dumps({"body": secret}).encode()),
    "JSON in JSON in base64": lambda secret: _b64(json.dumps(json.dumps({"body": secret})).encode()),
    "JSON in base64 in lines": lambda secret: base64.encodebytes(json.dumps(secret).encode()).decode(),
    "a URL": quote,
    "JSON that was cut": lambda secret: json.dumps({"said": secret})[:2048],
    "JSON of .NET": lambda secret: _escaped(secret, "\"&'+<>`", str.upper),
}


@pytest.mark.parametrize("secret", _LONG)
@pytest.mark.parametrize("way", _WRITTEN)
def test_a_long_secret_is_found_in_several_codings(secret: str, way: str) -> None:
    """Keys of several lines, and of one: nothing is left that a search finds which takes codings off."""
    whole, telling = _LONG[secret]
    echo = _WRITTEN[way](whole)
    assert found(echo, {telling}), "the search finds what is there"
    assert found(Redactor([whole]).text(echo), {telling}) == set()


def test_a_character_that_was_cut_hides_nothing() -> None:
    """A text whose bytes were cut ends in the sign for a broken character."""
    secret = "é" * 20 + "-secret-" + "ü" * 20
    for size in range(290, 350):
        text = ("-" * 280 + secret).encode()[:size].decode("utf-8", "replace")
        assert "éé" not in Redactor([secret]).text(text)


def test_many_secrets_cost_little_for_each_text() -> None:
    """What a run with a hundred secrets leaves behind may be thousands of texts: each under a tenth of a ms."""
    redactor = Redactor([f"{i * 7919:08x}-secret-<{i}>" for i in range(100)])
    texts = ["-" * 300] * 4_000
    redactor.value(texts[:1])
    began = time.process_time()
    redactor.value(texts)
    assert time.process_time() - began < 0.4


def test_what_templates_made_of_secrets_is_blanked() -> None:
    """In its plain codings."""
    redactor = Redactor(["a secret of mine"], [JsonText("A SECRET OF MINE")])
    assert redactor.text("A SECRET OF MINE, " + _b64(b"A SECRET OF MINE")) == f"{BLANK}, {BLANK}"


@pytest.mark.parametrize("secret", ["a" * 64, "a" * 65_536, "ab" * 500, "a" * 47 + "b"])
def test_time_is_linear_in_the_text(secret: str) -> None:
    """A text made to be slow is as fast as others: under a second of processor time for a megabyte."""
    redactor = Redactor([secret])
    redactor.text("warm")
    lines = ("a" * 76 + "\n", "a" * 70 + "\\n", "a" * 59 + "\n", "\\n", "aaaaaaaaaa\\n", "a fox jumps over a dog\n")
    texts = [line * (1_000_000 // len(line)) for line in lines]
    for text in ("a" * 1_000_000, ("a" * 60 + "b") * 16_000, "a" * 46 * 20_000, "%61" * 300_000, *texts):
        began = time.process_time()
        redactor.text(text)
        assert time.process_time() - began < 1.0
