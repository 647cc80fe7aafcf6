"""When a workflow runs next: previews, next slots, and what saving does to them (the table of docs/schedules.md)."""

import asyncio
import threading
from datetime import datetime, timedelta
from typing import Any

import asyncpg
import pytest

from shared.ids import Prefix, decode
from shared.schedule import due_slots, read_policy
from tests.api_client import ApiClient, node, token

HOURLY = {"schedule_type": "interval", "schedule_value": "1 hour"}
RARE = {"schedule_type": "cron", "schedule_value": "0 0 29 2 */7", "timezone": "America/New_York"}


def moment(text: str) -> datetime:
    """A time of an answer."""
    return datetime.fromisoformat(text)


async def preview(api: ApiClient, count: int | None = None, **fields: Any) -> Any:
    """The answer of the preview."""
    query = "" if count is None else f"?next={count}"
    answer = await api.call("POST", f"/workflows/schedule/preview{query}", fields)
    assert answer.status == 200, answer.body
    return answer.json


async def test_a_value_is_measured_before_it_is_read(api: ApiClient) -> None:
    """100,000 terms, or a name of a zone as long, are refused by their length, and no message repeats them."""
    line = "0," * 100_000 + "0 0 29 2 1"
    carried = node("n1", "scheduled_trigger", schedule_type="cron", schedule_value=line)
    graph = {"name": "One", "nodes": [carried, node("n2", "terminate")]}
    graph["edges"] = [{"id": "e", "source": "n1", "target": "n2"}]
    asked: list[tuple[str, dict[str, Any], str]] = [
        ("/workflows/schedule/preview", {"schedule_type": "cron", "schedule_value": line}, "schedule_value"),
        ("/workflows/schedule/preview", {"schedule_type": "daily", "timezone": line}, "timezone"),
        ("/workflows", {**graph, "schedule_type": "daily", "schedule_value": "09:00"}, "nodes[0].data.schedule_value"),
        ("/workflows", {**graph, "schedule_type": "cron", "schedule_value": line}, "schedule_value"),
    ]
    for path, body, field in asked:
        answer = await api.call("POST", path, body)
        assert answer.status == 422, (path, field)
        assert any(fault["path"].endswith(field) for fault in answer.json["errors"]), answer.json["errors"]
        assert len(answer.body) < 10_000


async def slots_of(api: ApiClient, made: dict[str, Any], count: int = 3) -> Any:
    """The answer about a workflow's next slots."""
    answer = await api.call("GET", f"/workflows/{made['id']}/schedule?next={count}")
    assert answer.status == 200, answer.body
    return answer.json


