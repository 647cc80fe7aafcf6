"""What came to webhooks, and replaying it: over HTTP, against a real database, with a scheduler's duty beside it."""

import asyncio
import base64
import json
from typing import Any
from urllib.parse import quote

import pytest

from api import webhook_deliveries
from scheduler.replays import Replays
from shared.metrics import DELIVERIES_DROPPED
from shared.store import deliveries
from shared.store.open_runs import RunLimits
from tests.api_client import ApiClient, token
from tests.hooks import SECRET, github, hook, keep_secret, send


async def listed(api: ApiClient, workflow: dict[str, Any], **query: str) -> list[dict[str, Any]]:
    """The deliveries of a workflow, once all are written."""
    await api.api.services.deliveries.close()
    answer = await api.call("GET", f"/workflows/{workflow['id']}/deliveries", params=query)
    assert answer.status == 200, answer.body
    rows: list[dict[str, Any]] = answer.json
    return rows


async def replay_all(api: ApiClient) -> None:
    """Do all batches of all replays, whatever their pace."""
    services = api.api.services
    duty = Replays(services.pool, services.ingest, RunLimits(100_000, 100_000))  # type: ignore[arg-type] # it is one
    while True:
        async with services.pool.acquire() as connection:
            await connection.execute("UPDATE delivery_replays SET next_at = now() WHERE completed_at IS NULL")
        if not await duty.work():
            return


async def test_every_request_is_listed_with_what_became_of_it(api: ApiClient) -> None:
    """Newest first: accepted ones with their run, a repeat with the first's, refused ones with why; no secrets."""
    await keep_secret(api, "the-item", SECRET)
    made, path = await hook(api, signature={"scheme": "github", "secret": "the-item"})
    good = {"X-Hub-Signature-256": github(b"{}"), "X-GitHub-Delivery": "d-1"}
    first = await send(api, path, b"{}", **good)
    again = await send(api, path, b"{}", **good)
    forged = await send(api, path, {"n": 1}, Authorization="Bearer s3cr3t")
    broken = await send(api, path, b"{", **{"X-Hub-Signature-256": github(b"{")})
    await api.call("PUT", f"/workflows/{made['id']}", {"is_active": False})
    asleep = await send(api, path, b"{}", **good)
    assert [a.status for a in (first, again, forged, broken, asleep)] == [202, 202, 401, 400, 409]
    rows = await listed(api, made)
    run_id = first.json["run_id"]
    assert [row["id"] for row in rows] == sorted((row["id"] for row in rows), reverse=True)
    # Of those that came in one millisecond any may stand first.
    told = {row["outcome"]: (row["status"], row["code"], row["run_id"], row["replayable"]) for row in rows}
    assert told == {
        "inactive": (409, "workflow_inactive", None, True),
        "invalid": (400, "malformed_json", None, False),
        "unsigned": (401, "signature_missing", None, True),
        "repeated": (202, None, run_id, True),
        "accepted": (202, None, run_id, True),
    }
    requests = {row["outcome"]: row["request"] for row in rows}
    assert requests["unsigned"]["webhook_payload"] == {"n": 1}
    assert requests["unsigned"]["headers"]["authorization"] == "[redacted]"
    assert requests["invalid"]["webhook_payload"] == "ew=="
    assert all(row["id"].startswith("fl_dlv_") and row["received_at"].endswith("Z") for row in rows)
    one = await api.call("GET", f"/workflows/deliveries/{rows[-1]['id']}")
    assert one.json == rows[-1]
    assert [row["outcome"] for row in await listed(api, made, outcome="unsigned")] == ["unsigned"]
    assert [row["outcome"] for row in await listed(api, made, outcome="accepted")] == ["accepted"]


