"""Going on with a run that failed or was cancelled: what the new run inherits, what runs again, and what is refused."""

import json
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import pytest

from shared.ids import Prefix, decode
from tests.api_client import ApiClient, token
from tests.desk import Desk
from tests.engine import eventually

_RESUME = "/workflows/runs/{}/resume-from/{}"


@pytest.fixture
async def desk(api: ApiClient, database_url: str) -> AsyncIterator[Desk]:
    """An api and a worker whose effects fail as the test says."""
    async with Desk.open(api, database_url) as desk:
        yield desk


async def _failed(desk: Desk, spec: str, *failing: str, context: Any = None, **data: Any) -> str:
    """A run that failed at these nodes; they will not fail again, and calls are counted from here."""
    run = await desk.execute(await desk.flow(spec, **data), context)
    desk.gates.fail.update(failing)
    await desk.ends(run, "failed")
    await desk.engine.idle()
    desk.gates.fail.clear()
    desk.gates.calls.clear()
    desk.gates.keys.clear()
    return run


async def _resume(desk: Desk, run: str, node_id: str) -> dict[str, Any]:
    answer = await desk.api.call("POST", _RESUME.format(run, node_id))
    assert answer.status == 202, answer.body
    assert answer.json["message"] == f"Workflow resumed successfully from node '{node_id}'."
    new: dict[str, Any] = answer.json["new_run"]
    return new


async def test_a_chain_goes_on_behind_the_node(desk: Desk) -> None:
    """What led to it is inherited with output, input and times; what failed runs again, with the new run's keys."""
    run = await _failed(desk, "t>a a>b b>c", "b", context={"k": 1}, c={"value": "{{ a.value }}"}, a={"value": "x"})
    new = await _resume(desk, run, "a")
    assert (new["status"], new["rerun_of"], new["trigger_payload"]) == ("pending", run, {"k": 1})
    assert [(step["node_id"], step["status"]) for step in new["steps"]] == [
        ("t", "success"),
        ("a", "success"),
        ("b", "ready"),
    ]
    ended = await desk.ends(new["id"], "completed")
    assert desk.gates.calls == Counter({"b": 1, "c": 1})
    assert all(key.startswith(f"{new['id']}:") for key in desk.gates.keys)
    old = await desk.read(run)
    kept = ("output", "input", "started_at", "duration_ms", "attempt", "handle")
    assert [[log[name] for name in kept] for log in ended["logs"][1:2]] == [
        [log[name] for name in kept] for log in old["logs"][1:2]
    ]
    assert [log["seq"] for log in ended["logs"]] == [0, 1, 2, 3]
    assert ended["logs"][3]["output"]["value"] == "x"
    assert ended["version"] == old["version"] == 1
    assert old["status"] == "failed"


async def test_joins_go_on_with_the_counts_they_had(desk: Desk) -> None:
    """A branch that succeeded is inherited, its arrival counted; the join runs once, after the branch that failed."""
    desk.gates.shut("b")
    desk.gates.fail.add("b")
    run = await desk.execute(await desk.flow("t>a t>b a>j b>j j>z"))
    await eventually(lambda: _reached(desk, run, "a"))
    desk.gates.gates.pop("b").set()
    await desk.ends(run, "failed")
    desk.gates.fail.clear()
    desk.gates.calls.clear()
    new = await _resume(desk, run, "a")
    counts = await desk.database.fetch("SELECT node_id, arrived, fired FROM joins WHERE run_id = $1", _id(new))
    assert [tuple(row) for row in counts] == [("j", 1, 1)]
    await desk.ends(new["id"], "completed")
    assert desk.gates.calls == Counter({"b": 1, "j": 1, "z": 1})


async def _reached(desk: Desk, run: str, *names: str) -> bool:
    """Whether these steps have succeeded, if the worker goes on with what is announced."""
    await desk.engine.follow()
    return dict.fromkeys(names, "success").items() <= (await desk.steps(run)).items()


def _id(run: dict[str, Any]) -> UUID:
    return decode(Prefix.RUN, run["id"])


