"""The PDF node: documents are opened and read back, and nothing comes in from files or the network."""

import base64
import io
import socket
import sys
from collections.abc import Callable
from typing import Any

import pypdf
import pytest

from shared.nodes import markdown_to_pdf
from tests.outward import call, failed, fault_codes, step

DOCUMENT = """# Order *17* & more

Dear **Ада**, here ~~was~~ is `code "x"` \\* and a [link](https://example.com/a?b=c).

## Items

| item | price |
|------|------:|
| Tea  | 12.50 |
| Scone with **jam** | 3 |

1. first
   - inner
2. second

> Quoted.

```python
def f(x):
    return "#" + x
```

---
Zürich → 100 ≤ 200, naïve “quotes”\\
next line
"""


async def pdf(markdown: str, **more: Any) -> tuple[pypdf.PdfReader, dict[str, Any]]:
    """The document of some Markdown, opened, and the output it came in."""
    data = {"markdown": "{{ n1.text }}", **more}
    output = (await call("markdown_to_pdf", data, step(), n1={"text": markdown})).output
    raw = base64.b64decode(output["content"], validate=True)
    assert len(raw) == output["bytes"]
    return pypdf.PdfReader(io.BytesIO(raw)), output


async def text_of(markdown: str) -> str:
    """What stands on the pages, blanks and line ends as one blank, without page numbers."""
    reader, _ = await pdf(markdown, page_numbers=False)
    return " ".join(" ".join(page.extract_text() for page in reader.pages).split())


async def test_a_document() -> None:
    """Headings, lists, tables, quotes and code in several alphabets are read back as they were written."""
    text = await text_of(DOCUMENT)
    for expected in (
        "Order 17 & more", 'Dear Ада, here was is code "x" * and a link.', "item price Tea 12.50 Scone with jam 3",
        "1. first", "inner", "2. second", "Quoted.", 'def f(x): return "#" + x',
        "Zürich → 100 ≤ 200, naïve “quotes” next line",
    ):  # fmt: skip
        assert expected in text


async def test_about_the_document() -> None:
    """Its name, type, title, time and size of page come from the node and the clock of Postgres, not this machine's."""
    reader, output = await pdf("# A", filename="a.pdf", title='T "q" \\', page_size="letter", landscape=True)
    assert {name: output[name] for name in ("filename", "content_type")} == {
        "filename": "a.pdf",
        "content_type": "application/pdf",
    }
    assert reader.metadata is not None
    assert reader.metadata.title == 'T "q" \\'
    assert str(reader.metadata["/CreationDate"]).startswith("D:20251031120000")
    assert (round(reader.pages[0].mediabox.width), round(reader.pages[0].mediabox.height)) == (792, 612)


async def test_equal_input_gives_equal_bytes() -> None:
    """A step that is run again makes the same document."""
    assert (await pdf(DOCUMENT))[1] == (await pdf(DOCUMENT))[1]


async def test_pages() -> None:
    """A long text goes over several pages, numbered unless that is not wanted."""
    reader, _ = await pdf("word " * 3000)
    assert len(reader.pages) > 2
    assert reader.pages[1].extract_text().rstrip().endswith(f"2 / {len(reader.pages)}")
    bare, _ = await pdf("word " * 3000, page_numbers=False)
    assert "/" not in bare.pages[1].extract_text()


@pytest.mark.parametrize(
    "hostile",
    [
        '#read("/etc/passwd")',
        '"; #read("/etc/passwd"); "',
        '\\"); #read("/etc/passwd")',
        '`#image("/etc/passwd")`',
        '#import "@preview/cmarker:0.1.0": render',
        "$x^2$ @label <label> _ = / ~ -- #let x = 1",
        "#{panic()}",
        "<b>bold</b> <script>alert(1)</script> &amp;",
    ],
)
async def test_text_is_never_code(hostile: str) -> None:
    """What would be a command to the typesetter, or HTML, stands in the document as it was written."""
    for markdown in (f"\\{hostile}" if hostile.startswith("#") else hostile, f"```\n{hostile}\n```"):
        text = await text_of(markdown)
        for word in ("passwd", "cmarker", "label", "panic", "script"):
            assert (word in text) == (word in hostile)
        assert "root:" not in text