async def test_the_secret_of_signatures_is_kept_in_no_request_that_made_no_run(api: ApiClient) -> None:
    """Sent along by mistake, in the query, a header and the body, escaped and coded; the rest is as it was sent.

    What an accepted request says is its run's `trigger_payload`, which is the caller's own.
    """
    await keep_secret(api, "the-item", SECRET)
    made, path = await hook(api, signature={"scheme": "github", "secret": "the-item"}, handshake="microsoft_graph")
    escaped = json.dumps(SECRET).replace("G", "\\u0047")
    coded = base64.b64encode(SECRET.encode()).decode()
    body = f'{{"a": {escaped}, "b": ["{coded}", 1.50], "{SECRET}": 1}}'.encode()
    path += f"?q={quote(SECRET)}"
    good = {"X-Hub-Signature-256": github(body), "X-GitHub-Delivery": "d-1", "X-Note": SECRET}
    answers = [
        await send(api, path, body, **good),
        await send(api, path, body, **good),
        await send(api, path, body, **{**good, "X-Hub-Signature-256": github(b"{}")}),
        await send(api, path, b"{" + body, **{**good, "X-Hub-Signature-256": github(b"{" + body)}),
        await send(api, f"{path}&validationToken=t", b"", **good),
        await send(api, path, b'{"plain": 1.50}', **{"X-Hub-Signature-256": "sha256=0"}),
    ]
    assert [answer.status for answer in answers] == [202, 202, 401, 400, 200, 401]
    rows = await listed(api, made)
    kept = [row["request"] for row in rows if row["outcome"] in {"repeated", "unsigned"}]
    assert sorted(json.dumps(request["webhook_payload"]) for request in kept) == sorted(
        [json.dumps({"a": "[redacted]", "b": ["[redacted]", 1.5], "[redacted]": 1})] * 2 + [json.dumps({"plain": 1.5})]
    )
    assert {request["headers"].get("x-note") for request in kept} == {"[redacted]", None}
    assert all(request["query"] == {"q": "[redacted]"} for request in kept)
    requests = {row["outcome"]: json.dumps(row["request"]) for row in rows}
    assert SECRET in requests.pop("accepted")
    assert set(requests) == {"repeated", "unsigned", "invalid", "handshake"}
    assert not [why for why, request in requests.items() if SECRET in request or coded in request]
    assert "[redacted]" in requests["handshake"]


