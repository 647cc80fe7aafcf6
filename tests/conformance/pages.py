"""Writes ``docs/nodes``, one page per node type, of the code and of what its example does when it runs.

``python -m tests.conformance.pages FOLDER``, started by `make docs`; a test holds pages and code together.
"""

import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import msgspec

from shared.graph.settings import NodeSettings, Retry
from shared.nodes.descriptions import NodeTypeEntry, described
from shared.nodes.docstrings import field_docs
from shared.nodes.registry import Registry, default_registry
from tests.conformance.operator import installed, operator_package
from tests.conformance.running import ELSEWHERE, outcome_of

_MADE: Final = "This page is made from the code by `make docs`.\n"
_KINDS: Final = {
    "trigger": ("Triggers", "What starts a run; a workflow has exactly one."),
    "condition": ("Conditions", "They decide which way a run goes: handles `true` and `false`, or those of the cases."),
    "action": ("Actions", "What a run does."),
}
_MODES: Final = {
    "pure": "runs in process and touches nothing outside",
    "effect": "calls something outside, at least once and with the same key, after what it depends on is stored",
    "wait": "waits, for as long as it takes, without a worker",
    "iterate": "runs the nodes behind its handle `item` once for each item",
}
#: Characters of a text from which on a page shows only its beginning.
_LONG: Final = 400
_TEMPLATES: Final = {"value": "yes, with its type", "text": "yes, as text", "json": "yes, inside JSON", "none": "no"}
_WORDS: Final = {"string": "text", "boolean": "true or false", "null": "null", "number": "number", "integer": "integer"}


def pages(registry: Registry) -> dict[str, str]:
    """Every page by the name of its file."""
    entries = described(registry)
    made = {f"{entry.component_id}.md": _page(entry, registry) for entry in entries}
    return {"README.md": _index(entries), **made}


def _index(entries: Sequence[NodeTypeEntry]) -> str:
    parts = ["# Node types\n", _MADE]
    parts.append("`GET /workflows/node-types` gives the same for programs; [plugins](../plugins.md) adds types.\n")
    parts.append("What may stand in `{{ }}` is in [templates](../templates.md).\n")
    for kind, (title, about) in _KINDS.items():
        parts += [f"## {title}\n", f"{about}\n", "| type | what it does |\n|---|---|"]
        parts += [f"| [`{e.component_id}`]({e.component_id}.md) | {_first(e)} |" for e in entries if e.kind == kind]
        parts.append("")
    return "\n".join([*parts, *_common()])


def _first(entry: NodeTypeEntry) -> str:
    return _cell(f"{entry.title}. {entry.description.splitlines()[0]}")


def _common() -> Iterator[str]:
    yield "## Fields of every node\n"
    yield "Beside the fields of its type, a node's `data` takes these. A page says which of them its type takes.\n"
    schema = msgspec.json.schema(NodeSettings)["$defs"]
    for struct, title in ((NodeSettings, ""), (Retry, "`retry` is an object:\n")):
        yield title
        yield "| field | takes | default | meaning |\n|---|---|---|---|"
        docs, rules = field_docs(struct), schema[struct.__name__]["properties"]
        for name, rule in rules.items():
            yield f"| `{name}` | {_cell(_takes(rule))} | {_default(rule)} | {_cell(docs.get(name, ''))} |"
        yield ""
    yield "`description`, `label`, `uiId`, `notes` and, where the type has no field of that name, `operation` document"
    yield "a node for its authors and editors.\n"


def _page(entry: NodeTypeEntry, registry: Registry) -> str:
    parts = [f"# {entry.title}: `{entry.component_id}`\n", f"{entry.description}\n", *_facts(entry), _fields(entry)]
    parts += [_handles(entry), _example(entry, registry), _MADE]
    return "\n".join(part for part in parts if part)


def _facts(entry: NodeTypeEntry) -> Iterator[str]:
    article = "An" if entry.kind == "action" else "A"
    yield f"- {article} {entry.kind}; it {_MODES[entry.mode]}."
    if entry.aliases:
        yield f"- Also called {_listed(entry.aliases)} on input."
    if entry.authorized:
        yield "- Presents the authorization of its workflow, which must have one (`authorization_id`)."
    if entry.extra is not None:
        yield f"- Needs the extra `{entry.extra.name}` beside the api and every worker: `{entry.extra.install}`."
    taken = _listed(entry.settings) if entry.settings else "none"
    yield f"- Settings: {taken} ([what they mean](README.md#fields-of-every-node)).\n"


