"""Tokens stay fresh: renewed by one process at a time, and given up when a provider says so."""

import asyncio
import base64
import json
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from urllib.parse import quote, quote_plus
from uuid import UUID

import asyncpg
import msgspec
import pytest

from shared.authorizations.authorizer import LEASE, Authorizer, Place
from shared.authorizations.requests import basic_header
from shared.authorizations.tokens import PATIENCE, Token
from shared.errors import StepFailedError
from shared.nodes.base import Grant
from shared.store import authorizations
from tests.engine import eventually
from tests.presenting import add, authorizer, consented, mint
from tests.provider import CLIENT, SECRET, Issued, Provider, serving


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    async with serving("https://edgewise.test/callback") as one:
        yield one


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(database_url)
    yield connection
    await connection.close()


@pytest.fixture
async def workers(database_url: str) -> AsyncIterator[list[Authorizer]]:
    """What two workers have."""
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(authorizer(database_url)) for _ in range(2)]


def known(provider: Provider) -> Token:
    """A token that the provider takes, as of a consent."""
    token = Token("access-first", "refresh-first", 3600.0)
    provider.access_tokens.add(token.access_token)
    provider.refresh_tokens["refresh-first"] = Issued(scope="", text="refresh-first")
    return token


async def placed(
    database: asyncpg.Connection, provider: Provider, workers: list[Authorizer], due_in: float | None = 3600.0
) -> list[Place]:
    """One authorization that a person consented to, as each worker has it."""
    workspace_id = mint.uuid()
    authorization_id = await add(database, workspace_id, "oauth2_authorization_code", provider.config())
    await consented(database, authorization_id, known(provider), due_in)
    return [worker.of(workspace_id, authorization_id) for worker in workers]


async def failure(place: Place, refused: Grant | None = None) -> StepFailedError:
    with pytest.raises(StepFailedError) as caught:
        await place.grant(refused)
    return caught.value


async def expired(database: asyncpg.Connection) -> None:
    """Whatever waits for a time has come to it."""
    await database.execute(
        "UPDATE authorizations SET refresh_at = now(), retry_at = CASE WHEN retry_at IS NOT NULL THEN now() END,"
        " refresh_until = CASE WHEN refresh_until IS NOT NULL THEN now() END"
    )


async def status(database: asyncpg.Connection) -> str:
    return str(await database.fetchval("SELECT status FROM authorizations"))


async def test_a_token_that_is_not_due_is_used(
    database: asyncpg.Connection, provider: Provider, workers: list[Authorizer]
) -> None:
    """Nobody asks the provider; what is presented stands in no text that a log could show."""
    first, _ = await placed(database, provider, workers)
    grant = await first.grant()
    assert grant.header == ("Authorization", "Bearer access-first")
    assert grant.secrets == ("access-first",)
    assert "access-first" not in repr(grant)
    assert "access-first" not in repr(known(provider))
    assert provider.asked == []


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


async def test_a_refusal_is_answered_with_one_newer_token(
    database: asyncpg.Connection, provider: Provider, workers: list[Authorizer]
) -> None:
    """Who was refused gets a newer token, also one that another worker fetched; the second refusal is the last."""
    first, second = await placed(database, provider, workers)
    old = await first.grant()
    renewed = await first.grant(old)
    assert (renewed.generation, renewed.renewed) == (old.generation + 1, True)
    assert await second.grant(old) == renewed
    assert len(provider.asked) == 1
    error = await failure(first, renewed)
    assert (error.code, error.category) == ("authorization_revoked", "authorization")
    assert (await failure(second)).code == "authorization_revoked"
    assert len(provider.asked) == 1
    assert await status(database) == "revoked"


