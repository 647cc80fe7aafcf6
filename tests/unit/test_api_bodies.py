"""Reading JSON bodies: what is taken, and the place of what is wrong."""

import math

import pytest

from api import bodies
from api.bodies import MAX_DEPTH, check, duplicates, is_json, parse
from shared.errors import BadRequestError
from tests.bench.graphs import payload


@pytest.mark.parametrize(
    ("body", "place"),
    [
        (b"", "line 1, column 1"),
        (b'{"a": 1,}', "line 1, column 9"),
        (b'{\n "a": tru\n}', "line 2, column 7"),
        (b"{} {}", "line 1, column 4"),
        (b'{"a": NaN}', "NaN is not a JSON value"),
        (b"[-Infinity]", "-Infinity is not a JSON value"),
        (b"[1e400]", "out of range"),
        (b"[-" + b"9" * 5_000 + b"]", "more than 4000 digits"),
        (b'"\xff"', "byte 1"),
        (b"\xef\xbb\xbf{}", "line 1, column 1"),
    ],
)
def test_malformed_json_names_its_place(body: bytes, place: str) -> None:
    """The message says where reading stopped, or which value is not legal."""
    for read in (parse, check):
        with pytest.raises(BadRequestError) as caught:
            read(body)
        assert caught.value.code == "malformed_json"
        assert place in caught.value.message


@pytest.mark.parametrize(
    "body",
    [
        b'{"a": "\\ud800"}',  # a lone surrogate
        b"[-" + b"9" * 4_000 + b"]",
        b"[12345678901234567890123, 1e308, -0.0, 1E-999]",
        b'{"a": 1, "a": "\\u0000"}',
        b" \n[\ttrue ]\r ",
    ],
)
def test_what_is_read_passes_the_check(body: bytes) -> None:
    """Checking takes every document that reading takes."""
    parse(body)
    check(body)


def test_a_large_body_is_checked_without_its_values(monkeypatch: pytest.MonkeyPatch) -> None:
    """No object is made of a body that nobody looks into; only what the strict reader refuses is read."""
    read: list[bytes] = []
    monkeypatch.setattr(bodies, "parse", read.append)
    check(payload(160_000))
    assert read == []
    check(b'["\\ud800"]')
    assert read == [b'["\\ud800"]']


def test_lone_surrogates_and_nul_are_values() -> None:
    """What JSON allows as an escape is read, also where the fast reader refuses it."""
    assert parse(b'{"a": "\\ud800", "b": "\\u0000"}') == {"a": "\ud800", "b": "\x00"}


def test_nesting_is_limited_by_depth_and_not_by_size() -> None:
    """Up to 200 levels are read, one more is not, and long flat documents and brackets in texts do not count."""
    assert parse(b"[" * MAX_DEPTH + b"]" * MAX_DEPTH)
    assert len(parse(b"[" + b"[]," * 5000 + b"{}]")) == 5001
    assert parse(b'"' + b"[{" * 1000 + b'\\"[["')
    for deep in (b"[" * 201 + b"]" * 201, b'{"a":' * 201 + b"1" + b"}" * 201, b"[" * 100_000):
        for read in (parse, check):
            with pytest.raises(BadRequestError) as caught:
                read(deep)
            assert caught.value.code == "json_too_deep"


@pytest.mark.parametrize("text", ["[" * 150 + "]" * 150, "[[]]" * 100, "]" * 500, "[" + "]" * 300])
def test_unbalanced_brackets_are_told_one_way_or_the_other(text: str) -> None:
    """Brackets that do not match are never taken for a document, whatever their number."""
    if text == "[" * 150 + "]" * 150:
        assert parse(text.encode())
        return
    with pytest.raises(BadRequestError):
        parse(text.encode())


@pytest.mark.parametrize(
    ("content_type", "expected"),
    [
        ("application/json", True),
        ("application/json; charset=UTF-8", True),
        ("application/problem+json", True),
        ("Application/JSON", True),
        ("application/json; charset=utf-16", False),
        ("text/plain", False),
        ("text/json5", False),
        ("", False),
    ],
)
def test_json_by_content_type(content_type: str, expected: bool) -> None:
    """JSON and everything that ends in +json, in UTF-8, is JSON."""
    assert is_json(content_type) is expected


def test_large_integers_are_exact() -> None:
    """An integer of any size is read without loss, a number with a fraction as a float."""
    assert parse(b"123456789012345678901234567890") == 123456789012345678901234567890
    assert math.isclose(parse(b"1.5"), 1.5)


@pytest.mark.parametrize(
    ("body", "paths"),
    [
        (b'{"a": 1, "b": {"a": 2}, "c": [{"a": 1}, {"a": 1}]}', []),
        (b'{"a": 1, "a": 1}', ["a"]),
        (b'{"nodes": [{}, {"data": {"x": 1, "y": 2, "x": 3, "y": 4}}]}', ["nodes[1].data.x", "nodes[1].data.y"]),
        (b'{"a": {"b": 1, "b": 2}, "c": 0, "c": {"d": 1, "\\u0064": 2}}', ["c", "a.b", "c.d"]),
        (b'{"a": ' + b"9" * 3000 + b', "\\ud800": 1, "\\ud800": 2}', ["\\ud800"]),
    ],
)
def test_keys_that_stand_twice_are_found(body: bytes, paths: list[str]) -> None:
    """Each is a fault with its path, however its name is spelled; equal keys of different objects are none."""
    assert [fault.path for fault in duplicates(body)] == paths