async def test_a_join_that_fired_is_not_fired_by_late_arrivals(desk: Desk) -> None:
    """``any``: what ran behind the first arrival is inherited, and the other branch, run again, starts nothing."""
    desk.gates.shut("b", "d")
    run = await desk.execute(await desk.flow("t>a t>b a>j b>j j>z t>c c>d", j={"join": "any"}))
    await eventually(lambda: _reached(desk, run, "z", "c"))
    assert (await desk.api.call("POST", f"/workflows/runs/{run}/cancel")).status == 202
    await desk.ends(run, "cancelled")
    desk.gates.gates.clear()
    desk.gates.calls.clear()
    new = await _resume(desk, run, "c")
    await desk.ends(new["id"], "completed")
    assert desk.gates.calls == Counter({"b": 1, "d": 1})


async def test_skipped_steps_are_inherited_too(desk: Desk) -> None:
    """The branch that a condition did not take stays skipped, and the one it took goes on."""
    condition = {"component": "string_condition", "input": "x", "operator": "equals", "value": "x"}
    run = await _failed(desk, "t>c c>a:true c>n:false a>b", "b", c=condition)
    new = await _resume(desk, run, "a")
    await desk.ends(new["id"], "completed")
    assert await desk.steps(new["id"]) == {
        "t": "success",
        "c": "success",
        "n": "skipped",
        "a": "success",
        "b": "success",
    }
    assert desk.gates.calls == Counter({"b": 1})


async def test_items_of_an_inherited_iterator_come_with_it(desk: Desk) -> None:
    """Its results are composed of the copied items, and its body does not run again."""
    loop = {"component": "iterator", "items": [10, 20, 30]}
    run = await _failed(
        desk,
        "t>i i>body:item i>z:done",
        "z",
        i=loop,
        body={"value": "{{ i.item }}"},
        z={"value": "{{ i.results | size }}"},
    )
    new = await _resume(desk, run, "i")
    ended = await desk.ends(new["id"], "completed")
    assert desk.gates.calls == Counter({"z": 1})
    last = next(log for log in ended["logs"] if log["node_id"] == "z")
    assert str(last["output"]["value"]) == "3"
    bodies = [(log["item"], log["output"]["value"]) for log in ended["logs"] if log["node_id"] == "body"]
    assert [(item, str(value)) for item, value in bodies] == [("0", "10"), ("1", "20"), ("2", "30")]


async def test_an_iterator_that_failed_starts_from_scratch(desk: Desk) -> None:
    """None of its items is inherited."""
    loop = {"component": "iterator", "items": [1, 2]}
    run = await _failed(desk, "t>a a>i i>body:item i>z:done", "body", i=loop)
    new = await _resume(desk, run, "a")
    await desk.ends(new["id"], "completed")
    assert desk.gates.calls == Counter({"body": 2, "z": 1})


async def test_a_cancelled_run_goes_on(desk: Desk) -> None:
    """What was cancelled runs."""
    desk.gates.shut("b")
    run = await desk.execute(await desk.flow("t>a a>b"))

    await eventually(lambda: _reached(desk, run, "a"))
    await desk.api.call("POST", f"/workflows/runs/{run}/cancel")
    await desk.ends(run, "cancelled")
    desk.gates.gates.clear()
    desk.gates.calls.clear()
    new = await _resume(desk, run, "a")
    await desk.ends(new["id"], "completed")
    assert desk.gates.calls == Counter({"b": 1})


