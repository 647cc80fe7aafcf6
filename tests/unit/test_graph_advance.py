"""What a step's end means for the nodes behind it, case by case."""

import pytest

from shared.graph.advance import Arrivals, Verdict, backoff, end, resolve, skip
from shared.graph.plan import compile_plan
from shared.graph.settings import Retry
from tests.graphs import CATALOGUE, chain, edge, node


def diamond(join="all"):
    """A condition ``c`` with branches ``a`` and ``b`` that meet in ``j``, and ``k`` behind it."""
    nodes = [node("t", "start"), node("c", "condition"), node("a"), node("b"), node("j", join=join), node("k")]
    edges = [edge("t", "c"), edge("c", "a", "true"), edge("c", "b", "false"), edge("a", "j"), edge("b", "j")]
    return compile_plan(nodes, [*edges, edge("j", "k")], CATALOGUE)


def test_the_next_of_a_chain_is_ready():
    """A single edge that fires makes its target ready."""
    plan = compile_plan(*chain(2), CATALOGUE)
    progress = end(plan, "t", None, {})
    assert (progress.ready, progress.skipped) == (["n0"], [])
    assert end(plan, "n1", None, {}).ready == []


def test_a_dead_branch_is_skipped_up_to_the_join():
    """The branch not taken is skipped, and its edge into the join is an arrival that did not fire."""
    joins = {}
    progress = end(diamond(), "c", "true", joins)
    assert (progress.ready, progress.skipped) == (["a"], ["b"])
    assert joins == {"j": Arrivals(arrived=1, fired=0)}
    assert end(diamond(), "a", None, joins).ready == ["j"]
    assert joins == {}


def test_a_join_that_nothing_reaches_is_skipped_with_what_is_behind():
    """When all edges of a join are dead, the skip goes on through it."""
    joins = {}
    assert skip(diamond(), "c", joins).skipped == ["c", "a", "b", "j", "k"]
    assert joins == {}


def test_arrivals_of_others_stay_open():
    """A join that this walk does not have all edges of is left to the database, even one that needs any."""
    joins = {}
    assert end(diamond("any"), "a", None, joins).ready == []
    assert joins == {"j": Arrivals(arrived=1, fired=1)}


def test_a_count_out_of_reach_is_a_skip():
    """With all edges settled and too few fired, a count is skipped."""
    joins = {"j": Arrivals(arrived=1, fired=0)}
    assert end(diamond({"count": 2}), "a", None, joins).skipped == ["j", "k"]


def test_parallel_edges_count_separately():
    """Two edges between one pair are two arrivals, each by its own handle."""
    nodes = [node("t", "start"), node("c", "condition"), node("j", join={"count": 2})]
    edges = [edge("t", "c"), edge("c", "j", "true", "1"), edge("c", "j", "true", "2"), edge("c", "j", "false", "3")]
    plan = compile_plan(nodes, edges, CATALOGUE)
    assert end(plan, "c", "true", {}).ready == ["j"]
    assert end(plan, "c", "false", {}).skipped == ["j"]


def test_the_error_handle_kills_the_output():
    """A failure that is continued past fires the error edges and no others."""
    nodes = [node("t", "start"), node("a", continue_on_error=True), node("ok"), node("no")]
    edges = [edge("t", "a"), edge("a", "ok"), edge("a", "no", "error")]
    plan = compile_plan(nodes, edges, CATALOGUE)
    assert end(plan, "a", "error", {}).ready == ["no"]
    assert end(plan, "a", None, {}).skipped == ["no"]
    assert end(plan, "a", "anything", {}).ready == ["ok"]


@pytest.mark.parametrize("handle", [None, "maybe"])
def test_a_handle_that_is_none_is_an_error(handle):
    """A condition that ends on no handle of its own must not look like one with dead branches."""
    with pytest.raises(LookupError, match="none of its handles"):
        end(diamond(), "c", handle, {})


@pytest.mark.parametrize(
    ("need", "arrived", "fired", "added_arrived", "added_fired", "verdict"),
    [
        (0, 2, 2, 1, 1, Verdict.NONE),
        (0, 3, 1, 1, 0, Verdict.RUN),
        (0, 3, 0, 2, 0, Verdict.SKIP),
        (0, 3, 1, 0, 0, Verdict.NONE),
        (1, 1, 1, 1, 1, Verdict.RUN),
        (1, 2, 2, 1, 1, Verdict.NONE),
        (1, 3, 3, 3, 3, Verdict.RUN),
        (2, 3, 1, 1, 1, Verdict.SKIP),
        (2, 3, 3, 2, 2, Verdict.RUN),
        (2, 3, 2, 1, 0, Verdict.NONE),
    ],
)
def test_verdicts_of_a_join_of_three(need, arrived, fired, added_arrived, added_fired, verdict):
    """An addition starts the join when it settles the last edge, or makes the n-th fire, and never again."""
    assert resolve(3, need, arrived, fired, added_arrived, added_fired) is verdict


@pytest.mark.parametrize(("attempt", "seconds"), [(1, 2), (2, 4), (3, 8), (4, 10), (100, 10)])
def test_exponential_backoff_doubles_up_to_its_cap(attempt, seconds):
    """The delay doubles with each attempt until it is max_delay."""
    assert backoff(Retry(delay=2, max_delay=10, jitter=False), attempt, None, 0.5) == seconds


def test_fixed_backoff_stays():
    """A fixed delay is the same after every attempt, also one above max_delay."""
    retry = Retry(backoff="fixed", delay=400, jitter=False)
    assert backoff(retry, 1, None, 0) == backoff(retry, 7, None, 0) == 400


def test_a_first_delay_above_the_cap_is_kept():
    """max_delay bounds the growth and never shortens the delay that was asked for."""
    assert backoff(Retry(delay=400, jitter=False), 3, None, 0) == 400


def test_jitter_takes_up_to_half():
    """With jitter a delay is 50-100% of itself."""
    assert backoff(Retry(delay=10), 1, None, 0.0) == 5
    assert backoff(Retry(delay=10), 1, None, 0.5) == 7.5


@pytest.mark.parametrize(("asked", "seconds"), [(None, 10), (3, 10), (60, 60), (1e9, 3600)])
def test_the_far_side_may_ask_for_longer(asked, seconds):
    """Retry-After lengthens the delay up to an hour and never shortens it."""
    assert backoff(Retry(delay=10, jitter=False), 1, asked, 0) == seconds
