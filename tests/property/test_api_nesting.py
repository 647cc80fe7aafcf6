"""How deep a JSON document nests, against two rules that say it plainly, and the time it takes to find out."""

import json
import re
import time
from collections.abc import Callable
from itertools import accumulate
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from api.bodies import check, parse
from api.nesting import is_deeper
from shared.errors import BadRequestError

_STRINGS = re.compile(rb'"(?:[^"\\]|\\.)*"?', re.DOTALL)
_STEPS = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1}
_MARKS = ["[", "]", "{", "}", '"', "\\", "\\\\", '\\"', ",", "a", "\n"]


def deepest(text: bytes) -> int:
    """The highest number of brackets that are open at once, strings taken out one by one."""
    return max(accumulate(_STEPS.get(byte, 0) for byte in _STRINGS.sub(b"", text)), default=0)


def levels(value: Any) -> int:
    """How deep a value nests."""
    if isinstance(value, dict):
        value = list(value.values())
    return 1 + max(map(levels, value), default=0) if isinstance(value, list) else 0


texts = st.lists(st.sampled_from(_MARKS), max_size=8).map("".join)
documents = st.recursive(
    texts | st.integers() | st.none(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=40,
)


def refusal(read: Callable[[bytes], object], text: bytes) -> str | None:
    """What a reader says against a text."""
    try:
        read(text)
    except BadRequestError as error:
        return error.message
    return None


#: Numbers and literals that are nearly JSON, or nearly too large for it.
_EDGES = [
    "1e308",
    "1e309",
    "-1e999",
    "9" * 30,
    "01",
    "1.",
    "-",
    "NaN",
    '"\\ud800"',
    '"\\udc00\\ud800"',
    "\ufeff",
    "\x00",
]


@given(documents, st.sampled_from(_EDGES), st.integers(0, 200), st.binary(max_size=2))
def test_a_body_is_checked_as_it_would_be_read(value: Any, edge: str, place: int, stray: bytes) -> None:
    """Checking without making values refuses what reading refuses, in its words, and nothing else."""
    whole = json.dumps([value, None]).replace("null", edge, 1).encode()
    for text in (whole, whole[:place] + stray + whole[place:], whole[:place]):
        assert refusal(check, text) == refusal(parse, text)


@given(documents, st.integers(0, 8), st.booleans())
@example([[], "]", [[]]], 2, True)
@example({'"': ["\\", {"\\\\": "["}]}, 2, True)
def test_a_documents_depth_is_that_of_its_value(value: Any, most: int, compact: bool) -> None:
    """Strings of brackets, quotes and backslashes count for nothing, wherever they stand."""
    text = json.dumps(value, separators=(",", ":") if compact else None, ensure_ascii=compact).encode()
    assert is_deeper(text, most) == (levels(value) > most) == (deepest(text) > most)


@given(st.lists(st.sampled_from([mark for mark in _MARKS if "\\" not in mark]), max_size=60), st.integers(0, 6))
def test_what_is_no_document_is_told_by_its_brackets(marks: list[str], most: int) -> None:
    """Without backslashes any text has the depth that its brackets outside quotes give."""
    text = "".join(marks).encode()
    assert is_deeper(text, most) == (deepest(text) > most)


@given(documents, texts, st.integers(0, 8))
def test_a_fault_hides_no_depth_before_it(value: Any, rest: str, most: int) -> None:
    """A document that goes on with anything at all is at least as deep as it was."""
    text = json.dumps(value).encode()
    assert is_deeper(text + b"\n" + rest.encode(), most) >= (levels(value) > most)


@pytest.mark.parametrize("rounds", range(1, 12))
def test_the_limit_is_exact_however_much_is_beside_it(rounds: int) -> None:
    """The last level that is allowed is, and the next is not, among many shallow values and below many levels."""
    beside = b"[[],{}]," * 300
    deep = beside + b"[" * rounds + b"{}" + b"]" * rounds
    assert not is_deeper(b"[" + deep + b"]", rounds + 2)
    assert is_deeper(b"[" + deep + b"]", rounds + 1)


def spent(work: Callable[[], object]) -> float:
    """The least CPU seconds of three tries."""
    tries = []
    for _ in range(3):
        began = time.process_time()
        work()
        tries.append(time.process_time() - began)
    return min(tries)


@pytest.mark.parametrize(
    "pattern", [b"[", b"]", b'"', b"\\", b'"[', b'{"', b"[]", b'\\"', b'["\\\\",', b'[{"a":"]\\""},', b"[[[]]]" * 33]
)
def test_the_time_grows_with_the_length(pattern: bytes) -> None:
    """Sixteen times as much of anything takes no more than forty times as long; its square would be 256 times."""
    short, long = (pattern * (size // len(pattern)) for size in (64 * 1024, 1024 * 1024))
    assert spent(lambda: is_deeper(long, 200)) < 40 * max(spent(lambda: is_deeper(short, 200)), 0.0002)
