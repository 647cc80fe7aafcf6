"""The walk's functions against a slow and obvious model, over random graphs and random interleavings of workers."""

from collections import Counter
from dataclasses import dataclass, field
from random import Random
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from shared.graph.advance import Joins, Progress, Verdict, end, resolve, skip
from shared.graph.plan import Plan, compile_plan, decode_plan, encode_plan
from tests.graphs import CATALOGUE, graphs, outputs

Handles = dict[str, str | None]


@dataclass
class Walk:
    """One worker's walk: nodes it may run, arrivals not yet durable, and the outputs it has at hand."""

    pending: list[str]
    at_hand: set[str]
    before: frozenset[str]
    joins: Joins = field(default_factory=dict)


@dataclass
class Cluster:
    """Several workers and their database, stepped at random."""

    plan: Plan
    handles: Handles
    random: Random
    queue: list[tuple[str, Verdict]] = field(default_factory=list)
    counters: dict[str, tuple[int, int]] = field(default_factory=dict)
    walks: list[Walk] = field(default_factory=list)
    ran: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    committed: set[str] = field(default_factory=set)

    def drain(self) -> None:
        """Step workers at random until nothing is open."""
        self.queue.append((self.plan.trigger, Verdict.RUN))
        while self.queue or self.walks:
            if self.queue and (not self.walks or self.random.random() < 0.3):
                self._take()
            else:
                self._step(self.random.choice(self.walks))

    def _take(self) -> None:
        node_id, verdict = self.queue.pop(self.random.randrange(len(self.queue)))
        walk = Walk([node_id], set(self.plan.needs(node_id)), frozenset(self.committed))
        self.walks.append(walk)
        if verdict is Verdict.SKIP:
            walk.pending = []
            self._go_on(walk, skip(self.plan, node_id, walk.joins))

    def _step(self, walk: Walk) -> None:
        if not walk.pending:
            self._flush(walk)
            self.walks.remove(walk)
        elif self.random.random() < 0.2:
            self._flush(walk)
        else:
            self._run(walk, walk.pending.pop(self.random.randrange(len(walk.pending))))

    def _run(self, walk: Walk, node_id: str) -> None:
        read = set(self.plan.nodes[node_id].references) & walk.before
        assert read <= walk.at_hand, f"{node_id} reads {read - walk.at_hand}, which its walk did not load"
        walk.at_hand.add(node_id)
        self.ran.append(node_id)
        self._go_on(walk, end(self.plan, node_id, self.handles[node_id], walk.joins))

    def _go_on(self, walk: Walk, progress: Progress) -> None:
        walk.pending += progress.ready
        self.skipped += progress.skipped

    def _flush(self, walk: Walk) -> None:
        """Make the walk's arrivals durable and leave all branches but one to others."""
        self.committed |= walk.at_hand & set(self.ran)
        for target, added in walk.joins.items():
            node, (arrived, fired) = self.plan.nodes[target], self.counters.get(target, (0, 0))
            arrived, fired = arrived + added.arrived, fired + added.fired
            self.counters[target] = arrived, fired
            verdict = resolve(node.in_degree, node.need, arrived, fired, added.arrived, added.fired)
            if verdict is not Verdict.NONE:
                self.queue.append((target, verdict))
        walk.joins.clear()
        self.queue += [(node_id, Verdict.RUN) for node_id in walk.pending[1:]]
        del walk.pending[1:]


def reference(nodes: list[dict[str, Any]], edges: list[dict[str, Any]], handles: Handles) -> dict[str, bool]:
    """Whether each node runs, by looking at every edge again and again until nothing changes."""
    verdicts = {"n0": True}
    named = {raw["id"]: outputs(raw) for raw in nodes}
    while True:
        before = len(verdicts)
        for raw in nodes:
            incoming = [item for item in edges if item["target"] == raw["id"]]
            settled = [item for item in incoming if item["source"] in verdicts]
            fired = 0
            for item in settled:
                handle = item.get("sourceHandle")
                taken = handles[item["source"]] if len(named[item["source"]]) > 1 else handle
                fired += verdicts[item["source"]] and taken == handle
            join = raw["data"].get("join", "all")
            least = join["count"] if isinstance(join, dict) else 1
            done = len(settled) == len(incoming)
            if raw["id"] not in verdicts and (done or (join != "all" and fired >= least)):
                verdicts[raw["id"]] = fired >= least
        if len(verdicts) == before:
            return verdicts


