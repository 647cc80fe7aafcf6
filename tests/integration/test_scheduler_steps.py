"""Sending steps: waits that are over, the backlog, and messages that were lost; two schedulers at a time."""

import asyncio
import time
from collections import Counter
from itertools import pairwise

import pytest
import redis
import structlog

from scheduler.queued import NONE_QUEUED, Queued
from shared.announcer import Announcer
from shared.lanes import LIGHT_SHARE, Doorbell, Reference
from shared.metrics import BROKER_ERRORS
from tests.duties import (
    add_run,
    add_workflow,
    add_workspace,
    ago,
    exhaust,
    flood,
    mark_epoch,
    mint,
    pair,
    queued_references,
)
from tests.engine import eventually


async def test_a_wait_that_is_over_is_woken_once(database, database_url, broker_url):
    """Of two schedulers one wakes each wait that is over, tells it of its timer, and announces it."""
    flow = await add_workflow(database)
    over, later = await ago(database, 1), await ago(database, -60)
    wait = {"status": "waiting", "claim_first": False}
    ids = [await add_run(database, flow, {**wait, "due_at": over}) for _ in range(30)]
    await add_run(database, flow, {**wait, "due_at": later})
    async with pair(database_url, broker_url) as (one, two):
        await exhaust(one.steps.wake_due, two.steps.wake_due)
        assert sorted(one.heard.steps() + two.heard.steps()) == sorted((run_id, "n0") for run_id in ids)
        assert {(lane, bell.claim) for lane, bell in one.heard.bells + two.heard.bells} == {("normal-next", False)}
    rows = await database.fetch(
        "SELECT status, wake, sends, sent_at IS NULL AS unsent, count(*) FROM open_steps GROUP BY 1,2,3,4"
    )
    assert {tuple(row) for row in rows} == {("ready", "timer", 1, False, 30), ("waiting", None, 0, True, 1)}


async def test_more_waits_than_a_batch_are_all_woken(database, database_url, broker_url):
    """A full batch says that there is more."""
    flow = await add_workflow(database)
    await flood(database, flow, 1201, status="waiting", due_at=await ago(database, 1))
    async with pair(database_url, broker_url) as (one, two):
        await exhaust(one.steps.wake_due, two.steps.wake_due)
        assert len(set(one.heard.steps() + two.heard.steps())) == len(one.heard.bells) + len(two.heard.bells) == 1201


async def test_a_retry_is_woken_without_a_timer(database, database_url, broker_url):
    """A step that waits for its next attempt runs again from its start: no wait of its own ended."""
    flow = await add_workflow(database)
    await add_run(
        database, flow, {"status": "waiting", "claim_first": True, "attempt": 2, "due_at": await ago(database, 1)}
    )
    async with pair(database_url, broker_url) as (one, _):
        await one.steps.wake_due()
        assert [bell.claim for _, bell in one.heard.bells] == [True]
    assert await database.fetchval("SELECT wake FROM open_steps") is None


async def test_the_backlog_is_sent_once_and_by_the_window(database, database_url, broker_url):
    """Two schedulers send each step at most once, and stop when the window is full; what is taken makes room."""
    flow = await add_workflow(database)
    await flood(database, flow, 300)
    async with pair(database_url, broker_url, window=100) as (one, two):
        await exhaust(one.steps.top_up)
        assert len(one.heard.bells) == 100
        await database.execute("DELETE FROM open_steps WHERE sent_at IS NOT NULL")
        await database.execute(
            "UPDATE runs SET open_steps = 0, status = 'completed', completed_at = now()"
            " WHERE NOT EXISTS (SELECT 1 FROM open_steps o WHERE o.run_id = runs.id)"
        )
        await exhaust(one.steps.top_up, two.steps.top_up)
        keys = one.heard.steps() + two.heard.steps()
        assert len(keys) == len(set(keys))
        # Two that count at the same moment may each send a window's worth; never more.
        assert 200 <= len(keys) <= 300


async def test_what_is_new_goes_into_the_lane_of_new_runs(database, database_url, broker_url):
    """A run's first step is new and need not be claimed; what was sent or claimed before is neither."""
    flow = await add_workflow(database)
    await flood(database, flow, 1)
    again = await add_run(database, flow, {"claim_first": False, "sends": 1})
    rescued = await add_run(database, flow, {"claim_first": True})
    async with pair(database_url, broker_url) as (one, _):
        await exhaust(one.steps.top_up)
        lanes = {bell.run_id: (lane, bell.claim) for lane, bell in one.heard.bells}
    assert lanes.pop(again) == ("normal-next", True)
    assert lanes.pop(rescued) == ("normal-next", True)
    assert list(lanes.values()) == [("normal-new", False)]