@pytest.mark.parametrize(
    "markdown",
    [
        "![the chart](http://192.0.2.1/a.png)",
        "![the chart](file:///etc/passwd)",
        "![the chart](/etc/passwd)",
        "![the chart](data:image/png;base64,AAAA)",
        "![the chart][r]\n\n[r]: ../../../../etc/hostname",
    ],
)
async def test_pictures_are_their_description(markdown: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """No picture is fetched or read: its description stands in its place."""

    def no_socket(*_: object) -> None:
        raise AssertionError("nothing is to be connected to")

    monkeypatch.setattr(socket.socket, "connect", no_socket)
    reader, _ = await pdf(markdown, page_numbers=False)
    assert "the chart" in reader.pages[0].extract_text()
    assert list(reader.pages[0].images) == []


@pytest.mark.parametrize(
    ("target", "is_link"),
    [
        ("https://example.com/x", True),
        ("mailto:a@example.com", True),
        ("/etc/passwd", False),
        ("ftp://example.com", False),
    ],
)
async def test_links(target: str, is_link: bool) -> None:
    """Links to the web and to mail addresses can be followed; of others the text remains."""
    reader, _ = await pdf(f"[the text]({target})")
    assert "the text" in reader.pages[0].extract_text()
    annotations = reader.pages[0].get("/Annots") or []
    assert [each.get_object()["/A"]["/URI"] for each in annotations] == ([target] if is_link else [])


@pytest.mark.parametrize(
    "markdown", ["", "\n\n", "\x00\x07", "\ud800", "\ufffe", "漢字 🎉", "***", "|a|\n|-|\n", "1000000000. x"]
)
async def test_odd_texts(markdown: str) -> None:
    """Nothing, control characters, halves of characters and letters without a font still give a document."""
    reader, _ = await pdf(markdown)
    assert len(reader.pages) == 1


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: "a" * (markdown_to_pdf.MAX_MARKDOWN + 1), "has 131073 bytes and may have 131072."),
        (lambda: "ü" * 70_000, "has 140000 bytes and may have 131072."),
        (lambda: "# a\n" * 10_000, "has 40000 parts and may have 20000."),
        (lambda: "[" * 60_000, "has 60000 opening brackets and may have 5000."),
        (lambda: ">" * 500 + " a", "levels and may have 60."),
        (lambda: "".join(f"{'  ' * depth}- a\n" for depth in range(90)), "levels and may have 60."),
        (lambda: "|a" * 200 + "\n" + "|-" * 200 + "\n" + "|x\n" * 500, "parts and may have 20000."),
    ],
    ids=["bytes", "letters", "headings", "brackets", "quotes", "lists", "cells"],
)
async def test_too_much_to_typeset(build: Callable[[], str], message: str) -> None:
    """More than can be typeset in about a second fails the step before it begins."""
    error = await failed("markdown_to_pdf", {"markdown": "{{ n1.text }}"}, step(), n1={"text": build()})
    assert (error.code, error.message[-len(message) :]) == ("input_too_large", message)


async def test_a_large_document() -> None:
    """A document over max_bytes fails the step."""
    error = await failed("markdown_to_pdf", {"markdown": "a", "max_bytes": 500}, step())
    assert error.code == "output_too_large"


async def test_the_largest_document_fits_into_an_output() -> None:
    """What passes the largest cap fits into a step's output of 1 MiB with what stands beside it."""
    assert len(base64.b64encode(bytes(markdown_to_pdf.MAX_PDF))) + 4096 < 1024 * 1024


async def test_deep_nesting() -> None:
    """Nothing is left out of what nests deep: it is all there, or the step fails."""
    reader, _ = await pdf("".join(f"{'  ' * depth}- item\n" for depth in range(28)), page_size="a3")
    assert "".join(page.extract_text() for page in reader.pages).count("item") == 28
    error = await failed("markdown_to_pdf", {"markdown": ">" * 40 + " a"}, step())
    assert error.code == "pdf_failed"


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"page_size": "b5"}, [("data.page_size", "invalid_value")]),
        ({"max_bytes": 10_000_000}, [("data.max_bytes", "invalid_value")]),
        ({"landscape": "{{ n1.wide }}", "title": "{{ n1.title }}"}, []),
    ],
)
def test_faults_when_saved(change: dict[str, Any], expected: list[tuple[str, str]]) -> None:
    """What cannot work is refused when the workflow is saved."""
    assert fault_codes("markdown_to_pdf", {"markdown": "a", **change}) == expected


@pytest.mark.parametrize("module", ["typst", "markdown_it"])
async def test_a_missing_extra(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without its libraries the node is refused when saved, and a step fails; both name the extra."""
    monkeypatch.setitem(sys.modules, module, None)
    assert fault_codes("markdown_to_pdf", {"markdown": "a"}) == [("data.componentId", "invalid_value")]
    error = await failed("markdown_to_pdf", {"markdown": "a"}, step())
    assert (error.code, "edgewise[pdf]" in error.message) == ("extra_missing", True)
