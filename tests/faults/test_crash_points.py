"""A worker dies at every single point of a step's way, one by one; the run ends as if nothing had happened.

The points are those at which the world outside the worker differs: before each statement, while it is under way (it is
carried out only after the worker was declared dead), when it was carried out and nobody heard the answer; before and
after each message; before and after each effect. A second worker and the scheduler's duties take the run from there.
"""

import asyncio
import sys
from collections import Counter

import pytest

from shared.db import open_pool
from shared.ids import Prefix, encode
from shared.store import duties, events
from tests.calls import CALLED, beside
from tests.engine import Engine, eventually, graph, start_run, workflow
from tests.faults.crashes import World, story
from tests.rows import assert_sound, steps_of

#: A pure chain, an effect, a fork of two, a join, a retry, a delay, an error handle, and what it skips.
WHOLE = graph(
    "t>f1 f1>f2 f2>a a>b a>c b>fj c>fj fj>r r>d d>e e>x:error e>y x>fz y>fz",
    r={"retry": {"max_attempts": 3, "delay": 0, "on": ["error"]}},
    d={"component": "delay", "duration": 0},
    e={"continue_on_error": True, "value": "{{ r.attempt }}"},
    fz={"join": "any", "value": "{{ a.attempt }}-{{ x.attempt }}"},
)
#: What a node calls: a chain with an effect.
CALLED_GRAPH = graph("t>fq fq>h h>fs", t=CALLED)
#: Two effects at once, one of which fails the run.
FAILING = graph("t>a a>b a>e b>fj e>fj fj>c")
#: Three items, two at once, one of which fails; and what follows from their results.
ITEMS = graph(
    "t>i i>a:item a>fb fb>g i>c:done",
    i={"component": "iterator", "items": [10, 20, 30], "concurrency": 2, "on_item_error": "continue"},
    a={"value": "{{ i.item }}"},
    c={"value": "{{ i.count }}"},
)


@pytest.mark.parametrize("keep_messages", [True, False], ids=["messages are kept", "messages are lost"])
@pytest.mark.parametrize("shape", [WHOLE, ITEMS], ids=["a whole graph", "items"])
async def test_a_run_ends_the_same_wherever_its_worker_died(database_url, broker_url, keep_messages, shape):
    """At each point of a run with everything in it: same results, nothing durable made again, no counter lost."""
    async with World.of(database_url, broker_url, shape) as world:
        calm = await world.run()
        expected, calls = await story(world.pool, calm.run_id), Counter(world.ledger.calls)
        assert set(calls.values()) == {1}
        assert len(calm.passed) > 60
        for number, name in enumerate(calm.passed, 1):
            death = await world.run(number, keep_messages=keep_messages)
            assert death.passed[-1] == name
            assert await world.status(death.run_id) == "completed", name
            assert await story(world.pool, death.run_id) == expected, name
            made = Counter(world.ledger.calls)
            assert set(made) == set(calls), name
            assert sum(made.values()) <= sum(calls.values()) + 1, name
            assert not death.durable & set(death.later), name
            assert world.ledger.early == [], name
            assert len(world.ledger.keys) == len({call[:2] for call in calls}), name
        await assert_sound(world.pool)
        assert await world.pool.fetchval("SELECT count(*) FROM open_steps") == 0
        assert len(world.heir.held) == 0


async def test_a_run_and_the_run_it_calls_end_the_same_wherever_their_worker_died(database_url, broker_url):
    """One child at every point, its end and the caller's next step together; nothing durable is made again."""
    calling = graph("t>a a>c c>b")
    async with World.of(database_url, broker_url, calling, called=CALLED_GRAPH) as world:
        calm = await world.run()
        expected, calls = await story(world.pool, calm.run_id), set(world.ledger.calls)
        assert {call[0] for call in calls} == {"a", "h", "b"}
        for number, name in enumerate(calm.passed, 1):
            death = await world.run(number, keep_messages=number % 2 == 0)
            assert await world.status(death.run_id) == "completed", name
            assert await story(world.pool, death.run_id) == expected, name
            assert set(world.ledger.calls) == calls, name
            assert not death.durable & set(death.later), name
            assert world.ledger.early == [], name
        children = await world.pool.fetch("SELECT count(*) FROM runs WHERE depth = 1 GROUP BY parent_run_id")
        assert [count for (count,) in children] == [1] * (len(calm.passed) + 1)
        await assert_sound(world.pool)
        assert await world.pool.fetchval("SELECT count(*) FROM open_steps") == 0


@pytest.mark.parametrize("every", [5, pytest.param(1, marks=pytest.mark.drill)], ids=["some points", "every point"])
async def test_an_event_is_published_once_wherever_the_worker_died(database_url, broker_url, every):
    """One run for each of two listeners at every point, and the step tells which; nothing durable is made again."""
    shape = graph("t>a a>p p>b", p={"component": "publish_event", "event": "paid", "payload": {"by": "{{ run.id }}"}})
    async with World.of(database_url, broker_url, shape) as world:
        for _ in range(2):
            await listening(world.pool, world._flow, "paid")
        calm = await world.run()
        assert len(calm.passed) > 10
        for number, name in list(enumerate(calm.passed, 1))[::every]:
            death = await world.run(number, keep_messages=number % 2 == 0)
            assert await world.status(death.run_id) == "completed", name
            told = (await story(world.pool, death.run_id))["p", "-", 1][2]
            children = await world.pool.fetch("SELECT id FROM runs WHERE parent_run_id = $1 ORDER BY id", death.run_id)
            assert [encode(Prefix.RUN, child["id"]) for child in children] == sorted(told["run_ids"]), name
            assert len(children) == 2, name
            assert not death.durable & set(death.later), name
            assert world.ledger.early == [], name
        await assert_sound(world.pool)


