"""Random workflows, each with what is known about it: how the receiver answers every one of its calls."""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final

from shared.graph.settings import NodeSettings
from tests.acceptance.outside import node
from tests.faults.length import GRACE

Handles = tuple[str | None, ...]
_FAST_RETRY: Final = {"backoff": "fixed", "delay": 0.2}
#: Whether this engine knows steps that run at most once.
KNOWS_AT_MOST_ONCE: Final = "on_crash" in NodeSettings.__struct_fields__


@dataclass(frozen=True)
class Behaviour:
    """How the receiver answers the calls of a node, and how the node is set up for it.

    Attributes:
        answers: the status of the first call under a key, of the second... the last one goes for all that follow; 0
            closes the connection.
        seconds: how long an answer takes, at least and at most.
        settings: of the node.
        retry_after: seconds that a 429 asks for.
        weight: how often it is drawn.
    """

    answers: tuple[int, ...] = (200,)
    seconds: tuple[float, float] = (0.0, 0.0)
    settings: Mapping[str, Any] = field(default_factory=dict)
    retry_after: int = 0
    weight: int = 1

    @property
    def must_succeed(self) -> bool:
        """Whether nothing but success is legal: it is answered 200 at once or later, and nobody counts the seconds."""
        return self.answers == (200,) and not {"timeout", "on_crash"} & self.settings.keys()


BEHAVIOURS: Final[dict[str, Behaviour]] = {
    "ok": Behaviour(weight=10),
    "slow": Behaviour(seconds=(0.2, 2.0), weight=3),
    "flaky": Behaviour((500, 500, 200), settings={"retry": {"max_attempts": 4, **_FAST_RETRY}}),
    "limited": Behaviour((429, 200), settings={"retry": {"max_attempts": 3, **_FAST_RETRY}}, retry_after=1),
    "dropped": Behaviour((0, 200), settings={"retry": {"max_attempts": 3, **_FAST_RETRY}}),
    "broken": Behaviour((503,), settings={"retry": {"max_attempts": 2, **_FAST_RETRY}, "continue_on_error": True}),
    "refused": Behaviour((404,), settings={"continue_on_error": True}),
    "hanging": Behaviour((200,), (3.0, 3.0), settings={"timeout": 0.5, "continue_on_error": True}),
    "disabled": Behaviour(settings={"disabled": True}),
    "fatal": Behaviour((403,)),
    "outlasting": Behaviour(seconds=(GRACE + 3, GRACE + 3), weight=0),
}
if KNOWS_AT_MOST_ONCE:
    BEHAVIOURS["once"] = Behaviour(
        seconds=(0.0, 1.0), settings={"on_crash": "fail", "continue_on_error": True}, weight=3
    )


@dataclass
class Shape:
    """A workflow as it is saved, and what the model needs to know of its nodes.

    Attributes:
        kinds: what each node is: ``trigger``, ``call``, ``text``, ``number``, ``switch``, ``delay``, ``terminate``.
        behaviours: of the calls, by node; names of `BEHAVIOURS`.
        id, token: of the saved workflow: its id, and the path of its webhook ("" for a manual one).
    """

    name: str
    nodes: list[dict[str, Any]]
    edges: list[dict[str, Any]]
    kinds: dict[str, str]
    behaviours: dict[str, str] = field(default_factory=dict)
    id: str = ""
    token: str = ""

    def data(self, name: str) -> Mapping[str, Any]:
        """The configuration of a node."""
        data: Mapping[str, Any] = next(raw["data"] for raw in self.nodes if raw["id"] == name)
        return data

    def incoming(self, name: str) -> list[dict[str, Any]]:
        """The edges that lead to a node."""
        return [edge for edge in self.edges if edge["target"] == name]

    def settled_before(self, name: str) -> set[str]:
        """The nodes that are settled for certain before this one runs: a join that waits for some tells nothing."""
        incoming = self.incoming(name)
        if len(incoming) > 1 and self.data(name).get("join", "all") != "all":
            return set()
        sources = {edge["source"] for edge in incoming}
        return sources.union(*(self.settled_before(source) for source in sources))

    def is_called(self, name: str) -> bool:
        """Whether a node that runs makes a call."""
        return self.kinds[name] == "call" and self.behaviours[name] != "disabled"


