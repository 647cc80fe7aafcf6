"""Where an ended run goes on, held against the reference model: a resumed run ends as one that ran through would."""

from collections import Counter
from itertools import chain
from random import Random

from hypothesis import assume, given
from hypothesis import strategies as st

from shared.graph.advance import Verdict
from shared.graph.plan import Plan
from shared.graph.resume import Frontier, Settled, frontier
from shared.graph.topology import reachable
from shared.states import StepStatus
from tests.graphs import graphs
from tests.property.test_graph_advance import Cluster, choose, compiled, reference

Results = dict[str, Settled]


def interrupted(plan: Plan, handles: dict[str, str | None], random: Random) -> Results:
    """A run that ends in the middle: at some moment one node fails, and nothing new starts."""
    cluster = Cluster(plan, handles, random)
    cluster.queue.append((plan.trigger, Verdict.RUN))
    for _ in range(random.randrange(1, 4 * len(plan.nodes) + 1)):
        if cluster.queue and (not cluster.walks or random.random() < 0.3):
            cluster._take()
        elif cluster.walks:
            cluster._step(random.choice(cluster.walks))
    ended = {name: Settled(_status(handles[name]), handles[name]) for name in cluster.ran}
    ended |= {name: Settled(StepStatus.SKIPPED, None) for name in cluster.skipped}
    last = cluster.ran[-1] if cluster.ran else None
    if last is not None and last != plan.trigger and random.random() < 0.5 and not _followed(plan, last, ended):
        ended[last] = Settled(StepStatus.FAILED, None)
    return ended


def _status(handle: str | None) -> str:
    return StepStatus.FAILED if handle == "error" else StepStatus.SUCCESS


def _followed(plan: Plan, name: str, ended: Results) -> bool:
    """Whether anything behind a node was decided, so that it can't have failed just now."""
    return not ended.keys().isdisjoint(chain.from_iterable(plan.nodes[name].outgoing.values()))


def behind(plan: Plan, name: str) -> set[str]:
    """The nodes that come after one."""
    successors = {name: list(chain.from_iterable(node.outgoing.values())) for name, node in plan.nodes.items()}
    return reachable(successors, [name]) - {name}


def go_on(plan: Plan, start: Frontier, handles: dict[str, str | None], random: Random) -> Cluster:
    """Workers carry the resumed run to its end."""
    cluster = Cluster(plan, handles, random)
    cluster.counters = {name: (counts.arrived, counts.fired) for name, counts in start.joins.items()}
    cluster.queue = [(name, Verdict.RUN) for name in start.ready]
    while cluster.queue or cluster.walks:
        if cluster.queue and (not cluster.walks or random.random() < 0.3):
            cluster._take()
        else:
            cluster._step(random.choice(cluster.walks))
    return cluster


@given(graphs(), st.integers(0, 2**32))
def test_a_resumed_run_ends_as_one_that_ran_through(graph, seed):
    """Inherited and run again, every node is settled exactly once, as in a run from the start with these handles."""
    random = Random(seed)
    nodes, edges = graph
    plan = compiled(nodes, edges)
    old = choose(nodes, random)
    ended = interrupted(plan, old, random)
    successful = sorted(name for name, result in ended.items() if result.status == StepStatus.SUCCESS)
    assume(successful)
    start = frontier(plan, ended, random.choice(successful))
    handles = {**choose(nodes, random), **{name: old[name] for name in start.copied}}
    cluster = go_on(plan, start, handles, random)
    expected = reference(nodes, edges, handles)
    inherited = [name for name in start.copied if ended[name].status != StepStatus.SKIPPED]
    skipped = [name for name in start.copied if ended[name].status == StepStatus.SKIPPED] + start.skipped
    assert Counter(cluster.ran + inherited) == Counter(name for name, runs in expected.items() if runs)
    assert Counter(cluster.skipped + skipped) == Counter(name for name, runs in expected.items() if not runs)


@given(graphs(), st.integers(0, 2**32))
def test_what_is_inherited_and_what_runs_again(graph, seed):
    """The node is inherited, nothing behind it that ran is, and nothing that failed unless it led to the node."""
    random = Random(seed)
    plan = compiled(*graph)
    ended = interrupted(plan, choose(graph[0], random), random)
    successful = sorted(name for name, result in ended.items() if result.status == StepStatus.SUCCESS)
    assume(successful)
    chosen = random.choice(successful)
    start = frontier(plan, ended, chosen)
    ran = {name for name in start.copied if ended[name].status != StepStatus.SKIPPED}
    assert chosen in ran
    assert ran.isdisjoint(behind(plan, chosen))
    for name in ran:
        assert ended[name].status == StepStatus.SUCCESS or chosen in behind(plan, name)
    assert start.ready or set(start.copied) | set(start.skipped) == set(plan.nodes)


@given(graphs(), st.integers(0, 2**32))
def test_without_caught_failures_every_success_elsewhere_is_inherited(graph, seed):
    """Every successful or skipped step that is not behind the node is copied."""
    random = Random(seed)
    plan = compiled(*graph)
    handles = {name: None if handle == "error" else handle for name, handle in choose(graph[0], random).items()}
    handles = {name: handle or next(iter(plan.nodes[name].handles), None) for name, handle in handles.items()}
    ended = interrupted(plan, handles, random)
    successful = sorted(name for name, result in ended.items() if result.status == StepStatus.SUCCESS)
    assume(successful)
    chosen = random.choice(successful)
    start = frontier(plan, ended, chosen)
    elsewhere = ended.keys() - behind(plan, chosen)
    kept = {name for name in elsewhere if ended[name].status != StepStatus.FAILED}
    assert kept <= set(start.copied)
