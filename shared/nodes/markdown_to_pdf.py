"""``markdown_to_pdf``: a PDF document out of Markdown."""

import base64
from collections.abc import Mapping
from datetime import datetime
from functools import cache, partial
from tempfile import TemporaryDirectory
from typing import Annotated, Any, ClassVar, Final, Literal

import msgspec

from shared.errors import StepFailedError
from shared.nodes.base import Kind, Mode, NodeType, Outcome, StepContext
from shared.nodes.extras import Extra
from shared.nodes.fields import Plain, Text
from shared.nodes.threads import in_thread
from shared.nodes.typesetting import source_of

#: Bytes of UTF-8.
MAX_MARKDOWN: Final = 128 * 1024
#: Beginnings, ends and texts that the Markdown is made of, which is what time and memory of typesetting go by: nobody
#: can stop the typesetter in the middle. 20,000 take 0.7 s and 50 MB (2026-11-24).
MAX_TOKENS: Final = 20_000
#: Opening brackets, each of which the parser follows as deep as it may nest: 5,000 take half a second.
MAX_BRACKETS: Final = 5_000
#: Levels, of which a list has two. What is deeper the parser leaves out without a word, so it is not let come so far.
MAX_DEPTH: Final = 60
#: Bytes; in base64 it just fits into a step's output of 1 MiB.
MAX_PDF: Final = 750_000
_TYPST: Final = Extra("pdf", "typst")
_MARKDOWN: Final = Extra("pdf", "markdown_it")


class Data(msgspec.Struct, forbid_unknown_fields=True):
    """Configuration.

    Attributes:
        markdown: CommonMark with tables and ``~~strikethrough~~``, at most 128 KiB. Raw HTML stands as text, and of
            pictures only the description: nothing is fetched or read.
        filename: what the document is called where it goes.
        title: in the document's properties.
        page_size: of the paper.
        page_numbers: whether they stand at the foot.
        max_bytes: of the document; a larger one fails the step.
    """

    markdown: Text[str]
    filename: Text[str] = "document.pdf"
    title: Text[str] = ""
    page_size: Plain[Literal["a3", "a4", "a5", "letter", "legal"]] = "a4"
    landscape: bool = False
    page_numbers: bool = True
    max_bytes: Annotated[int, msgspec.Meta(ge=1, le=MAX_PDF)] = MAX_PDF


class MarkdownToPdf(NodeType[Data]):
    """Typesets Markdown; output ``{filename, content_type, content, bytes}`` with the content in base64."""

    component_id = "markdown_to_pdf"
    title = "Markdown to PDF"
    kind = Kind.ACTION
    mode = Mode.EFFECT
    data_type = Data
    extras = (_TYPST, _MARKDOWN)
    example: ClassVar[Mapping[str, Any]] = {
        "markdown": "# Order {{ n1.number }}\n\n| item | price |\n|---|--:|\n| {{ n1.item }} | 12.50 |\n",
        "filename": "order-{{ n1.number }}.pdf",
    }
    example_context: ClassVar[Mapping[str, Any]] = {"n1": {"number": 17, "item": "Tea & cake"}}

    async def call(self, data: Data, context: StepContext) -> Outcome:
        """Typeset the text in a thread.

        Raises:
            StepFailedError: ``input_too_large``, ``output_too_large``, ``extra_missing``, ``pdf_failed``.
        """
        size = len(data.markdown.encode("utf-8", "replace"))
        _limit("bytes", size, MAX_MARKDOWN)
        document = await in_thread(partial(_typeset, data, context.now))
        if len(document) > data.max_bytes:
            message = f"The PDF is {len(document)} bytes long and may have {data.max_bytes}."
            raise StepFailedError("output_too_large", message)
        content = base64.b64encode(document).decode()
        about = {"filename": data.filename, "content_type": "application/pdf"}
        return Outcome(
            {**about, "content": content, "bytes": len(document)}, step_input={**about, "markdown_bytes": size}
        )


def _typeset(data: Data, now: datetime) -> bytes:
    source = source_of(
        _tree(data.markdown),
        paper=data.page_size,
        landscape=data.landscape,
        numbered=data.page_numbers,
        title=data.title,
    )
    typst = _TYPST.load()
    with TemporaryDirectory(prefix="edgewise-pdf-") as nowhere:  # files outside of it cannot be named, and it is empty
        compiler = typst.Compiler(root=nowhere, font_paths=_fonts())
        try:
            document: bytes = compiler.compile(
                input=source.encode(), format="pdf", timestamp=now.replace(microsecond=0)
            )
        except typst.TypstError as error:
            raise StepFailedError("pdf_failed", f"The document cannot be typeset: {error}.") from error
    return document


@cache
def _fonts() -> Any:
    """The typesetter's own fonts, and those of the machine for letters that they lack."""
    return _TYPST.load().Fonts()


def _tree(markdown: str) -> Any:
    _limit("opening brackets", markdown.count("["), MAX_BRACKETS)
    parser = _MARKDOWN.load().MarkdownIt("commonmark", {"html": False, "maxNesting": MAX_DEPTH + 4})
    tokens = parser.enable(["table", "strikethrough"]).parse(markdown)
    _limit("levels", max((token.level for token in tokens), default=0), MAX_DEPTH)
    _limit("parts", sum(1 + len(token.children or ()) for token in tokens), MAX_TOKENS)
    return _MARKDOWN.load("tree").SyntaxTreeNode(tokens)


def _limit(what: str, count: int, most: int) -> None:
    if count > most:
        raise StepFailedError("input_too_large", f"The Markdown has {count} {what} and may have {most}.")