async def test_what_can_not_be_resumed(desk: Desk) -> None:
    """409 for runs that are open or completed or whose workflow is inactive; 422 for nodes nothing can go on behind."""
    loop = {"component": "iterator", "items": [1]}
    flow = await desk.flow("t>alpha alpha>i i>body:item i>z:done", i=loop)
    run = await desk.execute(flow)
    opened = await desk.api.call("POST", _RESUME.format(run, "alpha"))
    assert (opened.status, opened.json["code"]) == (409, "run_not_resumable")
    desk.gates.fail.add("z")
    await desk.ends(run, "failed")
    unknown = await desk.api.call("POST", _RESUME.format(run, "alhpa"))
    assert (unknown.status, unknown.json["code"]) == (422, "node_not_resumable")
    assert 'did you mean "alpha"?' in unknown.json["message"]
    for name, said in (("body", "inside the iterator"), ("z", "is failed"), ("nope", "no node")):
        refused = await desk.api.call("POST", _RESUME.format(run, name))
        assert (refused.status, refused.json["code"]) == (422, "node_not_resumable"), name
        assert said in refused.json["message"]
    assert (await desk.api.call("POST", _RESUME.format(run, "t"), token=token("other"))).status == 404
    await desk.database.execute("UPDATE workflows SET is_active = false")
    assert (await desk.api.call("POST", _RESUME.format(run, "alpha"))).json["code"] == "workflow_inactive"
    assert await desk.database.fetchval("SELECT count(*) FROM runs") == 1


async def test_a_run_with_nothing_left_is_refused(desk: Desk) -> None:
    """422 when all has ended and nothing comes behind the node: a run cancelled after its last step."""
    flow = await desk.flow("t>a")
    run = await desk.execute(flow)
    await desk.ends(run, "completed")
    await desk.database.execute("UPDATE runs SET status = 'cancelled', outcome = 'cancelled'")
    refused = await desk.api.call("POST", _RESUME.format(run, "a"))
    assert (refused.status, refused.json["code"]) == (422, "nothing_to_resume")


async def test_a_repeated_resume_with_a_key_makes_one_run(desk: Desk) -> None:
    """The same Idempotency-Key gives the first answer again; who resumed is kept, and audited."""
    run = await _failed(desk, "t>a a>b", "b")
    headers = {"Idempotency-Key": "k"}
    first, second = [await desk.api.call("POST", _RESUME.format(run, "a"), headers=headers) for _ in range(2)]
    assert first.body == second.body
    row = await desk.database.fetchrow("SELECT rerun_of, started_by FROM runs WHERE rerun_of IS NOT NULL")
    assert tuple(row) == (decode(Prefix.RUN, run), "user-1")
    audited = await desk.database.fetchval("SELECT target FROM audit WHERE action = 'run.resume'")
    assert audited == json.loads(first.body)["new_run"]["id"]


async def test_a_resumed_run_can_fail_and_be_resumed(desk: Desk) -> None:
    """Its copied steps count as its own."""
    run = await _failed(desk, "t>a a>b b>c", "b")
    desk.gates.fail.add("c")
    second = await _resume(desk, run, "a")
    await desk.ends(second["id"], "failed")
    desk.gates.fail.clear()
    third = await _resume(desk, second["id"], "b")
    await desk.ends(third["id"], "completed")
    assert desk.gates.calls == Counter({"b": 1, "c": 2})
    assert third["rerun_of"] == second["id"]


async def test_a_limit_counts_a_resumed_run_once(desk: Desk) -> None:
    """It begins with several steps, waits for a slot like any run, and then goes on with all of them."""
    flow = await desk.flow("t>a a>b a>c")
    await desk.database.execute("UPDATE workflows SET limited = true, max_concurrent_runs = 1")
    desk.gates.shut("b", "c")
    run = await desk.execute(flow)
    await eventually(lambda: _reached(desk, run, "a"))
    await desk.api.call("POST", f"/workflows/runs/{run}/cancel")
    await desk.ends(run, "cancelled")
    holder = await desk.execute(flow)
    await eventually(lambda: _reached(desk, holder, "a"))
    new = await _resume(desk, run, "a")
    waiting = "SELECT count(*) FROM open_steps WHERE run_id = $1 AND waits = 'concurrency'"

    async def queued() -> bool:
        await desk.engine.follow()
        return bool(await desk.database.fetchval(waiting, _id(new)) == 2)

    await eventually(queued)
    for gate in desk.gates.gates.values():
        gate.set()
    await desk.ends(holder, "completed")
    await desk.ends(new["id"], "completed")
    assert await desk.database.fetchval("SELECT count(*) FROM concurrency_slots") == 0