async def test_a_flood_holds_up_neither_another_workflow_nor_another_workspace(database, database_url, broker_url):
    """Beside 100,000 steps of one workflow, ten of another are all in the first batch; a batch takes little time."""
    crowded = await add_workspace(database)
    big, small = await add_workflow(database, crowded), await add_workflow(database, crowded)
    other = await add_workflow(database)
    await flood(database, big, 100_000)
    few, fewer = await flood(database, small, 10), await flood(database, other, 200)
    await database.execute("ANALYZE open_steps")
    async with pair(database_url, broker_url) as (one, _):
        began = time.perf_counter()
        await one.steps.top_up()
        seconds = time.perf_counter() - began
        sent = [run_id for run_id, _ in one.heard.steps()]
        assert set(few) | set(fewer) <= set(sent)
        assert set(sent[:30]) >= set(few)
        assert 120 < len([run_id for run_id in sent if run_id not in few and run_id not in fewer]) < 130
        marked = await database.fetchval("SELECT count(*) FROM open_steps WHERE sent_at IS NOT NULL")
        assert marked == len(sent)
    assert seconds < 1.0


async def test_priorities_come_first_to_last(database, database_url, broker_url):
    """Within a batch the high lane is announced ahead of the low one."""
    flow = await add_workflow(database)
    for priority in (2, 0, 1):
        await add_run(database, flow, {"claim_first": False}, priority=priority)
    async with pair(database_url, broker_url) as (one, _):
        await exhaust(one.steps.top_up)
        assert [lane for lane, _ in one.heard.bells] == ["high-new", "normal-new", "low-new"]


async def test_a_lost_message_is_sent_again_once_and_claimed_first(database, database_url, broker_url):
    """What was sent more than five seconds ago is sent again by one of two schedulers, then left alone for ten."""
    flow = await add_workflow(database)
    async with pair(database_url, broker_url) as (one, two):
        mark_epoch(broker_url)
        lost = await add_run(database, flow, {"sent_at": await ago(database, 6), "sends": 1, "claim_first": False})
        await add_run(database, flow, {"sent_at": await ago(database, 4), "sends": 1})  # last: it has a second left
        await asyncio.gather(one.steps.resend(), two.steps.resend())
        bells = one.heard.bells + two.heard.bells
        assert bells == [("normal-next", Reference(lost, "n0", "-", claim=True))]
        await one.steps.resend()
        assert one.heard.bells + two.heard.bells == bells


@pytest.mark.parametrize(("sends", "seconds"), [(0, 5), (1, 5), (2, 10), (3, 20), (6, 160), (7, 300), (30000, 300)])
async def test_back_off_doubles_up_to_five_minutes(database, database_url, broker_url, sends, seconds):
    """A step that has been sent often is sent again ever later, and never later than five minutes."""
    flow = await add_workflow(database)
    async with pair(database_url, broker_url) as (one, _):
        mark_epoch(broker_url)
        due = await add_run(database, flow, {"sent_at": await ago(database, seconds + 1), "sends": sends})
        await add_run(database, flow, {"sent_at": await ago(database, seconds - 1), "sends": sends})  # it has a second
        await one.steps.resend()
        assert one.heard.steps() == [(due, "n0")]


async def test_what_may_still_be_queued_is_not_sent_again(database, database_url, broker_url):
    """Nothing younger than the oldest queued message of its priority is lost; other priorities do not matter."""
    flow = await add_workflow(database)
    announcer = Announcer(broker_url)
    announcer.announce([Doorbell(Reference(mint.uuid(), "n", "-", claim=False), 1, new=True)])
    await eventually(lambda: len(queued_references(broker_url)) == 1)
    announcer.close()
    queue_is_old(broker_url, "normal-new", 100)
    await add_run(database, flow, {"sent_at": await ago(database, 90), "sends": 1})
    older = await add_run(database, flow, {"sent_at": await ago(database, 110), "sends": 1})
    high = await add_run(database, flow, {"sent_at": await ago(database, 90), "sends": 1}, priority=0)
    async with pair(database_url, broker_url) as (one, _):
        mark_epoch(broker_url)
        await one.steps.resend()
        assert sorted(one.heard.steps()) == sorted([(older, "n0"), (high, "n0")])


