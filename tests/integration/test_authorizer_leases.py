"""Tokens are renewed by one process at a time, whoever is killed, aborted or late meanwhile."""

import asyncio
import sys

import asyncpg
import msgspec
import pytest

from shared.authorizations.authorizer import LEASE, Authorizer
from shared.authorizations.tokens import PATIENCE, Token
from shared.errors import StepFailedError
from shared.store import authorizations
from tests.engine import eventually
from tests.presenting import add, consented, mint
from tests.provider import Provider
from tests.renewing import expired, failure, placed, status


async def test_two_workers_and_one_refresh(
    database: asyncpg.Connection, provider: Provider, workers: list[Authorizer]
) -> None:
    """A due token is renewed once, however many steps of two workers want it; all present the new one."""
    places = await placed(database, provider, workers, due_in=0.0)
    provider.gate.clear()
    asking = [asyncio.create_task(place.grant()) for place in places for _ in range(10)]
    await eventually(lambda: provider.granted)
    await eventually(lambda: all(worker._renewals for worker in workers))
    provider.gate.set()
    grants = await asyncio.gather(*asking)
    assert len({grant.header for grant in grants}) == 1
    assert grants[0].header[1].removeprefix("Bearer ") in provider.access_tokens - {"access-first"}
    assert [form["grant_type"] for form in provider.asked] == ["refresh_token"]


@pytest.mark.parametrize("how", [[], pytest.param(["refused"], marks=pytest.mark.drill)], ids=["due", "refused"])
async def test_two_processes_and_one_refresh(
    database_url: str, database: asyncpg.Connection, provider: Provider, workers: list[Authorizer], how: list[str]
) -> None:
    """The same in two processes: refresh tokens rotate, so a second request would be refused."""
    place, _ = await placed(database, provider, workers, due_in=None if how else 0.0)
    arguments = [database_url, str(place.workspace_id), str(place.authorization_id), "5", *how]
    processes = [
        await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tests.presenting",
            *arguments,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        for _ in range(2)
    ]
    for process in processes:
        assert process.stdout is not None
        assert await process.stdout.readline() == b"ready\n"
    told = await asyncio.gather(*(process.communicate(b"\n") for process in processes))
    lines = b"".join(out for out, _ in told).split(b"\n")[:-1]
    assert [process.returncode for process in processes] == [0, 0]
    assert (len(lines), len(set(lines))) == (10, 1)
    assert [form["grant_type"] for form in provider.asked] == ["refresh_token"]
    assert await status(database) == "active"


async def test_a_killed_worker_holds_nobody_up(
    database_url: str, database: asyncpg.Connection, provider: Provider, workers: list[Authorizer]
) -> None:
    """Killed between the provider's answer and its storing: another worker goes on when the lease ends.

    A provider whose refresh tokens are good for one use refuses then, which is told; one whose are not gives another.
    """
    place, other = await placed(database, provider, workers, due_in=0.0)
    for rotates, code in ((False, None), (True, "authorization_revoked")):
        provider.rotates = rotates
        provider.gate.clear()
        before = provider.granted.total()
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tests.presenting",
            database_url,
            str(place.workspace_id),
            str(place.authorization_id),
            "1",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        assert process.stdout is not None
        assert await process.stdout.readline() == b"ready\n"
        asking = asyncio.create_task(process.communicate(b"\n"))
        await eventually(lambda before=before: provider.granted.total() > before)
        process.kill()
        await asking
        provider.gate.set()
        waiting = asyncio.create_task(other.grant())
        await eventually(lambda: workers[1]._renewals)
        assert provider.granted.total() == before + 1  # the dead one's lease holds
        await expired(database)
        if code is None:
            assert (await waiting).header[1].removeprefix("Bearer ") in provider.access_tokens
            await expired(database)
            continue
        with pytest.raises(StepFailedError) as caught:
            await waiting
        assert caught.value.code == code
        assert "cut off" in caught.value.message
        assert await status(database) == "revoked"


async def test_an_aborted_step_leaves_its_renewal(
    database: asyncpg.Connection, provider: Provider, workers: list[Authorizer]
) -> None:
    """A step that is cancelled while the provider answers does not lose the answer; nor does a worker that stops."""
    first, second = await placed(database, provider, workers, due_in=0.0)
    provider.gate.clear()
    asking = asyncio.create_task(first.grant())
    await eventually(lambda: provider.granted)
    asking.cancel()
    closing = asyncio.create_task(workers[0].aclose(10.0))
    provider.gate.set()
    await closing
    assert (await second.grant()).generation == 2
    assert len(provider.asked) == 1


async def test_a_late_answer_replaces_nothing(database: asyncpg.Connection, provider: Provider) -> None:
    """What follows a generation is stored once; a consent stands above a renewal that was under way."""
    workspace_id, lease = mint.uuid(), mint.uuid()
    made = await add(database, workspace_id, "oauth2_authorization_code", provider.config())
    await consented(database, made, Token("first", "r"))
    assert await authorizations.lease(database, made, 1, lease, 30.0) is False
    assert await authorizations.lease(database, made, 1, mint.uuid(), 30.0) is None
    await consented(database, made, Token("second", "r"))
    assert await authorizations.store(database, made, 1, b"late", None) is False
    await authorizations.revoke(database, made, 1, "Late.", None)
    assert await status(database) == "active"


async def test_refusals_and_renewals_do_not_chase_each_other(
    database: asyncpg.Connection, provider: Provider, workers: list[Authorizer]
) -> None:
    """A token that was on its way when the API refused the one before it is kept, and nothing is tried for a minute."""
    first, second = await placed(database, provider, workers)
    renewed = await first.grant(await first.grant())
    provider.gate.clear()
    newcomer = asyncio.create_task(second.grant(msgspec.structs.replace(renewed, renewed=False)))
    await eventually(lambda: provider.granted.total() == 2)
    assert (await failure(first, renewed)).code == "authorization_revoked"
    provider.gate.set()
    with pytest.raises(StepFailedError) as caught:
        await newcomer
    assert caught.value.code == "authorization_revoked"
    assert (await failure(first)).code == "authorization_revoked"
    await expired(database)
    assert (await first.grant()).generation == 4
    assert await status(database) == "active"


def test_a_lease_outlasts_what_it_is_for() -> None:
    """Whoever has it is done with the provider before another may begin."""
    assert LEASE >= 2 * PATIENCE