async def test_what_an_api_refused_is_tried_again_after_a_minute(
    database: asyncpg.Connection, provider: Provider, workers: list[Authorizer]
) -> None:
    """Within the minute steps fail at once; after it one asks for a token, and with that it is active again."""
    first, second = await placed(database, provider, workers)
    renewed = await first.grant(await first.grant())
    assert (await failure(first, renewed)).code == "authorization_revoked"
    assert await database.fetchval("SELECT retry_at - now() > interval '50 seconds' FROM authorizations")
    await expired(database)
    grants = await asyncio.gather(first.grant(), second.grant(), first.grant())
    assert len(set(grants)) == 1
    assert (await status(database), len(provider.asked)) == ("active", 2)


async def test_a_refresh_token_that_is_over(
    database: asyncpg.Connection, provider: Provider, workers: list[Authorizer]
) -> None:
    """invalid_grant revokes for good: no later step asks the provider, whatever the time, until somebody consents."""
    first, second = await placed(database, provider, workers, due_in=0.0)
    provider.refresh_tokens.clear()
    errors = await asyncio.gather(failure(first), failure(second))
    assert [error.code for error in errors] == ["authorization_revoked"] * 2
    assert "invalid_grant" in errors[0].message
    assert len(provider.asked) == 1
    await expired(database)
    assert (await failure(second)).code == "authorization_revoked"
    assert len(provider.asked) == 1
    await consented(database, first.authorization_id, known(provider))
    assert (await second.grant()).header[1] == "Bearer access-first"


#: What a provider answers, and how the step fails.
TROUBLE: list[tuple[tuple[int, object], str, str]] = [
    ((503, {}), "token_unavailable", "5xx"),
    ((429, {"error": "slow_down"}), "token_unavailable", "429"),
    ((400, {"error": "invalid_scope", "error_description": "no refresh-first here"}), "token_refused", "error"),
    ((200, {"error": "bad_verification_code"}), "token_refused", "error"),
    ((200, {"access_token": "a\nb"}), "token_refused", "error"),
    ((200, {"access_token": "x", "token_type": "mac"}), "token_refused", "error"),
    ((200, []), "token_refused", "error"),
    ((302, {}), "token_refused", "error"),
]


async def test_a_provider_in_trouble(
    database: asyncpg.Connection, provider: Provider, workers: list[Authorizer]
) -> None:
    """The step fails in a way that says whether to try again, the lease is free at once, and nothing is revoked."""
    first, _ = await placed(database, provider, workers, due_in=0.0)
    for answer, code, category in TROUBLE:
        provider.answers.append(answer)
        error = await failure(first)
        assert (error.code, error.category) == (code, category), answer
        assert "refresh-first" not in error.message
        assert await status(database) == "active"
    assert (await first.grant()).generation == 2


#: How a provider may write down what it was sent.
TELLING: dict[str, Callable[[str], str]] = {
    "as it is": str,
    "form-encoded": quote_plus,
    "URL-encoded": lambda text: quote(text, safe=""),
    "for JSON": lambda text: json.dumps(text)[1:-1],
    "base64": lambda text: base64.b64encode(text.encode()).decode(),
    "Basic": lambda text: basic_header(CLIENT, text),
    "hex": lambda text: text.encode().hex(),
}


@pytest.mark.parametrize("how", TELLING)
async def test_a_provider_that_tells_what_it_was_sent(
    database: asyncpg.Connection, provider: Provider, workers: list[Authorizer], how: str
) -> None:
    """Its error shows neither the client's secret nor a refresh token, as the request had them or otherwise."""
    first, _ = await placed(database, provider, workers, due_in=0.0)
    told = {secret: TELLING[how](secret) for secret in (SECRET, "refresh-first")}
    said = f"had {' and '.join(told.values())}"
    provider.answers.append((400, {"error": "invalid_scope", "error_description": said}))
    message = (await failure(first)).message
    assert message.startswith("The provider gave no token: invalid_scope (had ")
    assert message.count("[redacted]") == 2
    for secret, text in told.items():
        assert secret not in message
        assert text.removeprefix("Basic ") not in message


