"""``string_transform``: what each operation gives, and what it refuses."""

import base64
import hashlib
import hmac
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, ClassVar
from uuid import UUID

import msgspec
import pytest

from shared.errors import StepFailedError
from shared.nodes.registry import default_registry
from shared.nodes.string_codes import ALPHABETS
from shared.nodes.string_operations import KINDS
from shared.nodes.string_transform import Data, StringTransform
from tests.compiling import compile_node

NOW = datetime(2025, 10, 31, 12, tzinfo=UTC)


def changed(value: Any, *operations: Any) -> Any:
    """What these operations make of a value."""
    node = compile_node("n2", "string_transform", {"input": value, "operations": list(operations)})
    return node.run({}, lambda: NOW).output["result"]


def failure(value: Any, *operations: Any) -> str:
    """The message of the failed step."""
    with pytest.raises(StepFailedError) as caught:
        changed(value, *operations)
    assert caught.value.code == "invalid_data"
    return caught.value.message


def faults(**data: Any) -> list[tuple[str, str]]:
    """The paths and messages of what is wrong with this data when it is saved."""
    return [(fault.path, fault.message) for fault in default_registry().check("string_transform", data, "d")[0]]


@pytest.mark.parametrize(
    ("value", "operation", "wanted"),
    [
        ("  a b ", "trim", "a b"),
        ("  a ", "trim_start", "a "),
        ("  a ", "trim_end", "  a"),
        ("--a-", {"type": "trim", "characters": "-"}, "a"),
        (" a \n  b ", "squish", "a b"),
        ("Straße", "upper", "STRASSE"),
        ("ÄB", "lower", "äb"),
        ("it's o'neil-smith", "title", "It's O'neil-Smith"),
        ("ab CD", "capitalize", "Ab CD"),
        ("user ID-number", "camel", "userIdNumber"),
        ("user_id", "pascal", "UserId"),
        ("parseHTTPResponse now", "snake", "parse_http_response_now"),
        ("UserID", "kebab", "user-id"),
        ("Äpfel & Birnen, süß!", "slug", "apfel-birnen-suss"),
        ("a b", {"type": "slug", "separator": "_"}, "a_b"),
        ("Crème Łódź", "ascii", "Creme Lodz"),
        ("aXbXc", {"type": "replace", "search": "X", "replace": "-"}, "a-b-c"),
        ("aXbXc", {"type": "replace", "search": "X", "count": 1}, "abXc"),
        ("a1b1", {"type": "replace", "search": 1, "replace": 2}, "a2b2"),
        ("aXbX", {"type": "remove", "search": "X"}, "ab"),
        ("ab12é3", {"type": "regex_replace", "pattern": r"(\d)", "replace": r"<\1>"}, "ab<1><2>é<3>"),
        ("aAb", {"type": "regex_replace", "pattern": "/A/i", "replace": "é$1"}, "é$1é$1b"),
        ("x", {"type": "regex_replace", "pattern": "(?P<n>x)", "replace": r"\g<n>\g<n>\\\n"}, "xx\\\n"),
        ("id=42", {"type": "regex_extract", "pattern": "id=([0-9]+)", "group": 1}, "42"),
        ("none", {"type": "regex_extract", "pattern": "[0-9]+"}, None),
        ("#a #b", {"type": "regex_extract_all", "pattern": "#([a-z])", "group": 1}, ["a", "b"]),
        ("a, b;c", {"type": "regex_split", "pattern": "[,;] *"}, ["a", "b", "c"]),
        ("a,b,c", "split", ["a", "b", "c"]),
        ("a|b|c", {"type": "split", "separator": "|", "count": 2}, ["a", "b|c"]),
        ("abc", {"type": "split", "separator": ""}, ["a", "b", "c"]),
        (["a", 1, None], {"type": "join", "separator": "-"}, "a-1-"),
        ("abcdef", {"type": "slice", "start": 1, "end": -1}, "bcde"),
        ("abcdef", {"type": "slice", "start": -3, "length": 2}, "de"),
        ([1, 2, 3], {"type": "slice", "start": 1}, [2, 3]),
        ("7", {"type": "pad", "length": 3, "fill": "0", "side": "start"}, "007"),
        ("a", {"type": "pad", "length": 4}, "a   "),
        ("a", {"type": "pad", "length": 4, "fill": "xy", "side": "both"}, "xaxy"),
        ("abcdef", {"type": "truncate", "length": 5}, "ab..."),
        ("abcdef", {"type": "truncate", "length": 4, "omission": "…"}, "abc…"),
        ("abc", {"type": "truncate", "length": 3}, "abc"),
        ("ab", {"type": "repeat", "count": 3}, "ababab"),
        ("a", {"type": "append", "value": "b"}, "ab"),
        ("a", {"type": "prepend", "value": 5}, "5a"),
        ("abc", "reverse", "cba"),
        ("aé", "length", 2),
        ([1, 2, 3], "length", 3),
        ("é?", "base64", "w6k/"),
        ("w6k/", {"type": "base64", "direction": "decode"}, "é?"),
        ("w6k_", "base64_decode", "é?"),
        ("é?", "base64url_encode", "w6k_"),
        ("a b/é", "url", "a%20b%2F%C3%A9"),
        ("a+b%2F%C3%A9", "url_decode", "a b/é"),
        ("é", "hex_encode", "c3a9"),
        ("c3a9", "hex_decode", "é"),
        ("<a & 'b'>", "html_encode", "&lt;a &amp; &#x27;b&#x27;&gt;"),
        ("&lt;&eacute;", "html_decode", "<é"),
        ("a", "hash", hashlib.sha256(b"a").hexdigest()),
        ("a", {"type": "hash", "algorithm": "md5", "encoding": "base64"}, "DMF1ucDxtqgxw5niaXcmYQ=="),
        ("a", {"type": "hmac", "key": "k"}, hmac.digest(b"k", b"a", "sha256").hex()),
        (
            "a",
            {"type": "hmac", "key": "k", "algorithm": "sha512", "encoding": "base64"},
            base64.b64encode(hmac.digest(b"k", b"a", "sha512")).decode(),
        ),
        (5, "length", 1),
        (None, {"type": "append", "value": "x"}, "x"),
        ({"a": 1}, "upper", '{"A":1}'),
        (["a ", " b"], "trim", ["a", "b"]),
        ("\ud800é", "hash", hashlib.sha256("?é".encode()).hexdigest()),
    ],
)
def test_operations(value: Any, operation: Any, wanted: Any) -> None:
    """Each operation gives what its name says; it is saved without a fault."""
    assert faults(input="x", operations=[operation]) == []
    assert changed(value, operation) == wanted


