"""Secrets are blanked in every form, whatever they are and wherever they stand."""

import base64
import html
import json
import time
from urllib.parse import quote, quote_plus, urlencode

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from shared.redaction import BLANK, LEAST, Redactor, forms

_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
_SECRET = st.text(st.characters(exclude_categories=["Cs"]), min_size=LEAST, max_size=70)


def _b64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


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
    assert not [form for form in _telling(secret) if form in rest]


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


def test_what_templates_made_of_secrets_is_blanked() -> None:
    """In its plain codings."""
    redactor = Redactor(["a secret of mine"], ["A SECRET OF MINE"])
    assert redactor.text("A SECRET OF MINE, " + _b64(b"A SECRET OF MINE")) == f"{BLANK}, {BLANK}"


@pytest.mark.parametrize("secret", ["a" * 64, "a" * 65_536, "ab" * 500, "a" * 47 + "b"])
def test_time_is_linear_in_the_text(secret: str) -> None:
    """A text made to be slow is as fast as others: under a second of processor time for a megabyte."""
    redactor = Redactor([secret])
    redactor.text("warm")
    for text in ("a" * 1_000_000, ("a" * 60 + "b") * 16_000, "a" * 46 * 20_000, "%61" * 300_000):
        began = time.process_time()
        redactor.text(text)
        assert time.process_time() - began < 1.0
