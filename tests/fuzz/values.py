"""Values that templates and nodes meet: what payloads bring, and what tries to break out of places."""

from random import Random
from typing import Any, Final

from shared import jsontext
from shared.texts import MAX_OUTPUT

#: Texts for filters' arguments, regular expressions, paths, formats, dates: each wants something it should not have.
TEXTS: Final = (
    *("", "a", "0", "-1", "ünï\U0001f600", "\ud800", "\x00", "\r\nX-A: b", '"', "\\", "'\"", "</script>", "null", "[]"),
    *(
        "{0.__class__}",
        "{0.__init__.__globals__}",
        "%s%s%n",
        "%(a)s",
        "{a!r}",
        "${7*7}",
        "{{ a }}",
        "{% include 'x' %}",
    ),
    *(
        "__class__",
        "__mro__",
        "__subclasses__",
        "__globals__",
        "__builtins__",
        "__import__('os')",
        "_context",
        "format",
    ),
    *("../../etc/passwd", "/etc/passwd", "/proc/self/environ", "file:///etc/passwd", "os", "shared.config"),
    *("(a+)+$", "(a|a)*b", "(?:a?){400}a{400}", "^(([a-z])+.)+[A-Z]([a-z])+$", "(?P<x>a)", r"\1", "[", "(?i)" * 50),
    *(r"(\d+)\g<1>", ".*" * 60, "(.{1,1000}){1,1000}", r"\C*", "(?s).*", "$", "", "x*", "(?:(?:(?:a{9}){9}){9}){9}"),
    *("@", "[@,@]|[@,@]|[@,@]|[@,@]", "a.b.c[*].d[]", "*.*.*", "sort_by(@, &to_string(@))", "join(`,`, [a,a,a])"),
    *("[::-1]", "keys(@)", "to_string(@)", "map(&[@,@,@], @)", "{a:@,b:@}|{a:@,b:@}|{a:@,b:@}", "`" + "[" * 50 + "`"),
    *("%Y-%m-%d", "%Y" * 400, "%99999d", "%-d%e%_H%^a", "%s", "%", "Y-m-d H:i:s", "now", "today", "+1 month", "P1Y"),
    *("2025-10-31T12:00:00Z", "99999-01-01", "0000-00-00", "1e400", "-9" * 40, "9" * 400, "Europe/Berlin", "../UTC"),
    *("in 3 days", "last day of february 2028", "monday next week", "1970-01-01", "+100000000000 years"),
    *("required|email|min:3", "regex:/(a+)+$/", "in:" + ",".join("abcdefgh"), "192.168.0.0/0", "::/0", "10.0.0.0/33"),
)
#: Pieces of long texts.
_REPEATED: Final = ("a", "ab ", "a,b;", "\u00e9", '"', "&<", "9", "<a b>&amp;", "<script", "<!-- >", "</style ")
#: Numbers that make much of little.
NUMBERS: Final = (0, 1, -1, 2, 3, 10, 100, 65_536, 10**6, 10**9, 2**31, 2**63, 2**64, -(2**63), 10**30, 10**400)
FLOATS: Final = (0.0, -0.0, 0.5, 1e-300, 1e308, -1e308, 3.14159)


def text(random: Random) -> str:
    """One text: hostile, or long."""
    if random.random() < 0.1:
        return random.choice(_REPEATED) * random.choice((10, 1_000, 30_000, 200_000))
    return random.choice(TEXTS)


def number(random: Random) -> int | float:
    """One number."""
    return random.choice(NUMBERS) if random.random() < 0.7 else random.choice(FLOATS)


def value(random: Random, depth: int = 3) -> Any:
    """One JSON value."""
    kind = random.random()
    if depth and kind < 0.15:
        size = random.choice((0, 1, 2, 5, 50, 300)) if depth == 3 else random.choice((0, 1, 2, 5))
        return [value(random, depth - 1) for _ in range(size)]
    if depth and kind < 0.35:
        return {random.choice("abcdx") + random.choice(("", "1", " y")): value(random, depth - 1) for _ in range(4)}
    if kind < 0.6:
        return text(random)
    return number(random) if kind < 0.85 else random.choice((None, True, False))


def nested(levels: int) -> Any:
    """Lists in lists."""
    made: Any = []
    for _ in range(levels):
        made = [made]
    return made


#: As large as an output may be, in one piece or in many.
_LARGE: Final = ("x" * 1_000_000, ["ab"] * 100_000, [{"k": each} for each in range(20_000)], nested(80))


def scope(random: Random) -> dict[str, Any]:
    """What templates see: outputs, none larger than a step's may be, and what a run has beside them."""
    outputs = {name: {member: _part(member, random) for member in ("x", "l", "t", "n", "o")} for name in "ab"}
    if random.random() < 0.15:
        outputs["b"] = {"big": random.choice(_LARGE)}
    run = {"id": "fl_run_01h3j4k5l6m7n8p9q0r1s2t3v4", "trigger_type": "manual", "links": {}}
    return {**outputs, "c": None, "nodes": outputs, "trigger": outputs["a"], "run": run, "workflow": {"name": "w"}}


def _part(member: str, random: Random) -> Any:
    """A member of an output, of which five fit into one."""
    if member == "l":
        made: Any = [value(random, 1) for _ in range(random.choice((0, 3, 40)))]
    elif member == "o":
        made = {"k": value(random, 2)}
    else:
        made = {"t": text, "n": number, "x": value}[member](random)
    return made if len(jsontext.encode(made)) <= MAX_OUTPUT // 5 else "too large"