def test_one_after_the_other() -> None:
    """Operations work on what the one before gave, on lists item by item, with parameters out of templates."""
    operations = [
        {"type": "split", "separator": "{{ n1.by }}"},
        "trim",
        {"type": "pad", "length": "{{ n1.width }}", "fill": 0, "side": "start"},
        {"type": "join", "separator": "{{ n1.by }}"},
    ]
    data = {"input": "{{ n1.text }}", "operations": operations}
    assert faults(**data) == []
    node = compile_node("n2", "string_transform", data)
    scope = {"n1": {"text": "1; 2 ;3", "by": ";", "width": 2}}
    assert node.run(scope, lambda: NOW).output == {"result": "01;02;03"}


class Counted(StringTransform):
    """Its random bytes count up."""

    component_id = "string_transform_counted"
    source: ClassVar[Iterator[int]] = iter(range(1_000_000))

    @staticmethod
    def entropy(count: int) -> bytes:  # type: ignore[override] # a function as any other
        return bytes(next(Counted.source) % 256 for _ in range(count))


def test_uuids_are_of_their_version() -> None:
    """Version 4 is random, version 7 begins with the time; both come without an input."""
    first, second = (UUID(changed("", {"type": "uuid", "version": 4})) for _ in range(2))
    assert (first.version, first.variant) == (4, second.variant)
    assert first != second
    timed = UUID(changed("", {"type": "uuid", "version": 7}))
    assert (timed.version, timed.int >> 80) == (7, int(NOW.timestamp() * 1000))
    assert faults(operations=["uuid"]) == []


