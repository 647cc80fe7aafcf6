"""The lease of a worker, on a real database."""

import asyncio

from shared.lanes import Reference
from shared.store.taken import claim
from tests.engine import eventually, graph, mint, start_run, workflow
from worker.holdings import Held
from worker.incarnation import Incarnation


def incarnation_on(database_url, holdings=None, lease=6.0):
    return Incarnation(database_url, lease=lease, new_id=mint.uuid, holdings=Held() if holdings is None else holdings)


async def beats(database, incarnation_id):
    return await database.fetchval("SELECT heartbeat_at FROM incarnations WHERE id = $1", incarnation_id)


async def test_it_registers_beats_and_retires(database_url, database):
    """Its row is there from the start, its heartbeat advances on Postgres's clock, and its end is written."""
    incarnation = incarnation_on(database_url)
    assert not incarnation.is_fresh()
    await incarnation.start()
    assert incarnation.is_fresh()
    assert await asyncio.wait_for(incarnation.fresh(), 1) == incarnation.id
    registered = await beats(database, incarnation.id)

    async def beaten():
        return await beats(database, incarnation.id) > registered

    await eventually(beaten)
    assert await database.fetchval("SELECT dead_at FROM incarnations") is None
    await incarnation.stop()
    assert await database.fetchval("SELECT dead_at IS NOT NULL FROM incarnations")


async def test_death_is_final(database_url, database):
    """A heartbeat brings no dead incarnation back: everything is dropped and another one begins."""
    held = Held()
    held.enter(mint.uuid())
    incarnation = incarnation_on(database_url, held)
    old = incarnation.id
    await incarnation.start()
    await database.execute("UPDATE incarnations SET dead_at = now()")
    await eventually(lambda: incarnation.id != old)
    assert len(held) == 0
    assert incarnation.is_fresh()
    rows = await database.fetch("SELECT id FROM incarnations WHERE dead_at IS NULL")
    assert [row[0] for row in rows] == [incarnation.id]
    await incarnation.stop()


async def test_it_goes_by_no_name_that_has_no_row(database_url, database):
    """As long as a new incarnation can't be registered, nothing can be claimed under its id."""
    incarnation = incarnation_on(database_url)
    old = incarnation.id
    await incarnation.start()
    await database.execute(
        "ALTER TABLE incarnations ADD CONSTRAINT nobody_new CHECK (pid < 0) NOT VALID;"
        " UPDATE incarnations SET dead_at = now(), pid = -1"
    )
    connection = incarnation._connection
    await eventually(lambda: incarnation._connection is not connection)  # a beat has tried, and failed
    assert incarnation.id == old
    await database.execute("ALTER TABLE incarnations DROP CONSTRAINT nobody_new")
    await eventually(lambda: incarnation.id != old)
    assert await beats(database, incarnation.id) is not None
    await incarnation.stop()


async def test_a_lost_connection_is_made_again(database_url, database):
    """Whoever kills its backend, the same incarnation beats on."""
    incarnation = incarnation_on(database_url)
    await incarnation.start()
    before = await beats(database, incarnation.id)
    killed = await database.fetchval(
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = 'edgewise-heartbeat'"
        " AND datname = current_database()"
    )
    assert killed == 1

    async def beaten():
        return await beats(database, incarnation.id) > before

    await eventually(beaten)
    await incarnation.stop()


async def test_it_beats_on_when_what_it_compares_breaks(database_url, database):
    """An error that nobody thought of does not stop the heart."""

    class Breaking:
        asked = 0

        def compare(self, asked_at, held):
            self.asked += 1
            raise ZeroDivisionError

        def drop(self):
            raise ZeroDivisionError

    holdings = Breaking()
    incarnation = incarnation_on(database_url, holdings)
    await incarnation.start()
    await eventually(lambda: holdings.asked >= 2)
    await incarnation.stop()


async def test_claims_that_memory_does_not_know_are_given_back(database_url, database):
    """A claim whose answer was lost is ready again, unsent, after the next heartbeat; a known one stays."""
    held = Held()
    incarnation = incarnation_on(database_url, held)
    await incarnation.start()
    flow = await workflow(database, *graph("t>a"))
    known, unknown = mint.uuid(), mint.uuid()
    held.enter(known)
    held.confirm(known)
    pairs = [
        (Reference(await start_run(database, flow), "t", "-", claim=True), claim_id) for claim_id in (known, unknown)
    ]
    await claim(database, pairs, incarnation.id)

    async def given_back():
        row = await database.fetchrow(
            "SELECT count(*), bool_and(sent_at IS NULL) FROM open_steps WHERE status = 'ready'"
        )
        return tuple(row) == (1, True)

    await eventually(given_back)
    assert await database.fetchval("SELECT claim_id FROM open_steps WHERE status = 'running'") == known
    await incarnation.stop()


async def test_it_is_not_fresh_when_the_database_is_silent(database_url, database):
    """Without a heartbeat younger than half a lease no effect may start; the next one lets those that wait go on."""
    incarnation = incarnation_on(database_url, lease=1.0)
    await incarnation.start()
    locking = database.transaction()
    await locking.start()
    await database.execute("SELECT FROM incarnations FOR UPDATE")
    await eventually(lambda: not incarnation.is_fresh())
    waiting = asyncio.create_task(incarnation.fresh())
    await asyncio.sleep(0)
    assert not waiting.done()
    await locking.rollback()
    assert await asyncio.wait_for(waiting, 10) == incarnation.id
    await incarnation.stop()
