"""Iterators on a real database: items in order, side by side, nested, failing, cancelled, and many of them."""

import asyncio
import json
from collections import Counter

import pytest

from shared.errors import StepFailedError
from shared.graph.plan import compile_plan
from shared.lanes import Reference
from shared.nodes.base import Outcome
from shared.store.cancel import cancel_runs
from shared.store.results import iterator_output
from tests.engine import Engine, Gates, eventually, first, graph, registry, start_run, workflow
from tests.rows import error_of, output_of


def iterator(items="{{ t.items }}", **data):
    """The data of an iterator."""
    return {"component": "iterator", "items": items, **data}


async def results_of(database, run_id, drawn, name="i", path="-"):
    """What an iterator gave out."""
    return await iterator_output(database, compile_plan(*drawn, registry()), run_id, name, path)


async def run_items(database_url, database, drawn, payload, known=None, until="completed", seconds=20.0):
    """Carry a run on to its end."""
    known = known or registry()
    flow = await workflow(database, *drawn, known)
    async with Engine.running(database_url, known) as engine:
        return await engine.run(flow, json.dumps(payload), until=until, seconds=seconds)


async def test_results_stand_in_the_order_of_the_items(database_url, database):
    """The body runs once per item, sees the item, its place and its neighbours, and what follows sees all results."""
    drawn = graph(
        "t>i i>fa:item fa>b i>fz:done",
        i=iterator(concurrency=2),
        fa={"value": "{{ i.item.n }}-{{ i.index }}-{{ i.first }}-{{ i.last }}-{{ i.count }}"},
        b={"value": "<{{ fa.value }}> of {{ t.by }}"},
        fz={"value": "{{ i.results[1].value }} {{ i.count }}"},
    )
    run_id = await run_items(database_url, database, drawn, {"items": [{"n": n} for n in "abc"], "by": "me"})
    results = (await results_of(database, run_id, drawn))["results"]
    assert [result["value"] for result in results] == [
        "<a-0-true-false-3> of me",
        "<b-1-false-false-3> of me",
        "<c-2-false-true-3> of me",
    ]
    assert await output_of(database, run_id, "fz") == {"value": "<b-1-false-false-3> of me 3"}
    assert await database.fetchval("SELECT output FROM steps WHERE node_id = 'i'") is None
    paths = await database.fetch("SELECT item FROM steps WHERE node_id = 'b' ORDER BY item")
    assert [record["item"] for record in paths] == ["0", "1", "2"]


async def test_an_empty_list_is_done_at_once(database_url, database):
    """No item, no body; what follows sees empty results."""
    drawn = graph("t>i i>b:item i>fz:done", i=iterator(), fz={"value": "{{ i.count }}{{ i.results | json }}"})
    run_id = await run_items(database_url, database, drawn, {"items": []})
    assert await output_of(database, run_id, "fz") == {"value": "0[]"}
    assert await database.fetchval("SELECT count(*) FROM steps WHERE node_id = 'b'") == 0


@pytest.mark.parametrize(("items", "code"), [(5, "invalid_data"), (None, "invalid_data"), ("x", "invalid_data")])
async def test_what_is_no_list_fails_the_iterator(database_url, database, items, code):
    """The step fails with the rule, and no item starts."""
    drawn = graph("t>i i>b:item", i=iterator())
    run_id = await run_items(database_url, database, drawn, {"items": items}, until="failed")
    assert (await error_of(database, run_id, "i"))["code"] == code


async def test_more_than_ten_thousand_items_are_refused(database_url, database):
    """One item too many fails the step."""
    drawn = graph("t>i i>b:item", i=iterator())
    run_id = await run_items(database_url, database, drawn, {"items": [0] * 10_001}, until="failed")
    assert (await error_of(database, run_id, "i"))["code"] == "too_many_items"