async def test_pages_hold_each_delivery_once(api: ApiClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs and refused requests mixed, however small the windows that are looked at."""
    monkeypatch.setattr(deliveries, "_WINDOW", 3)
    made, path = await hook(api)
    for number in range(12):
        await send(api, path, b"{" if number % 3 == 0 else b"{}")
        await api.api.services.deliveries.close()
    whole = {row["id"] for row in await listed(api, made, limit="200")}
    seen: list[dict[str, Any]] = []
    query = {"limit": "2"}
    while True:
        answer = await api.call("GET", f"/workflows/{made['id']}/deliveries", params=query)
        seen += answer.json
        link = answer.headers.get("Link")
        if link is None:
            break
        query["cursor"] = link.partition("cursor=")[2].partition(">")[0].partition("&")[0]
    ids = [row["id"] for row in seen]
    assert len(ids) == 12
    assert ids == sorted(ids, reverse=True)
    assert whole <= set(ids)
    assert [row["outcome"] for row in seen].count("invalid") == 4


async def test_one_is_replayed_in_a_new_run(api: ApiClient) -> None:
    """The same request, marked; without dedupe or signature; it is no delivery itself."""
    await keep_secret(api, "the-item", SECRET)
    made, path = await hook(api, signature={"scheme": "github", "secret": "the-item"})
    body = b'{"n": 1.50, "nul": "\\u0000"}'
    first = await send(api, path, body, **{"X-Hub-Signature-256": github(body), "X-GitHub-Delivery": "d-1"})
    await send(api, path, {"n": 2})
    for row in await listed(api, made):
        answer = await api.call("POST", f"/workflows/deliveries/{row['id']}/replay")
        assert answer.status == 202, answer.body
        run = answer.json["new_run"]
        payload = run["trigger_payload"]
        assert (run["status"], run["trigger_type"], payload.pop("replay_of")) == ("pending", "webhook", row["id"])
        assert payload == row["request"]
        assert run["rerun_of"] == (first.json["run_id"] if row["outcome"] == "accepted" else None)
    assert len(await listed(api, made)) == 2


async def test_a_replay_that_cannot_be_is_told(api: ApiClient) -> None:
    """409 for an inactive workflow, another trigger or a request that was not kept; 404 for others' and old ones."""
    made, path = await hook(api)
    await send(api, path, b"{")
    await send(api, path, b"{}")
    accepted, broken = sorted(await listed(api, made), key=lambda row: str(row["outcome"]))

    async def replay(row: dict[str, Any], **options: Any) -> tuple[int, str]:
        answer = await api.call("POST", f"/workflows/deliveries/{row['id']}/replay", **options)
        return answer.status, answer.json["code"]

    assert await replay(broken) == (409, "delivery_not_whole")
    assert await replay(accepted, token=token(workspace="other")) == (404, "not_found")
    assert (await api.call("GET", f"/workflows/deliveries/{made['id']}")).status == 404
    await api.call("PUT", f"/workflows/{made['id']}", {"is_active": False})
    assert await replay(accepted) == (409, "workflow_inactive")
    nodes = [{**made["nodes"][0], "data": {"componentId": "manual_trigger"}}, made["nodes"][1]]
    await api.call("PUT", f"/workflows/{made['id']}", {"nodes": nodes, "is_active": True})
    assert await replay(accepted) == (409, "no_webhook")
    async with api.api.services.pool.acquire() as connection:
        await connection.execute("UPDATE deliveries SET id = '01900000-0000-7000-8000-000000000000'")
    assert await listed(api, made) != []
    assert (await api.call("GET", "/workflows/deliveries/fl_dlv_01j000000000e8000000000000")).status == 404


async def test_many_are_replayed_in_their_order(api: ApiClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was missed while the workflow was inactive, oldest first, each once, and nothing that came otherwise."""
    monkeypatch.setattr(deliveries, "_WINDOW", 3)
    made, path = await hook(api, dedupe="{{ body.n }}")
    await send(api, path, {"n": -1})
    await send(api, path, b"{")
    await api.call("PUT", f"/workflows/{made['id']}", {"is_active": False})
    for number in range(7):
        assert (await send(api, path, {"n": number})).status == 409
        await api.api.services.deliveries.close()  # which takes more than a millisecond, the grain of the order
    asked = {"filter": {"from": "2020-01-01"}, "per_second": 2}
    route = f"/workflows/{made['id']}/deliveries/replay"
    assert (await api.call("POST", route, asked)).json["code"] == "workflow_inactive"
    await api.call("PUT", f"/workflows/{made['id']}", {"is_active": True})
    answer = await api.call("POST", route, asked)
    assert answer.status == 202
    assert answer.headers["Location"].endswith(f"/workflows/deliveries/replays/{answer.json['id']}")
    await replay_all(api)
    done = await api.call("GET", f"/workflows/deliveries/replays/{answer.json['id']}")
    assert {name: done.json[name] for name in ("status", "matched", "done", "failed", "filter", "per_second")} == {
        "status": "completed",
        "matched": 7,
        "done": 7,
        "failed": 0,
        **asked,
    }
    runs = (await api.call("GET", f"/workflows/{made['id']}/executions")).json["data"]
    payloads = [run["trigger_payload"] for run in reversed(runs)]
    numbers = [payload["webhook_payload"]["n"] for payload in payloads]
    assert numbers[0] == -1
    batches = [set(numbers[place : place + 2]) for place in range(1, 8, 2)]
    assert batches == [{0, 1}, {2, 3}, {4, 5}, {6}]
    assert ["replay_of" in payload for payload in payloads] == [False] + [True] * 7
    assert (
        await api.call("GET", f"/workflows/deliveries/replays/{answer.json['id']}", token=token("other"))
    ).status == 404


async def test_what_nobody_verified_is_replayed_only_by_its_name(api: ApiClient) -> None:
    """A forged request that came while the secret was away runs with none of a replay of what was missed."""
    await keep_secret(api, "the-item", SECRET)
    made, path = await hook(api, signature={"scheme": "github", "secret": "the-item"})
    async with api.api.services.pool.acquire() as connection:
        await connection.execute("UPDATE vault_items SET expires_at = now()")
    assert (await send(api, path, {"forged": True})).status == 503
    assert [(row["outcome"], row["code"]) for row in await listed(api, made)] == [
        ("unverified", "webhook_secret_missing")
    ]
    route = f"/workflows/{made['id']}/deliveries/replay"
    for asked, matched in (
        ({"from": "2020-01-01"}, 0),
        ({"outcome": "unavailable"}, 0),
        ({"outcome": "unverified"}, 1),
    ):
        answer = await api.call("POST", route, {"filter": asked})
        assert answer.status == 202, answer.body
        await replay_all(api)
        done = await api.call("GET", f"/workflows/deliveries/replays/{answer.json['id']}")
        assert (done.json["matched"], done.json["done"]) == (matched, matched)


async def test_a_replay_keeps_its_pace(api: ApiClient) -> None:
    """A batch is what comes in a second, and the next is due a second later, whoever works on it."""
    made, path = await hook(api)
    for _ in range(5):
        await send(api, path)
    asked = {"filter": {"outcome": ["accepted"]}, "per_second": 2}
    answer = await api.call("POST", f"/workflows/{made['id']}/deliveries/replay", asked)
    services = api.api.services
    duties = [Replays(services.pool, services.ingest, RunLimits(100_000, 100_000)) for _ in range(2)]  # type: ignore[arg-type]
    assert sorted(await asyncio.gather(*(duty.work() for duty in duties))) == [False, True]
    async with services.pool.acquire() as connection:
        pause = await connection.fetchval("SELECT extract(epoch FROM next_at - now())::float8 FROM delivery_replays")
    assert 0 < pause <= 1
    assert (await api.call("GET", f"/workflows/deliveries/replays/{answer.json['id']}")).json["done"] == 2


async def test_a_replay_that_cannot_be_read_is_told(api: ApiClient) -> None:
    """Every fault at once; an empty filter is none."""
    made, _ = await hook(api)
    for body, paths in (
        ({}, ["filter"]),
        ({"filter": {}}, ["filter"]),
        ({"filter": {"outcome": "lost", "from": "yesterday"}, "per_second": 0}, ["per_second", "filter.outcome"]),
        ({"filter": {"outcome": []}}, ["filter.outcome"]),
        ({"filter": {"to": "yesterday", "x": 1}}, ["filter.x"]),
        ({"filter": {"to": "yesterday"}}, ["filter.to"]),
    ):
        answer = await api.call("POST", f"/workflows/{made['id']}/deliveries/replay", body)
        assert answer.status == 422
        assert [fault["path"] for fault in answer.json["errors"]] == paths


async def test_strangers_cannot_fill_the_disk(api: ApiClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """Past its bytes a webhook's requests are kept without body, past its rows not at all; others keep theirs."""
    monkeypatch.setattr(webhook_deliveries, "_BYTES", 40_000)
    monkeypatch.setattr(webhook_deliveries, "_ROWS", 6)
    made, path = await hook(api)
    other, elsewhere = await hook(api)
    for _ in range(8):
        assert (await send(api, path, b"{" + b"x" * 8_000)).status == 400
    await send(api, elsewhere, b"{")
    rows = await listed(api, made)
    assert len(rows) == 6
    assert sum(row["request"] is not None for row in rows) == 2
    assert len(await listed(api, other)) == 1


async def test_what_waits_for_the_database_is_bounded_by_its_bytes(
    api: ApiClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Requests that no room is left for are counted as lost, small ones still find some, and room comes back."""
    monkeypatch.setattr(webhook_deliveries, "_BYTES_WAITING", 40_000)
    gate, add = asyncio.Event(), deliveries.add

    async def held(connection: Any, rows: Any) -> None:
        await gate.wait()
        await add(connection, rows)

    monkeypatch.setattr(webhook_deliveries.deliveries, "add", held)
    made, path = await hook(api)
    large, lost = b"{" + b"x" * 8_000, DELIVERIES_DROPPED._value.get()
    for body in (large, large, large, b"{"):
        assert (await send(api, path, body)).status == 400
    assert DELIVERIES_DROPPED._value.get() == lost + 1
    gate.set()
    assert len(await listed(api, made)) == 3
    assert (await send(api, path, large)).status == 400
    assert len(await listed(api, made)) == 4
    assert DELIVERIES_DROPPED._value.get() == lost + 1


async def test_old_deliveries_go(api: ApiClient) -> None:
    """They are not shown after their days, and removed in batches; those of a deleted workflow with it."""
    made, path = await hook(api)
    for _ in range(5):
        await send(api, path, b"{")
    assert len(await listed(api, made)) == 5
    async with api.api.services.pool.acquire() as connection:
        await connection.execute(
            "UPDATE deliveries SET id = uuid7_floor(now() - interval '8 days' + row * interval '1 second')"
            " FROM (SELECT id AS old, row_number() OVER () AS row FROM deliveries LIMIT 3) AS x WHERE id = old"
        )
        assert len(await listed(api, made)) == 2
        assert [await deliveries.remove_old(connection, 7, 2) for _ in range(3)] == [2, 1, 0]
        workflow_id = await connection.fetchval("SELECT id FROM workflows")
        assert [await deliveries.remove_of(connection, workflow_id, 2) for _ in range(2)] == [2, 0]
