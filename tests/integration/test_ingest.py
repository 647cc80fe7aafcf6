"""Accepting triggers on a real database."""

import asyncio
import hashlib

import asyncpg
import pytest

from shared.batcher import _LONGEST_PAUSE
from shared.db import Clock, open_pool
from shared.errors import UnavailableError
from shared.ids import milliseconds_of
from shared.ingest import Ingest, Trigger
from shared.lanes import Doorbell, Reference
from shared.metrics import RUNS_STARTED
from tests.engine import Mailbox, eventually, graph, mint, workflow
from tests.proxy import Proxy


class Desk:
    """An ingest and what it would have sent."""

    def __init__(self, pool, window, clock):
        self.mailbox = Mailbox()
        self.ingest = Ingest(pool, self.mailbox, clock, window=window)

    async def accept(self, flow, payload="{}", **fields):
        return await self.ingest.accept(Trigger(flow.workflow_id, "manual", payload, **fields))


class Office:
    """Opens a desk for a test: ``async with Office(url) as desk``."""

    def __init__(self, url, window=1000, clock=None):
        self._url, self._window, self._clock = url, window, clock or Clock()

    async def __aenter__(self):
        self._pool = await open_pool(self._url, size=4, name="test")
        self._desk = Desk(self._pool, self._window, self._clock)
        return self._desk

    async def __aexit__(self, *_):
        await self._desk.ingest.close()
        await self._pool.close()


async def test_an_accepted_trigger_is_a_durable_run_with_its_first_step(database_url, database):
    """One run and one ready step, in the state their receipt tells, and one message about them."""
    flow = await workflow(database, *graph("t>a"))
    async with Office(database_url) as desk:
        accepted = await desk.accept(flow, '{"x": "\\u0000\\ud800"}', request_id="r", traceparent="p")
    assert (accepted.workspace_id, accepted.workflow_id, accepted.version) == (flow.workspace_id, flow.workflow_id, 1)
    run = await database.fetchrow("SELECT * FROM runs")
    assert (run["id"], run["status"], run["open_steps"]) == (accepted.run_id, "pending", 1)
    assert (run["trigger_payload"], run["request_id"], run["traceparent"]) == ('{"x": "\\u0000\\ud800"}', "r", "p")
    step = await database.fetchrow("SELECT * FROM open_steps")
    assert (step["run_id"], step["node_id"], step["status"], step["claim_first"]) == (run["id"], "t", "ready", False)
    assert step["sent_at"] is not None
    assert desk.mailbox.bells == [Doorbell(Reference(run["id"], "t", "-", claim=False), 1, new=True)]


async def test_a_run_is_counted_once_it_is_durable(database_url, database):
    """A transaction that is rolled back has accepted nothing, and what is refused is not counted."""
    flow = await workflow(database, *graph("t>a"))
    trigger = Trigger(flow.workflow_id, "manual", "{}")
    before = RUNS_STARTED.labels("manual")._value.get()
    async with Office(database_url) as desk:
        undone = database.transaction()
        await undone.start()
        assert await desk.ingest.accept_on(database, trigger) is not None
        await undone.rollback()
        unknown = trigger._replace(workflow_id=mint.uuid())
        async with database.transaction():
            made = await desk.ingest.accept_many_on(database, [trigger, unknown, trigger])
        assert RUNS_STARTED.labels("manual")._value.get() == before
        desk.ingest.announce(made)
        assert RUNS_STARTED.labels("manual")._value.get() == before + 2
        await desk.accept(flow)
        assert RUNS_STARTED.labels("manual")._value.get() == before + 3
    assert await database.fetchval("SELECT count(*) FROM runs") == 3


async def test_what_may_not_run_is_refused_one_by_one(database_url, database):
    """Inactive, deleted, unknown or with another token: None; its neighbours in the batch are accepted."""
    good, asleep, gone, hooked = [await workflow(database, *graph("t>a")) for _ in range(4)]
    token = hashlib.sha256(b"token").digest()
    await database.execute("UPDATE workflows SET is_active = false WHERE id = $1", asleep.workflow_id)
    await database.execute("UPDATE workflows SET deleted_at = now() WHERE id = $1", gone.workflow_id)
    await database.execute(
        "UPDATE workflows SET webhook_token_hash = $2, webhook_token = '', trigger_component = $3 WHERE id = $1",
        hooked.workflow_id,
        token,
        "webhook_trigger",
    )
    unknown = good._replace(workflow_id=mint.uuid())
    cases = [
        (good, None, True),
        (asleep, None, False),
        (gone, None, False),
        (unknown, None, False),
        (hooked, token, True),
        (hooked, hashlib.sha256(b"old").digest(), False),
        (good, token, False),
        (good, None, True),
    ]
    async with Office(database_url) as desk:
        receipts = await asyncio.gather(*(desk.accept(flow, token_hash=token) for flow, token, _ in cases))
    assert [receipt is not None for receipt in receipts] == [expected for _, _, expected in cases]
    assert await database.fetchval("SELECT count(*) FROM runs") == 3


