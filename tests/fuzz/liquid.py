"""Sources of templates by a grammar: Liquid as it is written, as it may be nested, and as it should not be written."""

from functools import cache
from inspect import signature
from random import Random
from typing import Final

from shared.templates.environment import ENVIRONMENT
from tests.fuzz.values import NUMBERS, TEXTS

_FILTERS: Final = sorted(ENVIRONMENT.filters)
#: What grows: they are chosen more often than others.
_GROWING: Final = (
    "append",
    "prepend",
    "replace",
    "split",
    "join",
    "concat",
    "times",
    "escape",
    "url_encode",
    "json",
    "map",
)
_LOOKING: Final = (
    "jmespath",
    "regex_match",
    "regex_replace",
    "regex_extract_all",
    "regex_split",
    "date",
    "carbon_date",
)
_NAMES: Final = (
    *("a.x", "a.l", "a.t", "a.n", "a.o", "b.x", "b.l", "b.big", "a", "b") * 4,
    *("c", "nodes", "trigger", "run", "workflow", "v", "w", "i", "forloop", "tablerowloop", "zz", "self"),
)
_MEMBERS: Final = (
    *("x", "l", "t", "n", "o", "k", "big", "size", "first", "last", "items", "keys", "values", "get", "pop", "index"),
    *(
        "__class__",
        "__init__",
        "__globals__",
        "__dict__",
        "__mro__",
        "__subclasses__",
        "__builtins__",
        "format",
        "func",
    ),
    *("parentloop", "index0", "length", "context", "env", "loader", "template", "undefined", "poke", "capitalize"),
)
_KEYWORDS: Final = ("allow_false: ", "timezone: ", "context: ", "environment: ", "value: ")
_OPERATORS: Final = ("==", "!=", "<", ">", "<=", ">=", "contains", "<>")


@cache
def _taken(name: str) -> tuple[int, int]:
    """How many arguments a filter takes, at least and at most."""
    parameters = [*signature(ENVIRONMENT.filters[name]).parameters.values()][1:]
    given = [each for each in parameters if each.kind is each.POSITIONAL_OR_KEYWORD]
    return sum(each.default is each.empty for each in given), len(given)