async def test_a_tick_sends_a_thousand_at_most(database, database_url, broker_url):
    """However much was lost, a tick is bounded."""
    flow = await add_workflow(database)
    await flood(database, flow, 1500, sent_at=await ago(database, 60), sends=1)
    async with pair(database_url, broker_url) as (one, _):
        mark_epoch(broker_url)
        await one.steps.resend()
        assert len(one.heard.bells) == 1000


async def test_nothing_is_sent_again_while_the_broker_cannot_be_inspected(database, database_url):
    """Who cannot look into the broker does not know what was lost, and counts that."""
    flow = await add_workflow(database)
    await add_run(database, flow, {"sent_at": await ago(database, 60), "sends": 1})
    before = BROKER_ERRORS.labels("inspect")._value.get()
    async with pair(database_url, "redis://127.0.0.1:1/0") as (one, _):
        await one.steps.resend()
        assert one.heard.bells == []
    assert BROKER_ERRORS.labels("inspect")._value.get() > before


async def test_an_emptied_broker_has_everything_sent_again_by_the_window(database, database_url, broker_url):
    """Without the epoch key all that was sent counts as unsent, whatever its age; top-up sends it, by the window."""
    flow = await add_workflow(database)
    ids = await flood(database, flow, 6000, sent_at=await ago(database, 0), sends=3)
    async with pair(database_url, broker_url, window=50) as (one, two):
        await asyncio.gather(one.steps.resend(), two.steps.resend())
        assert await database.fetchval("SELECT count(*) FROM open_steps WHERE sent_at IS NULL") == 6000
        await exhaust(one.steps.top_up)
        assert [(lane, bell.claim) for lane, bell in one.heard.bells] == [("normal-bulk-next", True)] * 50
        assert {run_id for run_id, _ in one.heard.steps()} <= set(ids)
        await one.steps.resend()
        assert await database.fetchval("SELECT count(*) FROM open_steps WHERE sent_at IS NOT NULL") == 50


async def test_a_first_start_is_no_alarm(database, database_url, broker_url):
    """A broker that never held anything, with no step that was sent, is told as information, and only once."""
    await add_workflow(database)
    async with pair(database_url, broker_url) as (one, two):
        with structlog.testing.capture_logs() as told:
            await one.steps.resend()
            await two.steps.resend()
    assert [(line["log_level"], line["event"]) for line in told] == [
        ("info", "the broker was empty; no step had to be sent again")
    ]


async def test_the_view_tells_the_age_of_each_priority_and_whether_it_was_emptied(broker_url):
    """The older of a priority's two lanes counts; a message whose body is gone, or is not ours, counts as none."""
    announcer, queued = Announcer(broker_url), Queued(broker_url)
    for priority, new in ((0, True), (0, False), (2, True)):
        announcer.announce([Doorbell(Reference(mint.uuid(), "n", "-", claim=False), priority, new=new)])
    announcer.announce([Doorbell(Reference(mint.uuid(), "n", "-", claim=False), 0, new=True, bulk=True)])
    await eventually(lambda: len(queued_references(broker_url)) == 4)
    queue_is_old(broker_url, "high-next", 50)
    queue_is_old(broker_url, "high-bulk-new", 70)
    with redis.Redis.from_url(broker_url) as client:
        client.delete("edgewise:low-new.msgs")
    view = await queued.look()
    assert view is not None
    assert view.emptied
    assert view.queued_since[0] == pytest.approx(time.time() - 50, abs=5)
    assert view.queued_since[1:] == (NONE_QUEUED, NONE_QUEUED)
    assert view.bulk_since[0] == pytest.approx(time.time() - 70, abs=5)
    assert view.bulk_since[1:] == (NONE_QUEUED, NONE_QUEUED)
    await queued.mark_epoch()
    assert (await queued.look()) == view._replace(emptied=False)
    announcer.close()
    queued.close()


async def test_a_step_of_a_run_that_is_being_ended_is_settled_instead_of_sent(database, database_url, broker_url):
    """What came back to ready while its run was being ended is recorded as cancelled, and the run ends as decided."""
    flow = await add_workflow(database)
    unsent = await add_run(database, flow, {}, outcome="cancelled", status="running")
    lost = await add_run(
        database, flow, {"sent_at": await ago(database, 60), "sends": 1}, outcome="failed", status="running"
    )
    async with pair(database_url, broker_url) as (one, _):
        mark_epoch(broker_url)
        await one.steps.top_up()
        await one.steps.resend()
        assert one.heard.bells == []
    rows = await database.fetch("SELECT id, status FROM runs")
    assert {row["id"]: row["status"] for row in rows} == {unsent: "cancelled", lost: "failed"}
    assert Counter(row["status"] for row in await database.fetch("SELECT status FROM steps")) == {"cancelled": 2}