@pytest.mark.parametrize("concurrency", [1, 3])
async def test_no_more_items_are_under_way_than_allowed(database_url, database, concurrency):
    """With a concurrency of one they run one after the other, in order."""
    under_way: set[str] = set()
    most = 0
    order = []

    async def act(data, context):
        nonlocal most
        under_way.add(context.item)
        most = max(most, len(under_way))
        order.append(int(context.item))
        for _ in range(3):  # let others in, if any may come
            await asyncio.sleep(0)
        under_way.remove(context.item)
        return Outcome({})

    drawn = graph("t>i i>a:item", i=iterator(concurrency=concurrency))
    await run_items(database_url, database, drawn, {"items": list(range(12))}, registry(act))
    assert most <= concurrency
    assert sorted(order) == list(range(12))
    if concurrency == 1:
        assert order == sorted(order)


async def test_a_failed_item_stops_the_iterator(database_url, database):
    """The others are cancelled, no further one starts, and the run fails with the item's place and reason."""
    gates = Gates()
    gates.shut("a")

    async def act(data, context):
        if context.item == "1":
            raise StepFailedError("boom", "It went wrong.")
        return await gates(data, context)

    drawn = graph("t>i i>a:item i>z:done", i=iterator(concurrency=2))
    run_id = await run_items(database_url, database, drawn, {"items": [1, 2, 3, 4]}, registry(act), until="failed")
    run = await database.fetchrow("SELECT error_message, open_steps FROM runs WHERE id = $1", run_id)
    assert run["error_message"] == "Item 1 failed: It went wrong."
    assert gates.cancelled["a"] == 1
    statuses = await database.fetch("SELECT node_id, item, status FROM steps WHERE node_id <> 't' ORDER BY 1, 2")
    assert [tuple(record) for record in statuses] == [
        ("a", "0", "cancelled"),
        ("a", "1", "failed"),
        ("i", "-", "failed"),
    ]


async def test_a_stopped_iterator_may_be_caught(database_url, database):
    """With `continue_on_error` it ends on its error handle."""

    async def act(data, context):
        raise StepFailedError("boom", "It went wrong.")

    drawn = graph("t>i i>a:item i>fz:error", i=iterator(continue_on_error=True), fz={"value": "{{ i.error.message }}"})
    run_id = await run_items(database_url, database, drawn, {"items": [1, 2]}, registry(act))
    assert await output_of(database, run_id, "fz") == {"value": "Item 0 failed: It went wrong."}


@pytest.mark.parametrize("concurrency", [1, 4])
async def test_failed_items_leave_null_where_the_others_go_on(database_url, database, concurrency):
    """`on_item_error: continue`: every item runs, and `failed` says which failed and why."""

    async def act(data, context):
        if int(context.item) % 2:
            raise StepFailedError("boom", f"Not {context.item}.")
        return Outcome({"n": int(context.item)})

    drawn = graph(
        "t>i i>a:item i>fz:done",
        i=iterator(concurrency=concurrency, on_item_error="continue"),
        fz={"value": "{{ i.failed | json }}"},
    )
    run_id = await run_items(database_url, database, drawn, {"items": list(range(5))}, registry(act))
    output = await results_of(database, run_id, drawn)
    assert output["results"] == [{"n": 0}, None, {"n": 2}, None, {"n": 4}]
    assert output["failed"] == [{"index": n, "error": {"code": "boom", "message": f"Not {n}."}} for n in (1, 3)]
    assert json.loads((await output_of(database, run_id, "fz"))["value"]) == output["failed"]


async def test_iterators_in_iterators(database_url, database):
    """Paths are joined, the inner body sees both items, and results nest."""
    drawn = graph(
        "t>i i>j:item j>fa:item i>fz:done",
        i=iterator("{{ t.rows }}", concurrency=2),
        j=iterator("{{ i.item }}", concurrency=2),
        fa={"value": "{{ i.index }}{{ j.index }}{{ j.item }}"},
        fz={"value": "{{ i.results | json }}"},
    )
    run_id = await run_items(database_url, database, drawn, {"rows": [["a", "b"], [], ["c"]]})
    values = await database.fetch("SELECT item, output FROM steps WHERE node_id = 'fa' ORDER BY item")
    assert {record["item"]: json.loads(record["output"])["value"] for record in values} == {
        "0.0": "00a",
        "0.1": "01b",
        "2.0": "20c",
    }
    results = (await results_of(database, run_id, drawn))["results"]
    assert [[leaf["value"] for leaf in inner["results"]] for inner in results] == [["00a", "01b"], [], ["20c"]]
    assert json.loads((await output_of(database, run_id, "fz"))["value"]) == results