class Author:
    """Writes one template after another; the same ones for the same random numbers."""

    def __init__(self, random: Random) -> None:
        self._random = random

    def template(self) -> str:
        """A whole source."""
        chance = self._random.random()
        if chance < 0.08:
            return self._deep()
        if chance < 0.16:
            return self._doubling()
        source = "".join(self.block(self._random.randint(0, 3)) for _ in range(self._random.randint(1, 4)))
        return self._spoilt(source) if chance > 0.85 else source

    def value(self) -> str:
        """A template that is one expression."""
        return "{{ " + self.expression() + " }}"

    def block(self, depth: int) -> str:
        """A piece of text, an output, or a tag with blocks in it."""
        kinds = [self._text, self.value, self.value, self._json, self._small]
        if depth:
            kinds += [self._if, self._for, self._for, self._case, self._capture, self._tablerow, self._other]
        made = self._random.choice(kinds)
        return made() if made in (self._text, self.value, self._json, self._small) else made(depth - 1)  # type: ignore[operator]

    def expression(self) -> str:
        """A primitive with filters behind it."""
        filters = (self._filter() for _ in range(self._random.choice((0, 0, 1, 1, 2, 3, 8))))
        return " ".join((self._primitive(), *filters))

    def _primitive(self) -> str:
        chance = self._random.random()
        if chance < 0.6:
            return self._path()
        if chance < 0.75:
            return self._quoted()
        if chance < 0.85:
            return str(self._random.choice(NUMBERS))
        if chance < 0.93:
            return f"({self._bound()}..{self._bound()})"
        return self._random.choice(("nil", "true", "empty", "blank", "1.5", "''", "-0.0"))

    def _bound(self) -> str:
        return self._random.choice(
            ("1", "0", "-5", "10", "3000", "99999", "100001", "999999999999", "a.n", "b.x", "'9'")
        )

    def _path(self) -> str:
        path = self._random.choice(_NAMES)
        for _ in range(self._random.choice((0,) * 12 + (1, 2, 4))):
            member = self._random.choice(_MEMBERS)
            path += self._random.choice(
                (f".{member}", f"['{member}']", f'["{member}"]', "[0]", "[-1]", f"[{member}]", "[a.t]")
            )
        return path

    def _quoted(self) -> str:
        text = self._random.choice(TEXTS)
        return f"'{text}'" if "'" not in text else '"' + text.replace('"', "") + '"'

    def _filter(self) -> str:
        name = self._random.choice(_FILTERS)
        if self._random.random() < 0.4:
            name = self._random.choice(_GROWING + _LOOKING)
        arguments = [self._argument() for _ in range(self._arguments(name))]
        return f"| {name}" + (f": {', '.join(arguments)}" if arguments else "")

    def _arguments(self, name: str) -> int:
        """How many arguments: mostly as many as the filter takes."""
        least, most = _taken(name)
        return self._random.randint(least, most) if self._random.random() < 0.9 else self._random.randint(0, 3)

    def _argument(self) -> str:
        named = self._random.choice(
            (
                "",
                "",
                "",
                "",
                "",
                "",
                "",
                "",
                "",
                "",
                "",
                "",
                "",
                "",
                "",
                "",
                "allow_false: ",
                "timezone: ",
                "context: ",
                "environment: ",
                "value: ",
            )
        )
        return named + self._primitive()

    def _condition(self) -> str:
        parts = [f"{self._primitive()} {self._random.choice(_OPERATORS)} {self._primitive()}" for _ in range(2)]
        return self._random.choice((parts[0], f"{parts[0]} and {parts[1]}", f"{parts[0]} or {parts[1]}", self._path()))

    def _inner(self, depth: int) -> str:
        return "".join(self.block(depth) for _ in range(self._random.randint(1, 3)))

    def _text(self) -> str:
        return self._random.choice(("x", "\n", "-", '"', "{", "}}", "%}", " ünï ", "\\"))

    def _json(self) -> str:
        return '{"k": "' + self.value() + '", "v": ' + self.value() + "}"

    def _small(self) -> str:
        name = self._random.choice(("v", "w", "a", "i"))
        return self._random.choice(
            (
                f"{{% assign {name} = {self.expression()} %}}",
                f"{{% increment {name} %}}",
                f"{{% decrement {name} %}}",
                f"{{% cycle {self._primitive()}, {self._primitive()} %}}",
                f"{{% echo {self.expression()} %}}",
                "{% break %}",
                "{% continue %}",
                f"{{% include {self._quoted()} %}}",
                f"{{% render {self._quoted()} %}}",
                f"{{% raw %}}{self.value()}{{% endraw %}}",
                f"{{% comment %}}{self.value()}{{% endcomment %}}",
                f"{{% liquid assign {name} = {self._primitive()}\necho {name} %}}",
                f"{{%- # {self._random.choice(TEXTS)} -%}}",
            )
        )

    def _if(self, depth: int) -> str:
        tag = self._random.choice(("if", "unless"))
        other = f"{{% else %}}{self._inner(depth)}" if self._random.random() < 0.3 else ""
        return f"{{% {tag} {self._condition()} %}}{self._inner(depth)}{other}{{% end{tag} %}}"

    def _for(self, depth: int) -> str:
        limits = self._random.choice(("", " reversed", " limit: 3", " offset: continue", f" limit: {self._bound()}"))
        over = self._random.choice((self._path(), f"(1..{self._bound()})", "(1..300)", "a.l", "b.big"))
        return f"{{% for i in {over}{limits} %}}{self._inner(depth)}{{% endfor %}}"

    def _tablerow(self, depth: int) -> str:
        return f"{{% tablerow i in {self._path()} cols: {self._bound()} %}}{self._inner(depth)}{{% endtablerow %}}"

    def _case(self, depth: int) -> str:
        return f"{{% case {self._primitive()} %}}{{% when {self._primitive()} %}}{self._inner(depth)}{{% endcase %}}"

    def _capture(self, depth: int) -> str:
        return f"{{% capture v %}}{self._inner(depth)}{{% endcapture %}}"

    def _other(self, depth: int) -> str:
        tag = self._random.choice(("ifchanged", "doc", "macro f", "block x", "with a: b", "translate"))
        return f"{{% {tag} %}}{self._inner(depth)}{{% end{tag.split()[0]} %}}"

    def _deep(self) -> str:
        """Blocks in blocks, paths in paths, or brackets without an end."""
        levels = self._random.choice((5, 29, 31, 200, 3_000))
        return self._random.choice(
            (
                "{% if a %}" * levels + "x" + "{% endif %}" * levels,
                "{% for i in (1..9) %}" * min(levels, 200) + "x" + "{% endfor %}" * min(levels, 200),
                "{{ a" + "[a" * levels + "]" * levels + " }}",
                "{{ a" + ".x" * levels + " }}",
                "{{ a.t" + " | upcase" * levels + " }}",
                "{{ " + "(" * levels + "1" + ")" * levels + " }}",
                "{% if " + " and ".join(["a.x == 1"] * levels) + " %}x{% endif %}",
                "{% capture v %}" * min(levels, 300) + "x" + "{% endcapture %}" * min(levels, 300),
                "{% raw %}" * levels,
                "{{ a.t " * levels,
            )
        )

    def _doubling(self) -> str:
        """Values that grow with every step, by steps of every kind."""
        times = self._random.choice((10, 30, 60, 400))
        start = self._random.choice(
            ("{% assign v = a.t %}", "{% assign v = 'ab' %}", "{% assign v = b.big %}", "{% assign v = a.l %}")
        )
        step = self._random.choice(
            (
                "{% assign v = v | append: v %}",
                "{% assign v = v | concat: v %}",
                "{% capture v %}{{ v }}{{ v }}{% endcapture %}",
                "{% assign v = v | replace: 'a', v %}",
                "{% assign v = v | split: '' | join: v %}",
                "{% assign v = v | json %}",
                "{% assign v = v | escape | url_encode | b64 %}",
                "{% assign v = v | times: v | plus: 7 %}",
                "{% assign v = v | jmespath: '[@,@]' %}",
                f"{{% assign v = v {self._filter()} %}}",
            )
        )
        end = "{{ v | size }}{{ v }}"
        if self._random.random() < 0.5:
            return f"{start}{{% for i in (1..{times}) %}}{step}{{% endfor %}}{end}"
        return start + step * times + end

    def _spoilt(self, source: str) -> str:
        """The source with a piece of it moved, doubled or lost."""
        first, second = sorted(self._random.randint(0, len(source)) for _ in range(2))
        piece = source[first:second]
        return self._random.choice(
            (source[:first] + source[second:], source[:second] + piece * 3, piece + source, source[::-1])
        )