async def test_many_triggers_share_few_commits(database_url, database):
    """Two thousand at once are committed in batches of up to 512, every one of them with its own run."""
    flow = await workflow(database, *graph("t>a"))
    async with Office(database_url, window=5000) as desk:
        receipts = await asyncio.gather(*(desk.accept(flow, f'{{"n":{n}}}') for n in range(2000)))
    assert len({receipt.run_id for receipt in receipts}) == 2000
    assert await database.fetchval("SELECT count(DISTINCT trigger_payload) FROM runs") == 2000
    assert await database.fetchval("SELECT count(DISTINCT xmin::text) FROM runs") < 20


async def test_a_poisoned_trigger_harms_no_other(database_url, database):
    """A payload that Postgres refuses fails by itself."""
    flow = await workflow(database, *graph("t>a"))
    async with Office(database_url) as desk:
        payloads = ["{}", "\0", "{}", "\ud800", "{}"]
        receipts = await asyncio.gather(*(desk.accept(flow, text) for text in payloads), return_exceptions=True)
    assert [isinstance(receipt, asyncpg.DataError) for receipt in receipts] == [False, True, False, True, False]
    assert await database.fetchval("SELECT count(*) FROM runs") == 3


async def test_past_the_window_messages_stay_in_the_database(database_url, database):
    """So many are announced, the rest are ready and unsent, for the scheduler to top up; each workflow has its own."""
    one, two = await workflow(database, *graph("t>a")), await workflow(database, *graph("t>a"))
    async with Office(database_url, window=3) as desk:
        for _ in range(5):
            await desk.accept(one)
        await desk.accept(two)
        assert len(desk.mailbox.bells) == 4
        unsent = "SELECT count(*) FROM open_steps WHERE workflow_id = $1 AND sent_at IS NULL AND sends = 0"
        assert await database.fetchval(unsent, one.workflow_id) == 2
        assert await database.fetchval(unsent, two.workflow_id) == 0
        await database.execute("UPDATE open_steps SET sent_at = NULL")  # as if they had been taken

        async def has_room():
            await desk.accept(one)
            return len(desk.mailbox.bells) > 4

        await eventually(has_room)


async def test_a_run_is_of_the_day_postgres_says(database_url, database):
    """Ids carry the time of the clock that was measured, not of this machine."""
    flow = await workflow(database, *graph("t>a"))
    clock = Clock()
    clock._offset += 86_400.0
    async with Office(database_url, clock=clock) as desk:
        accepted = await desk.accept(flow)
    here = await database.fetchval("SELECT extract(epoch FROM now())::float8")
    assert abs(milliseconds_of(accepted.run_id) / 1000 - here - 86_400) < 60


@pytest.mark.parametrize("cut", ["before", "after"])
async def test_an_answer_that_was_lost_is_found_out(database_url, database, cut):
    """Whether the commit happened or not, the trigger has one run, and its caller learns its id."""
    flow = await workflow(database, *graph("t>a"))
    async with Proxy.before(database_url) as proxy, Office(proxy.url) as desk:
        await desk.accept(flow)  # its statement is prepared now
        proxy.cut = cut
        receipts = await asyncio.gather(*(desk.accept(flow) for _ in range(5)))
        assert proxy.losses == 1
    there = {row[0] for row in await database.fetch("SELECT id FROM runs")}
    assert {receipt.run_id for receipt in receipts} < there
    assert len(there) == 6
    assert len({bell.reference.run_id for bell in desk.mailbox.bells}) == 6


