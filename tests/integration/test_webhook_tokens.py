"""Rotating webhook tokens, and what two api processes make of changes: over HTTP, against a real database."""

from typing import Any

from tests.api_client import PUBLIC_URL, Answer, ApiClient, token
from tests.hooks import hook, send


def _path(workflow: dict[str, Any]) -> str:
    path: str = workflow["webhook_url"].removeprefix(PUBLIC_URL)
    return path


async def _rotate(api: ApiClient, workflow: dict[str, Any], body: Any = None, **options: Any) -> Answer:
    return await api.call("POST", f"/workflows/{workflow['id']}/webhook-token/rotate", body, **options)


async def test_a_rotated_token_works_nowhere_within_a_second(make_api: Any) -> None:
    """The new one works at once in every process; the old one is 404 in all, although they had looked it up."""
    one, two = await make_api(), await make_api()
    made, old = await hook(one)
    assert (await send(one, old)).status == (await send(two, old)).status == 202
    answer = await _rotate(one, made)
    assert answer.status == 200
    assert answer.json["id"] == made["id"]
    assert answer.headers["ETag"]
    new = _path(answer.json)
    assert new != old
    assert (await send(one, new)).status == (await send(two, new)).status == 202
    assert (await send(one, old)).json["code"] == "webhook_not_found"
    assert (await send(two, old)).status == 404
    got = await one.call("GET", f"/workflows/{made['id']}")
    assert _path(got.json) == new


async def test_a_deactivated_webhook_stops_everywhere(make_api: Any) -> None:
    """Not one request more is accepted by the other process, since the ingest looks again; so it is with a deletion."""
    one, two = await make_api(), await make_api()
    made, path = await hook(one)
    assert (await send(two, path)).status == 202
    await one.call("PUT", f"/workflows/{made['id']}", {"is_active": False})
    assert (await send(two, path)).status == 409
    await one.call("PUT", f"/workflows/{made['id']}", {"is_active": True})
    assert (await send(two, path)).status == 202
    await one.call("DELETE", f"/workflows/{made['id']}")
    assert (await send(two, path)).status == 404


async def test_the_old_token_works_until_the_overlap_ends(make_api: Any) -> None:
    """Both do meanwhile, in every process, and both start runs of the same workflow; then the old one is 404."""
    one, two = await make_api(), await make_api()
    made, old = await hook(one)
    new = _path((await _rotate(one, made, {"overlap_seconds": 3600})).json)
    for api in (one, two):
        assert [(await send(api, path)).status for path in (old, new)] == [202, 202]
    # A change of the workflow leaves both as they are.
    await one.call("PUT", f"/workflows/{made['id']}", {"name": "Other"})
    assert [(await send(two, path)).status for path in (old, new)] == [202, 202]
    async with one.api.services.pool.acquire() as connection:
        assert await connection.fetchval("SELECT count(DISTINCT workflow_id) FROM runs") == 1
        await connection.execute("UPDATE workflows SET previous_token_until = now()")
    assert [(await send(two, path)).status for path in (old, new)] == [404, 202]


async def test_only_the_token_of_before_overlaps(api: ApiClient) -> None:
    """A second rotation ends the overlap of the first one's, so a token that leaked can always be ended at once."""
    made, first = await hook(api)
    second = _path((await _rotate(api, made, {"overlap_seconds": 3600})).json)
    third = _path((await _rotate(api, made, {"overlap_seconds": 3600})).json)
    assert [(await send(api, path)).status for path in (first, second, third)] == [404, 202, 202]
    fourth = _path((await _rotate(api, made)).json)
    assert [(await send(api, path)).status for path in (second, third, fourth)] == [404, 404, 202]


async def test_a_rotation_is_a_write_like_any_other(api: ApiClient) -> None:
    """It leaves an audit row, moves the ETag, honours If-Match and Idempotency-Key, and keeps its secret encrypted."""
    made, _ = await hook(api)
    before = (await api.call("GET", f"/workflows/{made['id']}")).headers["ETag"]
    key = {"Idempotency-Key": "once"}
    first = await _rotate(api, made, {"overlap_seconds": 5}, headers=key)
    again = await _rotate(api, made, {"overlap_seconds": 5}, headers=key)
    assert (first.body, again.headers["Idempotency-Replayed"]) == (again.body, "true")
    assert first.headers["ETag"] != before
    assert (await _rotate(api, made, headers={"If-Match": before})).status == 412
    secret = _path(first.json).rpartition("/")[2]
    assert len(secret.removeprefix("whsec_")) >= 43
    async with api.api.services.pool.acquire() as connection:
        actions = [row["action"] for row in await connection.fetch("SELECT action FROM audit ORDER BY id")]
        assert actions == ["workflow.create", "workflow.rotate_token"]
        assert not await connection.fetchval(
            "SELECT count(*) FROM idempotency WHERE position($1::bytea IN body) > 0", secret.encode()
        )


async def test_what_cannot_be_rotated_is_told(api: ApiClient) -> None:
    """Another trigger is 409, another workspace 404, a wrong overlap 422, a token without the scope 403."""
    made, _ = await hook(api)
    plain = await api.create()
    assert (await _rotate(api, plain)).json["code"] == "no_webhook"
    assert (await _rotate(api, made, token=token(workspace="other"))).status == 404
    assert (await _rotate(api, made, token=token(scope="workflows:read"))).status == 403
    for overlap in (-1, 1.5, "1", 10**9, None):
        answer = await _rotate(api, made, {"overlap_seconds": overlap})
        assert (answer.status, answer.json["errors"][0]["path"]) == (422, "overlap_seconds")
    assert (await _rotate(api, made, {"overlap": 1})).status == 422