async def test_steps_that_overlap_end_the_same_wherever_their_worker_died(database_url, broker_url):
    """With both branches of the fork in flight: same results, and no more than what was in flight is made again."""
    async with World.of(database_url, broker_url, WHOLE) as world:
        calm = await world.run(at_once=True)
        expected, calls = await story(world.pool, calm.run_id), set(world.ledger.calls)
        for number in range(1, len(calm.passed)):
            death = await world.run(number, at_once=True, keep_messages=number % 2 == 0)
            about = (number, death.passed[-1])
            assert await world.status(death.run_id) == "completed", about
            assert await story(world.pool, death.run_id) == expected, about
            assert set(world.ledger.calls) == calls, about
            assert len(world.ledger.calls) <= len(calls) + 2, about
            assert not death.durable & set(death.later), about
            assert world.ledger.early == [], about
        await assert_sound(world.pool)
        assert len(world.heir.held) == 0


async def test_a_run_fails_the_same_wherever_its_worker_died(database_url, broker_url):
    """One branch fails it: the other one's effect is made and recorded, or cancelled; nothing behind them starts."""
    async with World.of(database_url, broker_url, FAILING) as world:
        calm = await world.run()
        for number, name in enumerate(calm.passed, 1):
            death = await world.run(number, keep_messages=number % 2 == 0)
            ended = {key[0]: status for key, (status, *_) in (await story(world.pool, death.run_id)).items()}
            assert await world.status(death.run_id) == "failed", name
            other = ended.pop("b")
            assert other in {"success", "cancelled"}, name
            assert ended == {"t": "success", "a": "success", "e": "failed"}, name
            assert not death.durable & set(death.later), name
        await assert_sound(world.pool)
        assert await world.pool.fetchval("SELECT count(*) FROM open_steps") == 0


async def test_a_run_that_is_cancelled_while_nobody_knows_of_the_death_starts_nothing_more(database_url, broker_url):
    """It is cancelled once its step in flight is known to be lost; what was durable stays as it was recorded."""
    async with World.of(database_url, broker_url, WHOLE) as world:
        calm = await world.run()
        expected = await story(world.pool, calm.run_id)
        for number, name in enumerate(calm.passed, 1):
            death = await world.run(number, cancel=True, keep_messages=number % 2 == 0)
            recorded = await story(world.pool, death.run_id)
            assert death.later == [], name
            assert {key: recorded[key] for key in death.durable} == {key: expected[key] for key in death.durable}, name
            assert {recorded[key][0] for key in recorded.keys() - death.durable} <= {"cancelled"}, name
            ended = name == calm.passed[-1]
            assert await world.status(death.run_id) == ("completed" if ended else "cancelled"), name
        await assert_sound(world.pool)
        assert await world.pool.fetchval("SELECT count(*) FROM open_steps") == 0


async def test_a_worker_process_that_ends_at_a_point_is_succeeded(database_url):
    """Real processes, gone with their connections and with a statement under way: the run completes all the same."""
    pool = await open_pool(database_url, size=4, name="test")
    flow = await workflow(pool, *graph("t>a a>b a>c b>fj c>fj"))
    async with Engine.running(database_url, lease=600.0) as heir:
        for point in (2, 10, 18, 26):
            run_id = await start_run(pool, flow)
            command = [sys.executable, "-m", "tests.faults.mortal_process", database_url, str(run_id), "t", str(point)]
            process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
            made = dict(line.split() for line in (await process.communicate())[0].decode().splitlines())
            assert process.returncode == 9, point
            assert len(set(made.values())) == len(made)
            await pool.execute(
                "UPDATE incarnations SET heartbeat_at = now() - interval '1 h' WHERE id <> $1", heir.incarnation.id
            )
            await eventually(lambda run_id=run_id: _is_finished_by(heir, run_id))
            assert await steps_of(pool, run_id) == dict.fromkeys(["t", "a", "b", "c", "fj"], "success"), point
        await assert_sound(pool)
    await pool.close()


async def _is_finished_by(heir, run_id):
    """One turn of the scheduler and of the heir; whether the run has completed."""
    await heir.outside.execute(
        "UPDATE open_steps SET sent_at = NULL, sends = 0, claim_first = true WHERE status = 'ready'"
    )
    async with heir.outside.acquire() as connection:
        await duties.rescue(connection, judge=True, lease=6.0, limit=100)
        heir.mailbox.announce((await duties.top_up(connection, window=100, limit=100)).doorbells)
    await heir.follow()
    await heir.idle()
    return await heir.outside.fetchval("SELECT status FROM runs WHERE id = $1", run_id) == "completed"


async def listening(pool, flow, event):
    """A workflow beside another that listens to an event."""
    made = await beside(pool, flow, graph("t>fq", t={"component": "event_trigger", "event": event}))
    await events.listen(pool, made.workspace_id, made.workflow_id, event, None)
