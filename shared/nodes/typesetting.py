"""Markdown as the source of a Typst document, in which nothing that an author or a template wrote is ever code.

Every piece of text becomes a string literal, so no markup, function call or file access can come out of it. Pictures
are left out but for their description, raw HTML stands as text, and links are those to the web and to mail addresses.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

#: Typst's names for sheets of paper.
PAPERS: Final[Mapping[str, str]] = {"a3": "a3", "a4": "a4", "a5": "a5", "letter": "us-letter", "legal": "us-legal"}
_LINKED: Final = re.compile(r"(https?://|mailto:)", re.IGNORECASE)
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
_ALIGNED: Final = re.compile(r"text-align:\s*(left|center|right)")


def source_of(tree: Any, *, paper: str, landscape: bool, numbered: bool, title: str) -> str:
    """The Typst source of a parsed document, a `markdown_it.tree.SyntaxTreeNode`."""
    flipped = "true" if landscape else "false"
    numbering = '"1 / 1"' if numbered else "none"
    return (
        f"#set document(title: {literal(title)})\n"
        f"#set page(paper: {literal(PAPERS[paper])}, flipped: {flipped}, numbering: {numbering})\n"
        "#set text(size: 11pt)\n#set table(stroke: 0.5pt)\n#show heading: set block(above: 1.4em, below: 0.8em)\n"
        f"{_inside(tree)}"
    )


def literal(text: str) -> str:
    """Text as a string of Typst; control characters and halves of surrogate pairs are replaced."""
    safe = _CONTROL.sub("\ufffd", text).replace("\\", "\\\\").replace('"', '\\"')
    return '"' + safe.replace("\n", "\\n").replace("\t", "\\t") + '"'


def _inside(node: Any) -> str:
    return "".join(_RENDERED.get(child.type, _inside)(child) for child in node.children)


def _block(node: Any) -> str:
    return f"[{_inside(node)}]"


def _blocks(nodes: Any) -> str:
    return "".join(map(_block, nodes))


def _around(function: str) -> Callable[[Any], str]:
    """Renders a node as a function of Typst around its content; a semicolon ends it whatever follows."""
    return lambda node: f"#{function}{_block(node)};"


def _text(node: Any) -> str:
    return f"#{literal(node.content)};"


def _heading(node: Any) -> str:
    return f"#heading(level: {int(node.tag[1])}){_block(node)};\n"


def _ordered(node: Any) -> str:
    return f"#enum(tight: {_tight(node)}, start: {int(node.attrs.get('start', 1))}){_blocks(node.children)};\n"


def _bullets(node: Any) -> str:
    return f"#list(tight: {_tight(node)}){_blocks(node.children)};\n"


def _tight(node: Any) -> str:
    """Whether the paragraphs in a list's items are hidden ones, as Markdown has it for items without blank lines."""
    paragraphs = [child for item in node.children for child in item.children if child.type == "paragraph"]
    return "true" if all(paragraph.hidden for paragraph in paragraphs) else "false"


def _link(node: Any) -> str:
    target = str(node.attrs.get("href", ""))
    return f"#link({literal(target)}){_block(node)};" if _LINKED.match(target) else _inside(node)


def _table(node: Any) -> str:
    rows = [row for part in node.children for row in part.children]
    head, *body = rows
    columns = len(head.children)
    aligned = "".join(f"{_alignment(cell)}, " for cell in head.children)
    cells = "".join(f"[{_inside(cell)}], " for row in body for cell in row.children)
    titles = "".join(f"[#strong[{_inside(cell)}];], " for cell in head.children)
    return f"#table(columns: {columns}, align: ({aligned}), table.header({titles}), {cells});\n"


def _alignment(cell: Any) -> str:
    match = _ALIGNED.search(str(cell.attrs.get("style", "")))
    return match[1] if match else "left"


_RENDERED: Final[Mapping[str, Callable[[Any], str]]] = {
    "text": _text,
    "image": lambda node: f"#emph[#{literal(node.content)};];",
    "softbreak": lambda _: '#" ";',
    "hardbreak": lambda _: "#linebreak();",
    "em": _around("emph"),
    "strong": _around("strong"),
    "s": _around("strike"),
    "code_inline": lambda node: f"#raw({literal(node.content)});",
    "link": _link,
    "paragraph": lambda node: f"{_inside(node)}\n\n",
    "heading": _heading,
    "fence": lambda node: f"#raw(block: true, {literal(node.content)});\n\n",
    "code_block": lambda node: f"#raw(block: true, {literal(node.content)});\n\n",
    "blockquote": lambda node: f"#quote(block: true){_block(node)};\n",
    "bullet_list": _bullets,
    "ordered_list": _ordered,
    "table": _table,
    "hr": lambda _: "#line(length: 100%);\n\n",
}