def test_random_text() -> None:
    """Random text has its length and is made of its alphabet alone; each call gives another."""
    for name, alphabet in ALPHABETS.items():
        made = changed("", {"type": "random", "length": 200, "alphabet": name})
        assert len(made) == 200
        assert {*made} <= {*alphabet}
    assert {*changed("", {"type": "random", "length": 300, "characters": "ab"})} == {"a", "b"}
    assert len(changed("", "random")) == 16
    assert changed("", "random") != changed("", "random")


def test_randomness_is_a_parameter() -> None:
    """With a source that counts, the text is that of the source, which every character comes from."""
    operations = [{"type": "random", "length": 4, "alphabet": "digits"}]
    made = Counted().run_at(msgspec.convert({"operations": operations}, Data), lambda: NOW).output["result"]
    numbers = [int.from_bytes(bytes(range(8 * at, 8 * at + 8)), "big") % 10 for at in range(4)]
    assert made == "".join(map(str, numbers))


@pytest.mark.parametrize(
    ("operations", "path", "reason"),
    [
        (["tirm"], "d.operations[0]", '"trim"'),
        ([{"type": "tirm"}], "d.operations[0].type", 'no operation "tirm"; legal: trim, '),
        ([{"search": "a"}], "d.operations[0].type", "required"),
        ([{"type": "replace"}], "d.operations[0].search", "required by the operation"),
        ([{"type": "trim", "width": 5}], "d.operations[0].width", "no field"),
        ([{"type": "trim", "search": "5"}], "d.operations[0].search", 'its parameters are "characters"'),
        (["upper", {"type": "upper", "search": "5"}], "d.operations[1].search", "it has no parameters"),
        ([{"type": "pad", "length": "wide"}], "d.operations[0].length", '"wide" will not do'),
        ([{"type": "pad", "length": 2_000_000}], "d.operations[0]", "at most 1048576"),
        ([{"type": "pad", "length": 2, "side": "left"}], "d.operations[0]", "legal: end, start, both"),
        ([{"type": "regex_replace", "pattern": "("}], "d.operations[0]", "RE2"),
        ([{"type": "hash", "algorithm": "crc"}], "d.operations[0]", "legal: md5, "),
        ([{"type": "hmac", "key": "k", "encoding": "b"}], "d.operations[0]", "legal: hex, base64, base64url"),
        ([{"type": "base64", "direction": "in"}, "trim"], "d.operations[0]", "legal: encode, decode"),
        ([{"type": "uuid", "version": 1}], "d.operations[0]", "legal: 4, 7"),
        ([{"type": "random", "length": 5000}], "d.operations[0]", "legal: 1 to 4096"),
        ([{"type": "random", "alphabet": "greek"}], "d.operations[0]", "legal: alphanumeric, "),
        ([{"type": "random", "characters": "aa"}], "d.operations[0]", "legal: 2 to 1024"),
        ([{"type": "slice", "end": 1, "length": 2}], "d.operations[0]", "not both"),
        ([], "d.operations", "takes 1 to 50"),
        (["trim"] * 51, "d.operations", "takes 1 to 50"),
        ("trim", "d.operations", "list"),
    ],
)
def test_faults_name_the_operation(operations: Any, path: str, reason: str) -> None:
    """What is wrong with an operation is told when it is saved, at its place, with what would be right."""
    found = faults(input="x", operations=operations)
    assert [at for at, _ in found] == [path]
    assert all(reason in message for _, message in found)