def choose(nodes: list[dict[str, Any]], random: Random) -> Handles:
    """A handle for every node to end on."""
    return {raw["id"]: random.choice(outputs(raw)) for raw in nodes}


def compiled(nodes: list[dict[str, Any]], edges: list[dict[str, Any]]) -> Plan:
    """The plan as a worker has it: read back from its stored form."""
    return decode_plan(encode_plan(compile_plan(nodes, edges, CATALOGUE)))


@given(graphs(), st.integers(0, 2**32))
def test_workers_agree_with_the_reference_model(graph, seed):
    """Whatever the interleaving, each node is settled exactly once, and runs exactly if the model runs it."""
    nodes, edges = graph
    handles = choose(nodes, Random(seed))
    cluster = Cluster(compiled(nodes, edges), handles, Random(seed + 1))
    cluster.drain()
    expected = reference(nodes, edges, handles)
    assert Counter(cluster.ran) == Counter(name for name, runs in expected.items() if runs)
    assert Counter(cluster.skipped) == Counter(name for name, runs in expected.items() if not runs)
    assert len(expected) == len(nodes)


@given(graphs(joins=False), st.integers(0, 2**32))
def test_order_does_not_matter_without_counts(graph, seed):
    """Where every join waits for all its edges, two interleavings run and skip the same nodes."""
    handles = choose(graph[0], Random(seed))
    plan = compiled(*graph)
    first, second = (Cluster(plan, handles, Random(seed + number)) for number in (1, 2))
    first.drain()
    second.drain()
    assert sorted(first.ran) == sorted(second.ran)
    assert sorted(first.skipped) == sorted(second.skipped)


@given(graphs(), st.integers(0, 2**32))
def test_joins_start_at_their_threshold(graph, seed):
    """A node runs after the edges it needs: all of its sources for ``all``, at least n fired ones for a count."""
    nodes, edges = graph
    handles = choose(nodes, Random(seed))
    plan = compiled(nodes, edges)
    cluster = Cluster(plan, handles, Random(seed + 1))
    cluster.drain()
    settled = {name: place for place, name in enumerate(cluster.ran)}
    for name in cluster.ran[1:]:
        incoming = [item["source"] for item in edges if item["target"] == name]
        earlier = [source for source in incoming if settled.get(source, len(nodes)) < settled[name]]
        if plan.nodes[name].need:
            assert len(earlier) >= plan.nodes[name].need
        else:
            assert all(source in cluster.skipped or source in earlier for source in incoming)


@given(graphs(), st.integers(0, 2**32))
def test_one_worker_alone_needs_no_database_for_all_joins(graph, seed):
    """A walk that nobody shares resolves every join itself and leaves no arrivals behind."""
    nodes, edges = graph
    plan = compiled(nodes, edges)
    handles = choose(nodes, Random(seed))
    joins: Joins = {}
    pending, skipped, ran = [plan.trigger], [], []
    while pending:
        ran.append(pending.pop())
        progress = end(plan, ran[-1], handles[ran[-1]], joins)
        pending += progress.ready
        skipped += progress.skipped
    assert joins == {}
    assert sorted(ran + skipped) == sorted(plan.nodes)


@given(st.integers(1, 6), st.integers(0, 6), st.lists(st.booleans(), min_size=6, max_size=6), st.randoms())
def test_exactly_one_addition_starts_a_join(in_degree, need, fires, random):
    """However the arrivals are grouped, exactly one addition gives a verdict, and it is the right one."""
    need = min(need, in_degree)
    left, arrived, fired, verdicts = fires[:in_degree], 0, 0, []
    while left:
        size = random.randint(1, len(left))
        added, left = left[:size], left[size:]
        arrived, fired = arrived + size, fired + sum(added)
        verdict = resolve(in_degree, need, arrived, fired, size, sum(added))
        if verdict is not Verdict.NONE:
            verdicts.append(verdict)
    assert verdicts == [Verdict.RUN if fired >= (need or 1) else Verdict.SKIP]
