"""``Idempotency-Key``, against a real database."""

import asyncio
from typing import Any

import pytest

from shared.store import idempotency
from shared.store.idempotency import Scope
from tests.api_client import Answer, ApiClient, token, workflow


def _key(text: str) -> dict[str, Any]:
    return {"headers": {"Idempotency-Key": text}}


async def _count(api: ApiClient, table: str) -> int:
    async with api.api.services.pool.acquire() as connection:
        count: int = await connection.fetchval(f"SELECT count(*) FROM {table}")
        return count


async def test_a_repeat_gives_the_first_answer(api: ApiClient) -> None:
    """The same key and body create once and answer twice the same, the second time saying so."""
    first = await api.call("POST", "/workflows", workflow(), **_key("k"))
    again = await api.call("POST", "/workflows", workflow(), **_key("k"))
    assert (again.status, again.body, again.headers["ETag"]) == (201, first.body, first.headers["ETag"])
    assert "Idempotency-Replayed" not in first.headers
    assert again.headers["Idempotency-Replayed"] == "true"
    assert await _count(api, "workflows") == 1
    assert await _count(api, "audit") == 1


async def test_another_body_is_refused(api: ApiClient) -> None:
    """A key that was used with another body is 409."""
    await api.call("POST", "/workflows", workflow(), **_key("k"))
    other = await api.call("POST", "/workflows", workflow(name="x"), **_key("k"))
    assert (other.status, other.json["code"]) == (409, "idempotency_key_reused")


async def test_a_key_belongs_to_workspace_and_route(api: ApiClient) -> None:
    """The same key in another workspace, or on another workflow, is another key."""
    one = await api.call("POST", "/workflows", workflow(), **_key("k"))
    other = await api.call("POST", "/workflows", workflow(), token=token("other"), **_key("k"))
    assert one.json["id"] != other.json["id"]
    second = await api.create()
    runs = [
        await api.call("POST", f"/workflows/{made}/execute", {}, **_key("k")) for made in (one.json["id"], second["id"])
    ]
    assert [answer.status for answer in runs] == [202, 202]


async def test_execute_makes_one_run(api: ApiClient) -> None:
    """A repeated execute gives the first run again, and it is stored once."""
    made = await api.create()
    path = f"/workflows/{made['id']}/execute"
    first = await api.call("POST", path, {"context": {"a": 1}}, **_key("k"))
    again = await api.call("POST", path, {"context": {"a": 1}}, **_key("k"))
    assert (first.status, again.json) == (202, first.json)
    assert await _count(api, "runs") == 1


async def test_an_error_is_not_kept(api: ApiClient) -> None:
    """After a refusal the same key may be used again, with what was wrong put right."""
    assert (await api.call("POST", "/workflows", workflow(name=""), **_key("k"))).status == 422
    assert (await api.call("POST", "/workflows", workflow(), **_key("k"))).status == 201


async def test_concurrent_repeats_do_the_work_once(api: ApiClient) -> None:
    """Of many requests at once with one key one does the work; the others get its answer or 409 in progress."""
    made = await api.create()
    path = f"/workflows/{made['id']}/execute"
    answers: list[Answer] = await asyncio.gather(*(api.call("POST", path, {}, **_key("k")) for _ in range(20)))
    ids = {answer.json["id"] for answer in answers if answer.status == 202}
    others = {answer.json["code"] for answer in answers if answer.status != 202}
    assert len(ids) == 1
    assert others <= {"idempotency_in_progress"}
    assert await _count(api, "runs") == 1


async def test_a_request_under_way_holds_its_key(api: ApiClient) -> None:
    """While another transaction holds the key the answer is 409 idempotency_in_progress; afterwards it is free."""
    await api.call("GET", "/workflows")
    async with api.api.services.pool.acquire() as connection:
        workspace_id = await connection.fetchval("SELECT id FROM workspaces")
        async with connection.transaction():
            assert await idempotency.try_lock(connection, Scope(workspace_id, "POST", "/workflows", "k"))
            busy = await api.call("POST", "/workflows", workflow(), **_key("k"))
    assert (busy.status, busy.json["code"]) == (409, "idempotency_in_progress")
    assert (await api.call("POST", "/workflows", workflow(), **_key("k"))).status == 201


async def test_answers_are_kept_for_a_day(api: ApiClient) -> None:
    """After 24 hours the key is fresh again."""
    first = await api.call("POST", "/workflows", workflow(), **_key("k"))
    async with api.api.services.pool.acquire() as connection:
        await connection.execute("UPDATE idempotency SET created_at = now() - interval '24 hours 1 second'")
    second = await api.call("POST", "/workflows", workflow(name="x"), **_key("k"))
    assert (second.status, second.json["id"] != first.json["id"]) == (201, True)
    again = await api.call("POST", "/workflows", workflow(name="x"), **_key("k"))
    assert again.json == second.json


async def test_secrets_are_kept_encrypted(api: ApiClient) -> None:
    """An answer that holds a webhook URL is stored encrypted and replayed in clear."""
    body = workflow("webhook_trigger")
    first = await api.call("POST", "/workflows", body, **_key("k"))
    async with api.api.services.pool.acquire() as connection:
        stored = await connection.fetchrow("SELECT body, secret FROM idempotency")
    assert stored is not None
    assert stored["secret"] is True
    assert b"whsec_" not in stored["body"]
    assert (await api.call("POST", "/workflows", body, **_key("k"))).body == first.body


@pytest.mark.parametrize("key", ["", "x" * 256, "ä"])
async def test_illegal_keys_are_refused(api: ApiClient, key: str) -> None:
    """A key is 1 to 255 printable ASCII characters."""
    answer = await api.call("POST", "/workflows", workflow(), **_key(key))
    assert (answer.status, answer.json["code"]) == (400, "invalid_idempotency_key")