class Drawing:
    """A shape that is being drawn, node by node; each leads from nodes that are there.

    Args:
        name: of the shape.
        base: the URL of the receiver.
        webhook: whether it is started by a webhook instead of by hand.
    """

    def __init__(self, name: str, base: str, *, webhook: bool = False) -> None:
        component = "webhook_trigger" if webhook else "manual_trigger"
        self.shape = Shape(name, [node("start", component)], [], {"start": "trigger"})
        self._base = base
        self._payload = "trigger.body" if webhook else "trigger"
        self._above: dict[str, set[str]] = {"start": set()}

    def outputs(self, name: str) -> Handles:
        """The handles that a node may end on."""
        named = {"number": ("true", "false"), "switch": ("a", "b", "default")}.get(self.shape.kinds[name])
        error = ("error",) if self.shape.data(name).get("continue_on_error") else ()
        return (*(named or (None,)), *error)

    def call(self, sources: Sequence[tuple[str, str | None]], behaviour: str, **more: Any) -> str:
        """An outbound call whose body carries the tokens of all calls before it."""
        name = f"n{len(self.shape.nodes)}"
        above = self._reach(sources)
        calls = sorted(filter(self.shape.is_called, above))
        built_on = {one: f'{{{{ nodes["{one}"].body.token | default: "" }}}}' for one in calls}
        body = {"run": "{{ run.id }}", "node": name, "built_on": built_on}
        url = f"{self._base}/{behaviour}"
        self.shape.behaviours[name] = behaviour
        settings = deepcopy(BEHAVIOURS[behaviour].settings)
        return self.add("call", sources, "webhook", method="POST", url=url, body=body, **settings, **more)

    def number(self, sources: Sequence[tuple[str, str | None]], chance: Random, **more: Any) -> str:
        """A condition on the payload, or on what a call before it was answered."""
        waits_for_all = len(sources) == 1 or more.get("join", "all") == "all"
        settled = {one for source, _ in sources for one in (source, *self.shape.settled_before(source))}
        calls = sorted(filter(self.shape.is_called, settled)) if waits_for_all else []
        told = f"{self._payload}.pick"
        if calls and chance.random() < 0.5:
            told = f'nodes["{chance.choice(calls)}"].body.number | default: 0'
        return self.add(
            "number", sources, "number_condition", input=f"{{{{ {told} }}}}", operator=">=", value=50, **more
        )

    def switch(self, sources: Sequence[tuple[str, str | None]], **more: Any) -> str:
        """A switch on the payload."""
        cases = [{"name": name, "operator": "equals", "value": name} for name in ("a", "b")]
        told = f"{{{{ {self._payload}.word }}}}"
        return self.add("switch", sources, "switch_condition", input=told, cases=cases, **more)

    def text(self, sources: Sequence[tuple[str, str | None]], **more: Any) -> str:
        """A node that writes the run's id."""
        return self.add("text", sources, "text_transform", template="{{ run.id }}", **more)

    def delay(self, sources: Sequence[tuple[str, str | None]], seconds: float, **more: Any) -> str:
        """A wait."""
        return self.add("delay", sources, "delay", duration=seconds, unit="seconds", **more)

    def terminate(self, sources: Sequence[tuple[str, str | None]], status: str, **more: Any) -> str:
        """The end of the run."""
        return self.add("terminate", sources, "terminate", status=status, output={"ended": "{{ run.id }}"}, **more)

    def add(self, kind: str, sources: Sequence[tuple[str, str | None]], component: str, **data: Any) -> str:
        """Any node; its name."""
        name = f"n{len(self.shape.nodes)}"
        self._above[name] = self._reach(sources)
        self.shape.nodes.append(node(name, component, **data))
        self.shape.kinds[name] = kind
        for source, handle in sources:
            named = {} if handle is None else {"sourceHandle": handle}
            self.shape.edges.append({"id": f"e{len(self.shape.edges)}", "source": source, "target": name, **named})
        return name

    def _reach(self, sources: Sequence[tuple[str, str | None]]) -> set[str]:
        return {above for source, _ in sources for above in (source, *self._above[source])}


def draw(number: int, base: str, chance: Random) -> Shape:
    """A random shape: every third one a chain, every third one a fan that is joined, the others anything."""
    drawing = Drawing(f"shape{number}", base, webhook=chance.random() < 0.4)
    (_chain, _fan, _anything)[number % 3](drawing, chance)
    return drawing.shape


def _behaviour(chance: Random) -> str:
    names = list(BEHAVIOURS)
    return chance.choices(names, [BEHAVIOURS[name].weight for name in names])[0]


def _chain(drawing: Drawing, chance: Random) -> None:
    last = "start"
    for _ in range(chance.randint(1, 6)):
        sources = [(last, chance.choice(drawing.outputs(last)))]
        last = _any_node(drawing, sources, chance)


def _fan(drawing: Drawing, chance: Random) -> None:
    width = chance.randint(2, 10)
    branches: list[tuple[str, str | None]] = []
    for _ in range(width):
        name = drawing.call([("start", None)], _behaviour(chance))
        branches += [(name, handle) for handle in drawing.outputs(name)]
    join = drawing.text(branches, join=_join(len(branches), chance))
    drawing.call([(join, None)], "ok")


def _anything(drawing: Drawing, chance: Random) -> None:
    names = ["start"]
    for _ in range(chance.randint(3, 10)):
        picked = chance.sample(names, min(len(names), chance.randint(1, 3)))
        sources = [(name, chance.choice(drawing.outputs(name))) for name in picked]
        names.append(_any_node(drawing, sources, chance, join=_join(len(sources), chance)))
    if chance.random() < 0.2:
        last = chance.choice(names[1:])
        drawing.terminate([(last, chance.choice(drawing.outputs(last)))], chance.choice(["completed", "failed"]))


def _join(incoming: int, chance: Random) -> str | dict[str, int]:
    if chance.random() < 0.5:
        return "all"
    return "any" if chance.random() < 0.5 else {"count": chance.randint(1, incoming)}


def _any_node(drawing: Drawing, sources: Sequence[tuple[str, str | None]], chance: Random, **more: Any) -> str:
    kind = chance.choices(["call", "text", "number", "switch", "delay"], [10, 3, 3, 2, 2])[0]
    if kind == "call":
        return drawing.call(sources, _behaviour(chance), **more)
    if kind == "number":
        return drawing.number(sources, chance, **more)
    if kind == "switch":
        return drawing.switch(sources, **more)
    if kind == "delay":
        return drawing.delay(sources, chance.choice([0, 0.5, 1, 2]), **more)
    return drawing.text(sources, **more)