async def change(api: ApiClient, made: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """Change a workflow, and give it as it is then."""
    answer = await api.call("PUT", f"/workflows/{made['id']}", fields)
    assert answer.status == 200, answer.body
    changed: dict[str, Any] = answer.json
    return changed


async def put_off(database: asyncpg.Connection, made: dict[str, Any], seconds: float) -> datetime:
    """Let a workflow's slot have come so many seconds ago, and nobody have fired it."""
    due: datetime = await database.fetchval(
        "UPDATE workflows SET next_run_at = date_trunc('second', now()) - $2 * interval '1 second'"
        " WHERE id = $1 RETURNING next_run_at",
        decode(Prefix.WORKFLOW, made["id"]),
        seconds,
    )
    return due


async def test_a_preview_shows_slots_in_both_clocks(api: ApiClient) -> None:
    """Twenty slots by default, as many as are asked for else, with the zone's own clock and its changes."""
    daily = {"schedule_type": "daily", "schedule_value": "02:30", "timezone": "Europe/Berlin"}
    assert len((await preview(api, **daily))["slots"]) == 20
    shown = await preview(api, 1000, **daily)
    assert shown.keys() == {"slots"}
    assert len(shown["slots"]) == 1000
    for slot in shown["slots"]:
        assert slot.keys() == {"utc", "local", "dst"}
        assert moment(slot["utc"]) == moment(slot["local"])
        assert slot["local"][11:16] == ("03:00" if slot["dst"] == "gap" else "02:30")
    assert {slot["dst"] for slot in shown["slots"]} == {None, "gap", "fold"}
    skipping = await preview(api, 1000, **daily, settings={"dst_gap": "skip", "dst_fold": "both", "priority": "low"})
    assert {slot["dst"] for slot in skipping["slots"]} == {None, "fold"}
    assert (await preview(api))["slots"] == []


FAULTY: list[tuple[str, dict[str, Any], int, list[str]]] = [
    ("?next=0", {}, 400, ["next"]),
    ("?next=1001", {}, 400, ["next"]),
    ("?next=x", {}, 400, ["next"]),
    ("?nxt=5", {}, 400, ["nxt"]),
    ("", {"schedule_type": "cron", "schedule_value": "61 * * * *"}, 422, ["schedule_value"]),
    (
        "",
        {"timezone": "Mars/Olympus", "settings": {"jitter": -1, "jiter": 1}},
        422,
        ["settings.jiter", "settings.jitter", "timezone"],
    ),
    ("", {"settings": {"missed_runs": "some"}}, 422, ["settings.missed_runs"]),
    ("", {"settings": {"jitter": 86_401}}, 422, ["settings.jitter"]),
    ("", {"settings": {"jitter": "5"}}, 422, ["settings.jitter"]),
    ("", {"settings": []}, 422, ["settings"]),
    ("", {"nodes": []}, 422, ["nodes"]),
]


async def test_faulty_previews_are_refused(api: ApiClient) -> None:
    """Every fault is told under the name of its field."""
    for query, fields, status, paths in FAULTY:
        answer = await api.call("POST", f"/workflows/schedule/preview{query}", fields)
        assert answer.status == status
        assert sorted(error["path"] for error in answer.json["errors"]) == paths


async def test_a_day_that_hardly_ever_comes_holds_nothing_up(api: ApiClient) -> None:
    """A thousand slots that lie decades apart are looked for in bounded time, while other requests are answered."""
    rare = asyncio.create_task(preview(api, 1000, **RARE))
    answered = 0
    while not rare.done():
        assert (await api.call("GET", "/workflows?limit=1")).status == 200
        answered += 1
    shown = (await rare)["slots"]
    assert answered > 1
    assert 10 < len(shown) <= 1000
    assert all(slot["local"][5:16] == "02-29T00:00" for slot in shown)


async def test_next_slots_begin_with_next_run_at(api: ApiClient) -> None:
    """A workflow's slots are those it will run at; it has none while it is paused, or manual."""
    made = await api.create(**HOURLY)
    shown = (await slots_of(api, made))["slots"]
    assert [moment(slot["utc"]) for slot in shown] == [
        moment(made["next_run_at"]) + timedelta(hours=hours) for hours in range(3)
    ]
    assert shown[0]["utc"] == made["next_run_at"]
    assert (await slots_of(api, await change(api, made, is_active=False)))["slots"] == []
    assert (await slots_of(api, await api.create()))["slots"] == []


async def test_slots_are_for_those_who_may_read(api: ApiClient) -> None:
    """Another workspace's workflow is 404, and so is no workflow; the routes want `workflows:read`."""
    made = await api.create(**HOURLY)
    path = f"/workflows/{made['id']}/schedule"
    assert (await api.call("GET", path, token=token("other"))).status == 404
    assert (await api.call("GET", "/workflows/fl_nothing/schedule")).status == 404
    blind = token(scope="workflows:execute")
    assert (await api.call("GET", path, token=blind)).status == 403
    assert (await api.call("POST", "/workflows/schedule/preview", {}, token=blind)).status == 403


async def test_jitter_is_shown(api: ApiClient) -> None:
    """A workflow's times contain its own delay and say so; a preview has no workflow to tell a delay by."""
    settings = {"jitter": 600}
    made = await api.create(**HOURLY, settings=settings)
    delay = read_policy('{"jitter":600}').delay(decode(Prefix.WORKFLOW, made["id"]))
    shown = await slots_of(api, made)
    assert shown["jitter"] == {"up_to": 600, "seconds": delay.total_seconds()}
    assert shown["slots"][0]["utc"] == made["next_run_at"]
    plain = await change(api, made, settings={})
    assert moment(made["next_run_at"]) - moment(plain["next_run_at"]) == delay
    assert (await preview(api, **HOURLY, settings=settings))["jitter"] == {"up_to": 600, "seconds": None}
    at_nine = await preview(api, 2, schedule_type="daily", schedule_value="09:00", settings=settings)
    assert [slot["utc"][11:19] for slot in at_nine["slots"]] == ["09:00:00"] * 2


async def test_edits_of_something_else_keep_the_slot(api: ApiClient, database: asyncpg.Connection) -> None:
    """What has nothing to do with the timing moves no slot, one that has come and was not fired yet neither."""
    made = await api.create(**HOURLY)
    for seconds in (-600.0, 7200.0):
        due = await put_off(database, made, seconds)
        for fields in (
            {"name": "Other"},
            {"nodes": [node("n1", "manual_trigger"), node("n2", "text_transform", template="y")]},
            {"settings": {"priority": "high", "missed_runs": "none"}},
            {**HOURLY, "timezone": "UTC", "is_active": True},
        ):
            assert moment((await change(api, made, **fields))["next_run_at"]) == due


async def test_edits_of_the_timing_begin_anew(api: ApiClient, database: asyncpg.Connection) -> None:
    """Slots of the old timing that nobody fired are over, whatever `missed_runs`; the new ones count from now."""
    made = await api.create(**HOURLY, settings={"missed_runs": "all"})
    for fields, hours in (
        ({"settings": {"missed_runs": "all", "dst_gap": "skip"}}, 1),
        ({"timezone": "Asia/Tokyo"}, 1),
        ({"schedule_value": "2 hours"}, 2),
    ):
        await put_off(database, made, 7200)
        before = await database.fetchval("SELECT now()")
        following = moment((await change(api, made, **fields))["next_run_at"])
        assert timedelta(hours=hours) - timedelta(seconds=1) <= following - before < timedelta(hours=hours, seconds=30)


async def test_a_pause_gives_up_its_slots(api: ApiClient, database: asyncpg.Connection) -> None:
    """A paused workflow waits for nothing; enabled again it counts from then, whatever `missed_runs`."""
    made = await api.create(**HOURLY, settings={"missed_runs": "all"})
    await put_off(database, made, 7200)
    assert (await change(api, made, is_active=False))["next_run_at"] is None
    before = await database.fetchval("SELECT now()")
    following = moment((await change(api, made, is_active=True))["next_run_at"])
    assert timedelta(minutes=59, seconds=59) <= following - before < timedelta(hours=1, seconds=30)
    manual = await change(api, made, schedule_type="manual")
    assert (manual["next_run_at"], manual["schedule_value"]) == (None, "1 hour")


async def test_a_change_of_jitter_moves_the_slot_that_is_waited_for(
    api: ApiClient, database: asyncpg.Connection
) -> None:
    """No slot is lost or run twice for it: the one that is waited for is delayed by the new delay."""
    made = await api.create(**HOURLY, settings={"jitter": 3600})
    workflow_id = decode(Prefix.WORKFLOW, made["id"])
    slot = moment(made["next_run_at"]) - read_policy('{"jitter":3600}').delay(workflow_id)
    for seconds in (7, 0, 60):
        moved = await change(api, made, settings={"jitter": seconds})
        delay = read_policy(f'{{"jitter":{seconds}}}').delay(workflow_id)
        assert moment(moved["next_run_at"]) == slot + delay
    assert await database.fetchval("SELECT next_run_at FROM workflows") == slot + delay


async def test_starting_by_hand_changes_no_slot(api: ApiClient) -> None:
    """A run that somebody starts is none of the schedule's."""
    made = await api.create(**HOURLY)
    assert (await api.call("POST", f"/workflows/{made['id']}/execute", {})).status == 202
    assert (await api.call("GET", f"/workflows/{made['id']}")).json["next_run_at"] == made["next_run_at"]


async def test_next_slots_in_an_outage_begin_with_what_is_made_up_for(
    api: ApiClient, database: asyncpg.Connection
) -> None:
    """While slots wait for a scheduler, those come first that it will run."""
    made = await api.create(**HOURLY)
    for missed_runs, due in (("one", [2]), ("all", [0, 1, 2]), ("none", [])):
        await change(api, made, settings={"missed_runs": missed_runs})
        oldest = await put_off(database, made, 2.5 * 3600)
        shown = [moment(slot["utc"]) for slot in (await slots_of(api, made, 4))["slots"]]
        assert shown == [oldest + timedelta(hours=number) for number in [*due, 3, 4, 5, 6]][:4]


async def test_slots_are_worked_out_off_the_loop(
    api: ApiClient, database: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that have come may be many, and take a while; other requests do not wait for them."""
    threads: list[threading.Thread] = []

    def noted(*arguments: Any) -> Any:
        threads.append(threading.current_thread())
        return due_slots(*arguments)

    monkeypatch.setattr("api.schedule_slots.due_slots", noted)
    made = await api.create(**HOURLY, settings={"missed_runs": "all"})
    await put_off(database, made, 2.5 * 3600)
    assert len((await slots_of(api, made))["slots"]) == 3
    assert threads
    assert threading.main_thread() not in threads


async def test_the_schedule_of_the_trigger(api: ApiClient) -> None:
    """One in the trigger's data counts as the workflow's; `manual` beside it is as if nothing were given."""
    data = {"schedule_type": "daily", "schedule_value": "09:00"}
    nodes = [node("n1", "scheduled_trigger", **data), node("n2", "text_transform", template="x")]
    for own in ({}, {"schedule_type": "manual"}, {"schedule_type": None}, data):
        made = await api.create(nodes=nodes, **own)
        assert {name: made[name] for name in data} == data
        assert (await slots_of(api, made))["slots"][0]["utc"] == made["next_run_at"]
    whole = {name: made[name] for name in made if name != "webhook_url"}
    assert (await change(api, made, **whole))["next_run_at"] == made["next_run_at"]
    for fields in ({"schedule_value": "10:00"}, {"schedule_type": "weekly", "schedule_value": "mon 09:00"}):
        answer = await api.call("PUT", f"/workflows/{made['id']}", fields)
        assert (answer.status, answer.json["errors"][0]["code"]) == (422, "schedule_conflict")
    moved = await change(
        api, made, nodes=[nodes[0] | {"data": {**nodes[0]["data"], "schedule_value": "10:00"}}, nodes[1]]
    )
    assert moved["schedule_value"] == "10:00"
    manual = [node("n1", "scheduled_trigger", schedule_type="manual"), nodes[1]]
    assert (await api.create(nodes=manual, **HOURLY))["schedule_value"] == "1 hour"


async def test_overlap_knows_the_runs_from_before(api: ApiClient, database: asyncpg.Connection) -> None:
    """Saved as anything but `allow`, it counts the open runs of slots from then on, and no others."""
    made = await api.create(**HOURLY)
    workflow_id = decode(Prefix.WORKFLOW, made["id"])
    for _ in range(2):
        assert (await api.call("POST", f"/workflows/{made['id']}/execute", {})).status == 202
    run_id = await database.fetchval(
        "UPDATE runs SET trigger_type = 'scheduled', trigger_payload = $1 WHERE id = (SELECT id FROM runs LIMIT 1)"
        " RETURNING id",
        '{"scheduled_at":"2026-01-01T00:00:00.000000Z"}',
    )
    limited = "SELECT limited FROM workflows WHERE id = $1"
    for overlap, is_limited in (("queue", True), ("skip", False), ("cancel_running", True), ("allow", False)):
        changed = await change(api, made, settings={"overlap": overlap})
        assert changed["settings"] == {"overlap": overlap}
        assert await database.fetchval(limited, workflow_id) == is_limited
        kept = await database.fetch("SELECT workflow_id, run_id FROM scheduled_runs")
        assert [tuple(row) for row in kept] == [(workflow_id, run_id)]
    assert (await api.call("PUT", f"/workflows/{made['id']}", {"settings": {"overlap": "maybe"}})).status == 422


async def test_the_zone_of_the_trigger(api: ApiClient) -> None:
    """The trigger's data may name the zone, too; another one on the workflow is 422, the default counts as none."""
    data = {"schedule_type": "daily", "schedule_value": "09:00", "timezone": "Asia/Tokyo"}
    nodes = [node("n1", "scheduled_trigger", **data), node("n2", "text_transform", template="x")]
    made = await api.create(nodes=nodes)
    assert {name: made[name] for name in data} == data
    assert made["next_run_at"][11:16] == "00:00"
    assert (await change(api, made, **made))["next_run_at"] == made["next_run_at"]
    assert (await change(api, made, name="Other"))["timezone"] == "Asia/Tokyo"
    answer = await api.call("PUT", f"/workflows/{made['id']}", {"timezone": "Asia/Kolkata"})
    assert [(error["path"], error["code"]) for error in answer.json["errors"]] == [("timezone", "schedule_conflict")]
    plain = [node("n1", "scheduled_trigger", schedule_type="daily", schedule_value="09:00"), nodes[1]]
    assert (await change(api, made, nodes=plain))["timezone"] == "UTC"
    assert (await change(api, made, timezone="Asia/Kolkata"))["next_run_at"][11:16] == "03:30"
    for wrong, path in (({**data, "timezone": "Mars/Olympus"}, "timezone"), ({"timezone": "UTC"}, "schedule_type")):
        answer = await api.call(
            "PUT", f"/workflows/{made['id']}", {"nodes": [node("n1", "scheduled_trigger", **wrong), nodes[1]]}
        )
        assert answer.status == 422
        assert answer.json["errors"][0]["path"].endswith(path)
