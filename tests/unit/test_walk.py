"""The walk of one run in memory: what one advance holds."""

import random
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client import REGISTRY

from shared.apart import isolated
from shared.apart.processes import fields_of
from shared.db import Clock
from shared.errors import StepFailedError
from shared.graph.plan import compile_plan
from shared.nodes.base import Outcome, StepContext, Terminate
from shared.store.taken import Loaded
from tests.engine import LINKS, graph, mint, registry
from worker.plans import Blueprint
from worker.walk import Tools, Walk

CONDITION = {"component": "string_condition", "input": "{{ trigger.context.x }}", "operator": "equals", "value": "x"}


def walk_of(
    spec: str,
    *,
    at: str = "t",
    known: Any = None,
    outputs: Any = None,
    row: Any = None,
    authorizer: Any = None,
    **data: Any,
) -> Walk:
    """A walk that came by the step ``at``."""
    known = known or registry()
    plan = compile_plan(*graph(spec, **data), known)
    nodes = {name: known.compile(name, node.component, node.data) for name, node in plan.nodes.items()}
    values = {"claim_id": None, "attempt": 1, "fired": True, "wake": None, "crashes": 0, "ending": False} | (row or {})
    now = Clock().now()
    ids = [mint.uuid() for _ in range(3)]
    loaded = Loaded(
        ids[0],
        at,
        "-",
        **values,
        sent_at=now,
        started_at=now,
        workspace_id=ids[1],
        workflow_id=ids[2],
        version=1,
        trigger_type="manual",
        trigger_payload='{"x": "x"}',
        created_at=now,
        priority=1,
    )
    tools = Tools(Clock(), mint.uuid, random.Random(1).random, None, LINKS, authorizer=authorizer)
    blueprint = Blueprint(
        plan, nodes, {"id": "fl_x", "name": "w", "version": 1}, authorization_id=authorizer and mint.uuid()
    )
    return Walk(loaded, blueprint, outputs or {}, tools)


def test_a_step_of_a_run_that_is_being_ended_is_cancelled_instead_of_run():
    """A late message for it records its end and leads to nothing."""
    walk = walk_of("t>f1 f1>f2", row={"ending": True})
    walk.start()
    advance, following = walk.advance(keep_going=True)
    assert settled(advance) == [("t", "cancelled")]
    assert (advance.openings, advance.arrivals, advance.outcome, following) == ([], [], None, None)


class Presents:
    """An authorizer that gives its places away."""

    def of(self, workspace_id: Any, authorization_id: Any) -> Any:
        return workspace_id, authorization_id


@pytest.mark.parametrize(("at", "is_handed"), [("a", True), ("b", False), ("w", False)])
def test_only_a_type_that_is_authorized_is_handed_the_authorization(at: str, *, is_handed: bool) -> None:
    """A type that does not say that it presents it, however it is used, has none to ask."""
    data: dict[str, dict[str, Any]] = {
        "a": {"component": "api_call", "method": "GET", "endpoint": "/x"},
        "b": {"component": "webhook", "method": "GET", "url": "https://example.com/"},
        "w": {"component": "delay", "duration": 1, "unit": "minutes"},
    }
    presents = Presents()
    walk = walk_of("t>a t>b t>w", at=at, authorizer=presents, **data)
    given = walk.step_context().authorization
    assert (given is not None) == is_handed
    if given is not None:
        assert given.authorization == (walk.loaded.workspace_id, walk.blueprint.authorization_id)
    assert walk_of("t>a t>b t>w", at=at, **data).step_context().authorization is None


@pytest.mark.parametrize("authorized", [True, False])
async def test_a_process_of_its_own_hands_it_on_likewise(*, authorized: bool) -> None:
    """There it stands for a grant that is asked for; a type that is not authorized has none there, either."""
    seen: list[Any] = []

    class Noting:
        async def call(self, scope: Any, context: StepContext) -> Outcome:
            seen.append(context.authorization)
            return Outcome({})

    node: Any = Noting()
    node.authorized = authorized
    context = StepContext("r", "n", "-", 1, "r:n:-", Clock().now(), 5.0, None)  # type: ignore[arg-type]
    request = isolated.Request("n", "noting", {}, "call", {}, fields_of(context))
    teller: Any = SimpleNamespace(uses_secret=None)
    await isolated._call(request, node, {}, teller)
    assert [given is not None for given in seen] == [authorized]


def opened(advance: Any) -> dict[str, str]:
    return {opening.node_id: opening.status for opening in advance.openings}


def settled(advance: Any) -> list[tuple[str, str]]:
    return [(result.node_id, result.status) for result in advance.results]