async def test_a_provider_that_is_not_there(
    database: asyncpg.Connection, provider: Provider, workers: list[Authorizer]
) -> None:
    """A connection that fails is a network fault; an address that is not allowed is refused for good."""
    workspace_id = mint.uuid()
    for url, code, category in (
        ("http://127.0.0.1:9/token", "token_unavailable", "network"),
        ("http://127.0.0.2:9/token", "token_refused", "error"),
    ):
        made = await add(database, workspace_id, "oauth2_client_credentials", provider.credentials(token_url=url))
        error = await failure(workers[0].of(workspace_id, made))
        assert (error.code, error.category) == (code, category)


@pytest.mark.parametrize("auth", ["basic", "post"])
async def test_client_credentials(
    database: asyncpg.Connection, provider: Provider, workers: list[Authorizer], auth: str
) -> None:
    """The first step of all workers fetches a token, with scopes and audience; a client that is disabled is revoked."""
    provider.client.auth_method = f"client_secret_{auth}"
    workspace_id = mint.uuid()
    config = provider.credentials(client_auth=auth, audience="https://api")
    made = await add(database, workspace_id, "oauth2_client_credentials", config)
    places = [worker.of(workspace_id, made) for worker in workers]
    grants = await asyncio.gather(*(place.grant() for place in places for _ in range(3)))
    assert len(set(grants)) == 1
    (form,) = provider.asked
    assert (form["grant_type"], form["scope"], form["audience"]) == ("client_credentials", "read write", "https://api")
    provider.client.enabled = False
    assert (await failure(places[0], grants[0])).code == "authorization_revoked"
    assert (await failure(places[1])).code == "authorization_revoked"
    assert len(provider.asked) == 2
    provider.client.enabled = True
    await expired(database)
    assert (await places[1].grant()).generation == 2


async def test_a_token_that_cannot_be_renewed(
    database: asyncpg.Connection, provider: Provider, workers: list[Authorizer]
) -> None:
    """It is used to its end and is revoked then; refused before, it is tried again after a minute."""
    workspace_id = mint.uuid()
    made = await add(database, workspace_id, "oauth2_authorization_code", provider.config())
    await consented(database, made, Token("only", None, 3600.0))
    place = workers[0].of(workspace_id, made)
    grant = await place.grant()
    assert (await failure(place, grant)).code == "authorization_revoked"
    await database.execute("UPDATE authorizations SET retry_at = now()")
    assert (await place.grant()).header == grant.header
    await expired(database)
    assert "over" in (await failure(place)).message
    assert provider.asked == []


async def test_nothing_is_presented_that_is_not_there(
    database: asyncpg.Connection, provider: Provider, workers: list[Authorizer]
) -> None:
    """A deleted authorization, one of another workspace, and one that nobody has consented to yet."""
    first, _ = await placed(database, provider, workers)
    stranger = workers[0].of(mint.uuid(), first.authorization_id)
    assert (await failure(stranger)).code == "authorization_revoked"
    await database.execute("UPDATE authorizations SET status = 'pending'")
    assert (await failure(first)).code == "authorization_pending"
    await authorizations.remove(database, first.authorization_id)
    error = await failure(first)
    assert (error.code, "deleted" in error.message) == ("authorization_revoked", True)


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


async def test_a_config_is_bound_to_its_row(
    database: asyncpg.Connection, provider: Provider, workers: list[Authorizer]
) -> None:
    """What is copied into another row can't be read there, and the step says so without showing anything."""
    workspace_id = mint.uuid()
    ids: list[UUID] = []
    for key in ("one-key-of-ada", "two-key-of-ada"):
        config = {"base_url": provider.url, "token": key}
        ids.append(await add(database, workspace_id, "bearer", config))
    await database.execute(
        "UPDATE authorizations a SET config = b.config FROM authorizations b WHERE a.id = $1 AND b.id = $2", *ids
    )
    error = await failure(workers[0].of(workspace_id, ids[0]))
    assert error.code == "authorization_unreadable"
    assert "ada" not in error.message