async def test_a_workflow_that_is_switched_off_after_the_lost_answer_does_not_unmake_the_run(database_url, database):
    """A run that was committed is reported as accepted, whatever became of its workflow meanwhile."""
    flow = await workflow(database, *graph("t>a"))
    async with Proxy.before(database_url) as proxy, Office(proxy.url) as desk:
        await desk.accept(flow)
        await database.execute(
            "CREATE FUNCTION off() RETURNS trigger LANGUAGE plpgsql AS"
            " 'BEGIN UPDATE workflows SET is_active = false; RETURN NULL; END';"
            " CREATE TRIGGER off AFTER INSERT ON open_steps EXECUTE FUNCTION off()"
        )
        proxy.cut = "after"
        receipt = await desk.accept(flow)
    assert receipt is not None
    assert not await database.fetchval("SELECT is_active FROM workflows")
    assert await database.fetchval("SELECT count(*) FROM runs WHERE id = $1", receipt.run_id) == 1


async def test_a_database_that_stays_away_is_said_so(database_url, monkeypatch):
    """After its patience the caller gets 503 with a time to come back."""
    monkeypatch.setattr("shared.ingest.PATIENCE", 0.2)
    flow_id = mint.uuid()
    async with Proxy.before(database_url) as proxy, Office(proxy.url) as desk:
        desk.ingest._batcher._patience = 0.2

        async def keep_cutting():
            while True:
                proxy.cut = "before"
                await asyncio.sleep(0)

        cutting = asyncio.create_task(keep_cutting())
        with pytest.raises(UnavailableError) as caught:
            await desk.ingest.accept(Trigger(flow_id, "manual", "{}"))
        cutting.cancel()
        proxy.cut = ""
    assert caught.value.status == 503
    assert caught.value.retry_after


async def test_large_payloads_are_written_a_few_megabytes_at_a_time(database_url, database):
    """What came together is split by its size, the payload that fills a batch is in it, and each gets its own run."""
    flow = await workflow(database, *graph("t>a"))
    sizes = [10, 5_000_000, 1_500_000, 1_500_000, 1_500_000, 10]
    payloads = [f'"{number}{"x" * size}"' for number, size in enumerate(sizes)]
    async with Office(database_url) as desk:
        accepted = await asyncio.gather(*(desk.accept(flow, payload) for payload in payloads))
    rows = await database.fetch("SELECT id, trigger_payload, xmin::text AS batch FROM runs")
    stored = {row["id"]: row for row in rows}
    assert [stored[one.run_id]["trigger_payload"] for one in accepted] == payloads
    batches = [stored[one.run_id]["batch"] for one in accepted]
    assert [batches.count(batch) for batch in dict.fromkeys(batches)] == [2, 3, 1]


async def test_a_payload_over_the_bound_of_what_waits_is_taken_when_it_is_alone(database_url, database, monkeypatch):
    """Coming back must help: beside another one it is refused, and what comes while it is under way is, too."""
    monkeypatch.setattr("shared.ingest._MOST_CHARACTERS", 100)
    flow = await workflow(database, *graph("t>a"))
    large, small = f'"{"x" * 200}"', "{}"
    async with Office(database_url) as desk:
        for first, second in [(small, large), (large, small)]:
            receipts = await asyncio.gather(desk.accept(flow, first), desk.accept(flow, second), return_exceptions=True)
            assert receipts[0].run_id
            assert (type(receipts[1]), receipts[1].code) == (UnavailableError, "ingest_busy")
    assert sorted(row[0] for row in await database.fetch("SELECT trigger_payload FROM runs")) == [large, small]


@pytest.mark.parametrize(("size", "spaced"), [(10, True), (270_000, False)])
async def test_a_batch_that_payloads_filled_is_followed_at_once(database_url, database, monkeypatch, size, spaced):
    """Behind a crowd of small ones a larger batch may form; sixteen of 270 KB are as many as go into one."""
    flow = await workflow(database, *graph("t>a"))
    distances, sleep = [], asyncio.sleep
    took = [0.0]
    monkeypatch.setattr("shared.batcher.monotonic", lambda: took[0])  # which stands still but for what a batch takes

    def pause(seconds):
        if 0 < seconds <= _LONGEST_PAUSE:
            distances.append(seconds)
        return sleep(seconds)

    async with Office(database_url) as desk:
        flush = desk.ingest._batcher._flush

        async def timed(*batch):
            took[0] += _LONGEST_PAUSE / 2
            return await flush(*batch)

        desk.ingest._batcher._flush = timed
        monkeypatch.setattr(asyncio, "sleep", pause)
        crowd = [asyncio.create_task(desk.accept(flow, f'"{"x" * size}"')) for _ in range(16)]
        await asyncio.wait(crowd, return_when=asyncio.FIRST_COMPLETED)
        await desk.accept(flow)
        monkeypatch.undo()
    assert await database.fetchval("SELECT count(DISTINCT xmin::text) FROM runs") == 2
    assert bool(distances) == spaced