def test_pure_nodes_are_one_advance():
    """From the trigger to the last leaf, in the order they ran; only the first is the held step's own."""
    walk = walk_of("t>f1 f1>f2 f1>f3")
    walk.start()
    advance, following = walk.advance(keep_going=True)
    assert settled(advance) == [(name, "success") for name in ("t", "f1", "f2", "f3")]
    assert [result.own for result in advance.results] == [True, False, False, False]
    assert (advance.node_id, advance.claim_id, following) == ("t", None, None)
    assert not advance.openings


def test_a_fork_of_effects_keeps_one_and_leaves_the_others():
    """The first is running under a claim of this worker's, the others are ready, to be claimed first."""
    walk = walk_of("t>a t>b t>c")
    walk.start()
    advance, following = walk.advance(keep_going=True)
    assert opened(advance) == {"a": "running", "b": "ready", "c": "ready"}
    assert following.node.id == "a"
    assert advance.next_claim == following.claim_id == advance.openings[0].claim_id
    assert [opening.claim_id for opening in advance.openings[1:]] == [None, None]
    assert all(opening.claim_first for opening in advance.openings)


def test_a_stopping_worker_keeps_none():
    """Every effect is left ready."""
    walk = walk_of("t>a t>b")
    walk.start()
    advance, following = walk.advance(keep_going=False)
    assert opened(advance) == {"a": "ready", "b": "ready"}
    assert (following, advance.next_claim) == (None, None)


def test_the_walk_holds_its_next_effect():
    """The advance after an effect is guarded by that effect's claim, and holds nothing of the one before."""
    walk = walk_of("t>a a>f1 f1>b")
    walk.start()
    _, following = walk.advance(keep_going=True)
    walk.settle(Outcome({"value": 1}, step_input={"called": True}), 0.5)
    advance, after = walk.advance(keep_going=True)
    assert (advance.node_id, advance.claim_id) == ("a", following.claim_id)
    assert settled(advance) == [("a", "success"), ("f1", "success")]
    assert advance.results[0].input == '{"called":true}'
    assert 490 <= advance.results[0].duration_ms <= 510
    assert after.node.id == "b"


def test_a_join_within_the_walk_needs_no_arrivals():
    """A condition whose branches meet again is settled in memory."""
    walk = walk_of("t>c c>f1:true c>f2:false f1>f3 f2>f3", c=CONDITION)
    walk.start()
    advance, _ = walk.advance(keep_going=True)
    assert dict(settled(advance)) == {"t": "success", "c": "success", "f1": "success", "f2": "skipped", "f3": "success"}
    assert not advance.arrivals


def test_a_join_with_a_branch_elsewhere_is_an_arrival():
    """What this walk settled of it, once."""
    walk = walk_of("t>f1 t>f2 t>a f1>j f2>j a>j")
    walk.start()
    advance, _ = walk.advance(keep_going=True)
    (arrival,) = advance.arrivals
    assert (arrival.node_id, arrival.arrived, arrival.fired, arrival.degree, arrival.need) == ("j", 2, 2, 3, 0)
    walk.settle(Outcome({}), 0.0)
    advance, _ = walk.advance(keep_going=True)
    (arrival,) = advance.arrivals
    assert (arrival.arrived, arrival.fired) == (1, 1)


def test_a_failure_ends_the_run_and_drops_what_would_start():
    """No opening and no arrival goes with it; what ran is recorded, and nothing after it runs."""
    ran = []

    def act(data):
        ran.append(data.name)
        if data.name == "bad":
            raise StepFailedError("no", "N\0o.")
        return Outcome({})

    walk = walk_of("t>a t>f1 t>f2 t>f3 f1>j a>j", known=registry(pure=act), f2={"name": "bad"}, f3={"name": "late"})
    walk.start()
    advance, following = walk.advance(keep_going=True)
    assert (advance.outcome, advance.error_message, advance.abort) == ("failed", "N�o.", False)
    assert following is None
    assert not advance.openings
    assert not advance.arrivals
    assert settled(advance) == [("t", "success"), ("f1", "success"), ("f2", "failed")]
    assert ran == ["", "bad"]


def test_terminate_ends_the_run_with_its_output():
    """A completed one has no error message, whatever its message says."""
    known = registry(pure=lambda data: Outcome({}, terminate=Terminate("completed", "fine", {"x": 1})))
    walk = walk_of("t>f1 t>a", known=known)
    walk.start()
    advance, following = walk.advance(keep_going=True)
    assert (advance.outcome, advance.error_message, advance.output, advance.abort) == (
        "completed",
        None,
        '{"x":1}',
        True,
    )
    assert following is None
    assert not advance.openings