def test_an_input_is_needed() -> None:
    """Only what needs no text to begin with goes without an input."""
    assert [path for path, _ in faults(operations=["trim"])] == ["d.input"]
    assert faults(operations=["random", "upper"]) == []


@pytest.mark.parametrize(
    ("value", "operation", "reason"),
    [
        ("x" * (1024 * 1024 + 1), "trim", "data.input: the text has 1048577 characters"),
        ("x" * 1_000_000, {"type": "replace", "search": "x", "replace": "yy"}, "would have 2000000 characters"),
        ("x" * 1_000_000, {"type": "repeat", "count": 10**12}, "at most 1048576"),
        ("," * 100_000, "split", "would have 100001 items"),
        ("x" * 100_001, {"type": "split", "separator": ""}, "100001 items"),
        (["x" * 1000] * 2000, "upper", "characters"),
        ([1] * 100_001, "upper", "items"),
        (["a"] * 10_000, {"type": "join", "separator": "x" * 1000}, "at most 1048576"),
        (["a"] * 10_000, {"type": "append", "value": "x" * 1000}, "characters"),
        ("é" * 400_000, "url", "characters"),
        ("é" * 600_000, "base64", "would have 1200000 characters"),
        ("\ufdfa" * 1_000_000, "slug", "at most 262144"),
        ("aB" * 500_000, "snake", "at most 262144"),
        ("x", {"type": "regex_extract", "pattern": "x", "group": 3}, "no group '3'"),
        ("a", "base64_decode", "no Base64"),
        ("/w==", "base64_decode", "no text in UTF-8"),
        ("é", "base64_decode", "no Base64"),
        ("xyz", "hex_decode", "no hexadecimal"),
        ("y" * 1_000_000, {"type": "regex_replace", "pattern": ".", "replace": "z"}, "takes too long"),
        ("y" * 1_000_000, {"type": "regex_extract", "pattern": "(?:a?){200}(?:[a-y]?){800}z"}, "too large"),
    ],
)
def test_what_cannot_be_done_fails_the_step(value: Any, operation: Any, reason: str) -> None:
    """Bad text and huge results fail with the operation's path and the limit, and in time."""
    began = time.thread_time()
    message = failure(value, operation)
    assert reason in message
    assert message.startswith(("data.operations[0]: ", "data.input: "))
    assert time.thread_time() - began < 2


def test_the_operations_of_a_step_have_one_deadline() -> None:
    """However many slow operations there are, the step ends within two seconds of processor time."""
    began = time.thread_time()
    slow = {"type": "regex_replace", "pattern": "[a-z]{9}", "replace": "yyyyyyyyy"}
    assert "data.operations[" in failure("y" * 1_000_000, *[slow] * 50)
    assert time.thread_time() - began < 2


def test_a_template_may_name_what_there_is_not() -> None:
    """What only a run knows is judged by the run: a name that there is not, and null for what is required."""
    node = compile_node(
        "n2", "string_transform", {"input": "x", "operations": [{"type": "append", "value": "{{ n1.v }}"}]}
    )
    with pytest.raises(StepFailedError, match=r"data\.operations\[0\]: \"value\" is required"):
        node.run({"n1": {"v": None}}, lambda: NOW)


def test_every_operation_is_tried() -> None:
    """The table of operations in this file leaves none out."""
    (mark,) = [mark for mark in test_operations.pytestmark if mark.name == "parametrize"]  # type: ignore[attr-defined] # set by pytest
    tried = {each[1] if isinstance(each[1], str) else each[1]["type"] for each in mark.args[1]}
    coded = {f"{name}_{way}" for name in ("base64", "base64url", "url", "hex", "html") for way in ("encode", "decode")}
    assert {*KINDS} - tried <= {"uuid", "random", "base64url", "hex", "html", *coded}