def _fields(entry: NodeTypeEntry) -> str:
    own = {name: rule for name, rule in entry.schema["properties"].items() if "x-templates" in rule}
    if not own:
        return "## Fields\n\nNone of its own.\n"
    parts = ["## Fields\n", _table(own, entry.schema["required"])]
    for name, definition in entry.schema["$defs"].items():
        if name not in ("template", "Retry", "JoinCount") and "properties" in definition:
            parts += [f"### {name}\n", f"{definition.get('description', '')}\n"]
            parts.append(_table(definition["properties"], definition.get("required", [])))
    return "\n".join(parts)


def _table(rules: Mapping[str, Any], required: Sequence[str]) -> str:
    rows = ["| field | takes | default | templates | meaning |", "|---|---|---|---|---|"]
    for name, rule in rules.items():
        default = "required" if name in required else _default(rule)
        templates = _TEMPLATES[rule.get("x-templates", "value")] + (", the vault too" if rule.get("x-secret") else "")
        rows.append(
            f"| `{name}` | {_cell(_takes(rule))} | {default} | {templates} | {_cell(rule.get('description', ''))} |"
        )
    return "\n".join([*rows, ""])


def _takes(rule: Mapping[str, Any]) -> str:
    """What a value may be, in words."""
    if "$ref" in rule:
        name = rule["$ref"].rpartition("/")[2]
        return (
            "" if name == "template" else f"[{name}](#{name.lower()})" if name not in ("Retry", "JoinCount") else name
        )
    if "anyOf" in rule:
        return " or ".join(dict.fromkeys(filter(None, map(_takes, rule["anyOf"]))))
    if "enum" in rule:
        return ", ".join(f"`{value}`" for value in rule["enum"])
    kind = rule.get("type")
    if kind == "array":
        inner = _takes(rule.get("items", {})) or "any value"
        return f"list of {inner}{_bounds(rule, 'minItems', 'maxItems', 'items')}"
    if kind == "object":
        return "object"
    if kind == "string":
        return "text" + _bounds(rule, "minLength", "maxLength", "characters")
    return _WORDS.get(kind or "", "any value") + _bounds(rule, "minimum", "maximum", "")


def _bounds(rule: Mapping[str, Any], least: str, most: str, unit: str) -> str:
    low, high = rule.get(least, rule.get("exclusiveMinimum")), rule.get(most)
    if low is None and high is None:
        return ""
    told = f"from {low:,}" if high is None else f"at most {high:,}" if low is None else f"{low:,} to {high:,}"
    return f", {told}{f' {unit}' if unit else ''}"


def _default(rule: Mapping[str, Any]) -> str:
    return f"`{_json(rule['default'])}`" if "default" in rule else ""


def _handles(entry: NodeTypeEntry) -> str:
    named = f"Named outputs: {_listed(entry.handles)}." if entry.handles else "One output, which an edge need not name."
    if entry.handles_vary:
        named = f"Named outputs depend on the data; in the example: {_listed(entry.handles)}."
    error = " With `continue_on_error` there is `error` besides." if "continue_on_error" in entry.settings else ""
    return f"## Outputs\n\n{named}{error}\n"


def _example(entry: NodeTypeEntry, registry: Registry) -> str:
    parts = ["## Example\n", "`data` of a node:\n", _block(entry.example)]
    if entry.example_context:
        parts += ["With these outputs of the nodes before it:\n", _block(entry.example_context)]
    if entry.component_id in ELSEWHERE:
        parts.append(f"It speaks to a server; `tests/integration/test_nodes_{entry.component_id}.py` runs real ones.\n")
        return "\n".join(parts)
    node = registry.compile("n2", entry.component_id, entry.example)
    outcome = outcome_of(node, entry.example_context)
    on = f", on the handle `{outcome.handle}`" if outcome.handle else ""
    return "\n".join([*parts, f"{_ends(entry)}{on}:\n", _block(_shortened(outcome.output))])


def _shortened(value: Any) -> Any:
    """The value with the beginnings of its long texts, such as files in base64."""
    if isinstance(value, dict):
        return {name: _shortened(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_shortened(inner) for inner in value]
    return f"{value[:20]}..." if isinstance(value, str) and len(value) > _LONG else value


def _ends(entry: NodeTypeEntry) -> str:
    if entry.kind == "trigger":
        return 'Started by hand with the context `{"user_id": 7}` it gives'
    return {"effect": "The other side having answered, it gives", "wait": "When its time is over it gives"}.get(
        entry.mode, "It gives"
    )


def _block(value: Any) -> str:
    return f"```json\n{msgspec.json.format(msgspec.json.encode(value), indent=2).decode()}\n```\n"


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _listed(names: Sequence[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def main() -> None:
    """Write the pages, and take away those of types that are no more."""
    folder = Path(sys.argv[1])
    folder.mkdir(exist_ok=True)
    with TemporaryDirectory() as beside, operator_package(installed(Path(beside))):
        made = pages(default_registry())
    for old in folder.glob("*.md"):
        if old.name not in made:
            old.unlink()
    for name, page in made.items():
        (folder / name).write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