async def test_the_results_of_inner_iterators_count_together(database_url, database):
    """What is put together is limited as a whole: 45 bytes in all, though no inner list has more than 30."""
    drawn = graph(
        "t>i i>j:item j>fa:item",
        i=iterator("{{ t.rows }}"),
        j=iterator("{{ i.item }}"),
        fa={"value": "{{ j.item }}"},
    )
    run_id = await run_items(database_url, database, drawn, {"rows": [["abc", "def"], ["ghi"]]})
    plan = compile_plan(*drawn, registry())
    assert (await iterator_output(database, plan, run_id, "i", "-", most=45))["count"] == 2
    with pytest.raises(StepFailedError, match="at most 44"):
        await iterator_output(database, plan, run_id, "i", "-", most=44)


async def test_an_inner_failure_fails_the_outer_item_only(database_url, database):
    """The inner iterator stops, its item fails, and the outer one goes on with the next."""

    async def act(data, context):
        if context.item == "0.1":
            raise StepFailedError("boom", "Inner.")
        return Outcome({"at": context.item})

    drawn = graph(
        "t>i i>j:item j>a:item",
        i=iterator("{{ t.rows }}", on_item_error="continue", concurrency=2),
        j=iterator("{{ i.item }}", concurrency=3),
    )
    run_id = await run_items(database_url, database, drawn, {"rows": [[1, 2, 3], [4]]}, registry(act))
    output = await results_of(database, run_id, drawn)
    assert output["results"][0] is None
    assert output["results"][1]["results"] == [{"at": "1.0"}]
    assert output["failed"] == [{"index": 0, "error": {"code": "item_failed", "message": "Item 1 failed: Inner."}}]


async def test_joins_and_waits_in_a_body_are_each_items_own(database_url, database):
    """Branches that meet in a body, a delay and a retry do so within their item."""
    attempts: Counter[str] = Counter()

    async def act(data, context):
        attempts[f"{context.node_id}{context.item}"] += 1
        if context.node_id == "b" and context.attempt == 1:
            raise StepFailedError("net", "Again.", category="network")
        return Outcome({"at": context.item})

    drawn = graph(
        "t>i i>a:item i>b:item a>fj b>fj fj>w w>fz",
        i=iterator(concurrency=3),
        b={"retry": {"max_attempts": 2, "delay": 0}},
        w={"component": "delay", "duration": 0.01},
        fj={"value": "{{ a.at }}{{ b.at }}"},
        fz={"value": "{{ fj.value }}!"},
    )
    run_id = await run_items(database_url, database, drawn, {"items": [1, 2, 3, 4]}, registry(act))
    results = (await results_of(database, run_id, drawn))["results"]
    assert [result["value"] for result in results] == ["00!", "11!", "22!", "33!"]
    assert set(attempts.values()) == {1, 2}


async def test_several_leaves_give_an_object_and_none_an_empty_one(database_url, database):
    """`results[i]` is the only leaf's output that ran, else an object by node id."""
    drawn = graph(
        "t>i i>fs:item fs>fa:left fs>fb:right i>fc:item",
        i=iterator(),
        fs={"name": "forked", "value": "{{ i.item }}"},
        fa={"value": "a"},
        fb={"value": "b"},
        fc={"value": "c"},
    )
    known = registry(
        pure=lambda data: Outcome({"value": data.value}, handle=data.value if data.name == "forked" else None)
    )
    run_id = await run_items(database_url, database, drawn, {"items": ["left", "right"]}, known)
    results = (await results_of(database, run_id, drawn))["results"]
    assert results == [{"fa": {"value": "a"}, "fc": {"value": "c"}}, {"fb": {"value": "b"}, "fc": {"value": "c"}}]