async def test_rounds_are_shared_between_workflows_step_by_step(database, database_url, broker_url):
    """Within a batch workflows take turns, so none waits behind a batch of another."""
    one_flow, other = await add_workflow(database), await add_workflow(database)
    mine = set(await flood(database, one_flow, 20))
    await flood(database, other, 20)
    async with pair(database_url, broker_url) as (one, _):
        await exhaust(one.steps.top_up)
        turns = [run_id in mine for run_id, _ in one.heard.steps()]
    assert sum(a == b for a, b in pairwise(turns)) <= 20
    assert Counter(turns[:10]) == {True: 5, False: 5}


async def test_a_flood_is_sent_as_bulk_and_a_few_runs_are_not(database, database_url, broker_url):
    """Whoever has more than its share sent and not taken is bulk, in whole."""
    big, small, crowded = [await add_workflow(database) for _ in range(3)]
    await flood(database, big, 100)
    few = await flood(database, small, LIGHT_SHARE)
    await flood(database, crowded, LIGHT_SHARE, sent_at=await ago(database, 1), sends=1)
    one_more = await flood(database, crowded, 1)
    async with pair(database_url, broker_url) as (one, _):
        await exhaust(one.steps.top_up)
        lanes = {bell.run_id: lane for lane, bell in one.heard.bells}
    assert {lanes.pop(run_id) for run_id in few} == {"normal-new"}
    assert lanes.pop(one_more[0]) == "normal-bulk-new"
    assert list(lanes.values()) == ["normal-bulk-new"] * 100


async def test_many_floods_of_one_workspace_count_as_one(database, database_url, broker_url):
    """A workspace has one window, however many of its workflows flood, but each of these has its share at least."""
    crowded = await add_workspace(database)
    many = [await add_workflow(database, crowded) for _ in range(4)]
    lone = await add_workflow(database)
    theirs = [set(await flood(database, flow, 1500)) for flow in many]
    mine = set(await flood(database, lone, 1500))
    async with pair(database_url, broker_url, window=600) as (one, _):
        for _ in range(30):
            await one.steps.top_up()
        sent = {run_id for run_id, _ in one.heard.steps()}
        assert len(sent & mine) == 600
        # A batch may overshoot by what it shares out.
        assert 600 <= sum(len(sent & each) for each in theirs) <= 600 + 250
        assert min(len(sent & each) for each in theirs) >= 100
        late = set(await flood(database, await add_workflow(database, crowded), 100))
        await one.steps.top_up()
        assert len({run_id for run_id, _ in one.heard.steps()} & late) == LIGHT_SHARE


async def test_a_lost_step_does_not_wait_for_the_flood_of_another(database, database_url, broker_url):
    """Only the messages of a flooding workflow can stand in the bulk lanes; those beyond its share go back there."""
    announcer = Announcer(broker_url)
    announcer.announce([Doorbell(Reference(mint.uuid(), "n", "-", claim=False), 1, new=True, bulk=True)])
    await eventually(lambda: len(queued_references(broker_url)) == 1)
    announcer.close()
    queue_is_old(broker_url, "normal-bulk-new", 100)
    big, small = await add_workflow(database), await add_workflow(database)
    await flood(database, big, 2 * LIGHT_SHARE, sent_at=await ago(database, 90), sends=1)
    older = await flood(database, big, LIGHT_SHARE + 1, sent_at=await ago(database, 110), sends=1)
    lost = await flood(database, small, 1, sent_at=await ago(database, 90), sends=1)
    async with pair(database_url, broker_url) as (one, _):
        mark_epoch(broker_url)
        await one.steps.resend()
        assert {run_id for run_id, _ in one.heard.steps()} == {*older, *lost}
        lanes = Counter(lane for lane, _ in one.heard.bells)
    assert lanes == Counter({"normal-next": LIGHT_SHARE + 1, "normal-bulk-next": 1})


def queue_is_old(broker_url: str, lane: str, seconds: float) -> None:
    """Make the messages of a lane older."""
    import msgspec

    with redis.Redis.from_url(broker_url) as client:
        name = f"edgewise:{lane}.msgs"
        for message_id, body in client.hgetall(name).items():
            message = msgspec.json.decode(body)
            message["message_timestamp"] -= int(seconds * 1000)
            client.hset(name, message_id, msgspec.json.encode(message))