def test_a_step_that_did_not_fire_passes_its_skip_on():
    """It and what lies behind it are skipped; its own node never runs."""
    walk = walk_of("t>a t>b a>f1 b>f1 f1>f2", at="f1", row={"fired": False})
    walk.start()
    advance, _ = walk.advance(keep_going=True)
    assert settled(advance) == [("f1", "skipped"), ("f2", "skipped")]


def test_a_wait_is_a_row_and_ends_when_it_is_woken():
    """Begun, it opens as waiting until its moment; woken, it goes on."""
    delay = {"component": "delay", "duration": 60}
    walk = walk_of("t>w w>f1", w=delay)
    walk.start()
    advance, following = walk.advance(keep_going=True)
    (opening,) = advance.openings
    assert (opening.node_id, opening.status, opening.claim_first, following) == ("w", "waiting", False, None)
    assert 55 < (opening.due_at - Clock().now()).total_seconds() <= 60
    woken = walk_of("t>w w>f1", at="w", row={"wake": "timer"}, w=delay)
    woken.start()
    advance, _ = woken.advance(keep_going=True)
    assert settled(advance) == [("w", "success"), ("f1", "success")]


def test_an_advance_that_could_not_be_stored_becomes_a_failure_of_its_step():
    """Of the step it held, under the claim it held it by; nothing else of it is kept."""
    walk = walk_of("t>a a>f1 f1>b")
    walk.start()
    _, following = walk.advance(keep_going=True)
    walk.settle(Outcome({"value": "refused"}), 0.0)
    walk.advance(keep_going=True)
    walk.fail(StepFailedError("internal_error", "Broke."))
    advance, after = walk.advance(keep_going=False)
    assert (advance.node_id, advance.claim_id, advance.outcome) == ("a", following.claim_id, "failed")
    assert settled(advance) == [("a", "failed")]
    assert after is None
    assert not advance.openings


def test_a_retry_keeps_its_attempts_number():
    """The attempt that was loaded counts, and a node that only follows starts at its first."""
    retry = {"max_attempts": 3, "delay": 10, "jitter": False, "backoff": "fixed"}
    walk = walk_of("t>a a>b", at="a", row={"attempt": 2, "claim_id": mint.uuid()}, a={"retry": retry})
    walk.settle(StepFailedError("away", "Away.", category="network"), 0.0)
    advance, _ = walk.advance(keep_going=True)
    (opening,) = advance.openings
    assert (opening.node_id, opening.status, opening.attempt, opening.claim_first) == ("a", "waiting", 3, True)
    assert settled(advance) == [("a", "retried")]
    assert advance.outcome is None
    walk = walk_of("t>a a>f1", at="a", row={"attempt": 3, "claim_id": mint.uuid()}, a={"retry": retry})
    walk.settle(Outcome({}), 0.0)
    advance, _ = walk.advance(keep_going=True)
    assert [result.attempt for result in advance.results] == [3, 1]


def test_the_key_of_an_effect_is_the_same_in_every_attempt():
    """Run, node and item, and nothing of the attempt."""
    first = walk_of("t>a", at="a")
    again = Walk(first.loaded._replace(attempt=2), first.blueprint, {}, first._tools)
    assert first.step_context().idempotency_key == again.step_context().idempotency_key
    assert first.step_context().idempotency_key.startswith("fl_run_")
    assert first.step_context().idempotency_key.endswith(":a:-")
    assert (first.step_context().attempt, again.step_context().attempt) == (1, 2)


def test_a_trigger_output_is_composed_and_not_stored():
    """What is stored of a trigger is its run's payload alone."""
    walk = walk_of("t>f1", f1={"value": "{{ trigger.context.x }}-{{ t.context.x }}-{{ nodes['t'].context.x }}"})
    walk.start()
    advance, _ = walk.advance(keep_going=True)
    assert [result.output for result in advance.results] == [None, '{"value":"x-x-x"}']
    later = walk_of("t>f1", at="f1", outputs={"t": None}, f1={"value": "{{ trigger.context.x }}{{ t.context.x }}"})
    later.start()
    advance, _ = later.advance(keep_going=True)
    assert [result.output for result in advance.results] == ['{"value":"xx"}']


def test_attempts_are_counted_by_component_and_outcome():
    """Every attempt counts once, when its advance is made."""
    labels = {"component": "fold", "outcome": "success"}
    before = REGISTRY.get_sample_value("edgewise_steps_total", labels) or 0.0
    walk = walk_of("t>f1 f1>f2 f1>f3")
    walk.start()
    walk.advance(keep_going=True)
    walk.advance(keep_going=True)
    assert REGISTRY.get_sample_value("edgewise_steps_total", labels) == before + 3