async def test_terminate_in_a_body_ends_the_run(database_url, database):
    """The whole run ends as it says; nothing more starts."""
    drawn = graph(
        "t>i i>x:item i>z:done", i=iterator(), x={"component": "terminate", "status": "completed", "output": {"n": 1}}
    )
    run_id = await run_items(database_url, database, drawn, {"items": [1, 2]})
    assert await database.fetchval("SELECT output FROM runs WHERE id = $1", run_id) == '{"n":1}'
    assert await database.fetchval("SELECT count(*) FROM steps WHERE node_id = 'x'") == 1


async def test_cancelling_a_run_ends_its_items(database_url, database):
    """Nothing of them starts any more, what is in flight is aborted, and starts of items leave no record."""
    gates = Gates()
    gates.shut("a")
    drawn = graph("t>i i>a:item", i=iterator(concurrency=2))
    flow = await workflow(database, *drawn, registry(gates))
    async with Engine.running(database_url, registry(gates)) as engine:
        run_id = await start_run(database, flow, '{"items":[1,2,3]}')
        await engine.take(first(run_id, flow))
        reference, *_ = [bell for bell in engine.mailbox.references() if bell.node_id == "i"]
        await engine.take(reference)
        await eventually(lambda: gates.calls["a"] == 1)
        await cancel_runs(database, [run_id])
        await engine.finish(run_id, until="cancelled")
    statuses = await database.fetch("SELECT node_id, item, status FROM steps WHERE node_id <> 't' ORDER BY 1, 2")
    assert [tuple(record) for record in statuses] == [("a", "0", "cancelled"), ("i", "-", "cancelled")]


async def test_an_item_whose_message_comes_twice_runs_once(database_url, database):
    """The start of an item is guarded like any other step."""
    gates = Gates()
    drawn = graph("t>i i>a:item", i=iterator(concurrency=3))
    flow = await workflow(database, *drawn, registry(gates))
    async with Engine.running(database_url, registry(gates)) as engine:
        run_id = await start_run(database, flow, '{"items":[1,2,3]}')
        await engine.take(first(run_id, flow))
        starts = engine.mailbox.references()
        again = [Reference(*start[:3], claim=True) for start in starts]
        await asyncio.gather(engine.take(*starts, *starts), engine.take(*again))
        await engine.finish(run_id)
    assert gates.calls["a"] == 3
    assert len(gates.keys) == 3


async def test_two_workers_share_the_items(database_url, database):
    """Items that end on two workers at once are counted once each, and the iterator goes on once."""
    gates, others = Gates(), Gates()
    drawn = graph("t>i i>a:item a>b i>z:done", i=iterator(concurrency=20))
    flow = await workflow(database, *drawn, registry(gates))
    async with (
        Engine.running(database_url, registry(gates)) as one,
        Engine.running(database_url, registry(others)) as two,
    ):
        run_id = await start_run(database, flow, json.dumps({"items": list(range(200))}))
        await one.take(first(run_id, flow))
        starts = one.mailbox.references()
        await asyncio.gather(one.take(*starts[::2]), two.take(*starts[1::2]))
        await asyncio.gather(one.finish(run_id), two.finish(run_id))
    calls = gates.calls + others.calls
    assert (calls["a"], calls["b"], calls["z"]) == (200, 200, 1)
    assert calls["a"] > max(gates.calls["a"], others.calls["a"])
    results = (await results_of(database, run_id, drawn))["results"]
    assert len(results) == 200


async def test_ten_thousand_items(database_url, database):
    """They all run, in order of the results, and no row holds them all."""
    drawn = graph("t>i i>fa:item i>fz:done", i=iterator(concurrency=100), fa={"value": "{{ i.item }}"})
    run_id = await run_items(database_url, database, drawn, {"items": list(range(10_000))}, seconds=120)
    output = await results_of(database, run_id, drawn)
    assert [result["value"] for result in output["results"]] == list(range(10_000))
    largest = await database.fetchval("SELECT max(pg_column_size(s.*)) FROM steps s WHERE s.node_id <> 't'")
    assert largest < 1000
