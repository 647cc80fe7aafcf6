"""Data of pure nodes, made of the JSON Schema that the catalogue gives of their type."""

from functools import cache
from random import Random
from typing import Any, Final

from shared.graph.catalogue import Kind, Mode
from shared.nodes.registry import default_registry
from tests.fuzz.liquid import Author
from tests.fuzz.values import number, text, value

_DEEPEST: Final = 6
#: Texts that stand in the examples are worth repeating: operators, units, rules.
_EXAMPLE: Final = 0.3
#: Looks at what is installed when it is checked, as it should.
_OUTSIDE: Final = ("python_function",)


@cache
def components() -> tuple[str, ...]:
    """Every type; those that run in process four times as often as others, conditions eight times."""
    registry = default_registry()
    names = [name for name in registry.names() if name not in _OUTSIDE]
    pure = [name for name in names if registry.mode(name) is Mode.PURE]
    conditions = [name for name in pure if registry.kind(name) is Kind.CONDITION]
    return (*names, *pure * 3, *conditions * 4)


def data_for(component: str, random: Random) -> dict[str, Any]:
    """Data of one node: as its schema has it, or like its example, with hostile values and templates in it."""
    node_type, schema = default_registry().type_of(component), _schema(component)
    made: dict[str, Any] = {}
    for name, rule in schema["properties"].items():
        if "x-templates" not in rule:
            continue
        if name in node_type.example and random.random() < _EXAMPLE:
            made[name] = node_type.example[name]
        elif name in schema["required"] or random.random() < 0.5:
            made[name] = _instance(rule, schema, random, 0)
    return made


@cache
def _schema(component: str) -> dict[str, Any]:
    return default_registry().schema(component)


def _instance(rule: dict[str, Any], schema: dict[str, Any], random: Random, depth: int) -> Any:
    chance = random.random()
    if chance < 0.02:
        return value(random)
    if rule.get("$ref", "").endswith("/template"):
        return Author(random).value() if chance < 0.6 else Author(random).template()
    if "$ref" in rule:
        return _instance(schema["$defs"][rule["$ref"].rpartition("/")[2]], schema, random, depth)
    if "anyOf" in rule:
        return _instance(random.choice(rule["anyOf"]), schema, random, depth)
    if "enum" in rule or "const" in rule:
        return random.choice(rule.get("enum", [rule.get("const")]))
    return _typed(rule, schema, random, depth)


def _typed(rule: dict[str, Any], schema: dict[str, Any], random: Random, depth: int) -> Any:
    kind = rule.get("type")
    if depth > _DEEPEST:
        return None
    if kind == "object":
        return _object(rule, schema, random, depth)
    if kind == "array":
        size = random.choice((0, 1, 1, 2, 3, 20)) if depth < 3 else 1
        return [_instance(rule.get("items", {}), schema, random, depth + 1) for _ in range(size)]
    if kind in ("integer", "number"):
        least, most = rule.get("minimum", -3), rule.get("maximum", 40)
        return random.choice((least, most, random.randint(int(least), int(max(least, most))), number(random)))
    if kind == "boolean":
        return random.random() < 0.5
    if kind == "null":
        return None
    chance = random.random()
    if chance < 0.5:
        return Author(random).value() if chance < 0.3 else Author(random).template()
    return text(random) if kind == "string" or chance < 0.75 else value(random)


def _object(rule: dict[str, Any], schema: dict[str, Any], random: Random, depth: int) -> dict[str, Any]:
    required = rule.get("required", [])
    made = {
        name: _instance(inner, schema, random, depth + 1)
        for name, inner in rule.get("properties", {}).items()
        if name in required or random.random() < 0.35
    }
    more = rule.get("additionalProperties")
    if isinstance(more, dict):
        made.update({name: _instance(more, schema, random, depth + 1) for name in random.sample("abcd", 2)})
    return made
