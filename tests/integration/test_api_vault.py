"""``/workflows/vault`` and API keys, against a real database."""

import asyncio
import re
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import asyncpg
import pytest

from api.access import PUBLIC
from api.app import ROUTES
from shared.ids import Prefix, decode
from shared.store import vault
from tests.api_client import Answer, ApiClient, node, takes_hold, token, workflow
from tests.halting import Halt, meet

SECRET = "correct horse battery"
MISSING = "vlt_01h455vb4pex5vsknk084sn02q"


async def _make(api: ApiClient, name: str = "stripe", **fields: Any) -> dict[str, Any]:
    body = {"name": name, "secret": SECRET, **fields}
    answer = await api.call("POST", "/workflows/vault", {key: value for key, value in body.items() if value})
    assert answer.status == 201, answer.body
    made: dict[str, Any] = answer.json
    return made


def _in(seconds: float) -> str:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()


async def _execute(api: ApiClient, made: dict[str, Any], headers: dict[str, str]) -> Answer:
    return await api.call("POST", f"/workflows/{made['id']}/execute", {}, token="", headers=headers)


async def test_an_item_is_made_read_listed_changed_and_deleted(api: ApiClient) -> None:
    """Objects say everything of an item but its value, which only the key ring reads from the row."""
    answer = await api.call("POST", "/workflows/vault", {"name": "stripe", "secret": SECRET})
    made = answer.json
    assert answer.status == 201
    assert answer.headers["Location"].endswith(f"/workflows/vault/{made['id']}")
    assert list(made) == ["id", "name", "created_at", "expires_at", "updated_at", "used_by"]
    assert (made["name"], made["expires_at"], made["used_by"]) == ("stripe", None, [])
    path = f"/workflows/vault/{made['id']}"
    assert (await api.call("GET", path)).json == made
    assert (await api.call("GET", "/workflows/vault")).json == [made]

    changed = await api.call("PUT", path, {**made, "secret": "another secret", "expires_at": _in(60)})
    assert changed.status == 200
    assert changed.json["updated_at"] > made["updated_at"]
    assert changed.json["expires_at"].endswith("Z")
    assert await _secret(api, made) == "another secret"
    same = await api.call("PUT", path, {"name": "stripe live"})
    assert (same.json["name"], same.json["expires_at"]) == ("stripe live", changed.json["expires_at"])
    assert await _secret(api, made) == "another secret"

    assert (await api.call("DELETE", path)).status == 204
    assert (await api.call("GET", path)).status == 404
    assert (await api.call("DELETE", path)).status == 404


async def _secret(api: ApiClient, made: dict[str, Any]) -> str:
    services = api.api.services
    item_id = decode(Prefix.VAULT, made["id"])
    async with services.pool.acquire() as connection:
        blob = await connection.fetchval("SELECT secret FROM vault_items WHERE id = $1", item_id)
    return services.keys.decrypt(blob, context=vault.secret_context(item_id)).decode()


async def test_an_item_that_breaks_rules(api: ApiClient) -> None:
    """Each fault is told with its path, and none of them repeats what was given as a secret."""
    cases: list[tuple[dict[str, Any], str, str]] = [
        ({"secret": SECRET}, "name", "parameter_missing"),
        ({"name": "abc"}, "secret", "parameter_missing"),
        ({"name": "ab", "secret": SECRET}, "name", "invalid_value"),
        ({"name": "x" * 51, "secret": SECRET}, "name", "invalid_value"),
        ({"name": "a\0b", "secret": SECRET}, "name", "invalid_value"),
        ({"name": "abc", "secret": "sev3n ch"[:7]}, "secret", "invalid_value"),
        ({"name": "abc", "secret": "é" * 32_769}, "secret", "invalid_value"),
        ({"name": "abc", "secret": 12_345_678}, "secret", "invalid_value"),
        ({"name": "abc", "secret": None}, "secret", "invalid_value"),
        ({"name": "abc", "secret": SECRET, "expires_at": "2020-01-01T00:00:00Z"}, "expires_at", "invalid_value"),
        ({"name": "abc", "secret": SECRET, "expires_at": "soon"}, "expires_at", "invalid_value"),
        ({"name": "abc", "secret": SECRET, "expires_at": "9999-12-31T23:59:59-14:00"}, "expires_at", "invalid_value"),
        ({"name": "abc", "secert": SECRET, "secret": SECRET}, "secert", "unknown_field"),
        ({"name": "api-key:", "secret": SECRET}, "name", "invalid_value"),
        ({"name": "api-key:ci", "secret": SECRET}, "secret", "invalid_value"),
    ]
    for body, path, code in cases:
        answer = await api.call("POST", "/workflows/vault", body)
        assert answer.status == 422
        assert (path, code) in [(fault["path"], fault["code"]) for fault in answer.json["errors"]], body
        assert not isinstance(body.get("secret"), str) or str(body["secret"]) not in answer.body.decode()
    # Lone surrogates are no secret: UTF-8 cannot write them.
    raw = b'{"name": "abc", "secret": "12345678\\ud800"}'
    answer = await api.call("POST", "/workflows/vault", data=raw, headers={"Content-Type": "application/json"})
    assert (answer.status, answer.json["errors"][0]["path"]) == (422, "secret")
    # And the largest that is one is kept to the byte.
    assert await _secret(api, await _make(api, secret="x" * 65_536)) == "x" * 65_536


async def test_names_are_unique_in_a_workspace(api: ApiClient) -> None:
    """A second item of a name is 409, by POST and by PUT; another workspace has names of its own."""
    await _make(api)
    other = await _make(api, "github")
    again = await api.call("POST", "/workflows/vault", {"name": "stripe", "secret": SECRET})
    assert (again.status, again.json["code"]) == (409, "vault_name_taken")
    renamed = await api.call("PUT", f"/workflows/vault/{other['id']}", {"name": "stripe"})
    assert (renamed.status, renamed.json["code"]) == (409, "vault_name_taken")
    body = {"name": "stripe", "secret": SECRET}
    foreign = await api.call("POST", "/workflows/vault", body, token=token("other", "vault:write vault:read"))
    assert foreign.status == 201


async def test_another_workspaces_item_is_404(api: ApiClient) -> None:
    """As is an id that is none; nothing tells them apart."""
    made = await _make(api)
    theirs = token("other", "vault:read vault:write")
    for item, bearer in ((made["id"], theirs), (MISSING, api.token), ("vlt_1", api.token), (MISSING[4:], api.token)):
        for method in ("GET", "PUT", "DELETE"):
            answer = await api.call(method, f"/workflows/vault/{item}", {} if method == "PUT" else None, token=bearer)
            assert (answer.status, answer.json["type"]) == (404, "not_found_error")
    assert (await api.call("GET", "/workflows/vault", token=theirs)).json == []


async def test_scopes_of_the_vault(api: ApiClient) -> None:
    """Reading needs vault:read, writing vault:write, and the scopes of workflows give neither."""
    made = await _make(api)
    path = f"/workflows/vault/{made['id']}"
    wanted = [
        ("GET", "/workflows/vault", None, "vault:read"),
        ("GET", path, None, "vault:read"),
        ("POST", "/workflows/vault", {"name": "new one", "secret": SECRET}, "vault:write"),
        ("PUT", path, {}, "vault:write"),
        ("DELETE", path, None, "vault:write"),
    ]
    for method, where, body, scope in wanted:
        others = "workflows:read workflows:write workflows:execute " + (
            "vault:write" if scope == "vault:read" else "vault:read"
        )
        assert (await api.call(method, where, body, token=token(scope=others))).status == 403
        assert (await api.call(method, where, body, token=token(scope=scope))).status < 300


async def test_pages_of_the_list(api: ApiClient) -> None:
    """All without limit and cursor; else pages of at most so many, with a link to the next."""
    names = [(await _make(api, f"item {number}"))["name"] for number in range(5)]
    assert [item["name"] for item in (await api.call("GET", "/workflows/vault")).json] == names[::-1]
    seen, path = [], "/workflows/vault?limit=2"
    while path:
        page = await api.call("GET", path)
        seen += [item["name"] for item in page.json]
        link = page.headers.get("Link", "")
        path = link.partition(">")[0].removeprefix("<https://edgewise.test")
    assert seen == names[::-1]
    assert (await api.call("GET", "/workflows/vault?limit=201")).status == 400
    assert (await api.call("GET", "/workflows/vault?cursor=x")).status == 400


async def test_an_expired_item_can_still_be_changed(api: ApiClient) -> None:
    """GET, change, PUT works when the expiry that was read is past."""
    made = await _make(api)
    async with api.api.services.pool.acquire() as connection:
        await connection.execute("UPDATE vault_items SET expires_at = '2020-01-01T00:00:00.123456Z'")
    read = (await api.call("GET", f"/workflows/vault/{made['id']}")).json
    assert (await api.call("PUT", f"/workflows/vault/{made['id']}", {**read, "name": "old one"})).status == 200


async def test_a_repeat_with_the_same_key_gives_the_first_answer(api: ApiClient) -> None:
    """An API key's answer is kept encrypted; of a body with a secret no plain hash is kept."""
    headers = {"Idempotency-Key": "k"}
    first = await api.call("POST", "/workflows/vault", {"name": "api-key:ci"}, headers=headers)
    again = await api.call("POST", "/workflows/vault", {"name": "api-key:ci"}, headers=headers)
    assert (again.status, again.body, again.headers["Idempotency-Replayed"]) == (201, first.body, "true")
    other = await api.call("POST", "/workflows/vault", {"name": "api-key:cd"}, headers=headers)
    assert (other.status, other.json["code"]) == (409, "idempotency_key_reused")
    async with api.api.services.pool.acquire() as connection:
        kept = await connection.fetchrow("SELECT body, secret FROM idempotency")
    assert kept["secret"]
    assert first.json["secret"].encode() not in kept["body"]


async def test_every_write_leaves_an_audit_row(api: ApiClient) -> None:
    """Who, what and which item; a new value changes the digest, and the same value under another item too."""
    made = await _make(api)
    await _make(api, "other one")
    for secret in ("another secret", "a third secret"):
        await api.call("PUT", f"/workflows/vault/{made['id']}", {"secret": secret})
    await api.call("DELETE", f"/workflows/vault/{made['id']}")
    async with api.api.services.pool.acquire() as connection:
        rows = await connection.fetch("SELECT action, target, actor, after_digest FROM audit ORDER BY id")
    mine = [row for row in rows if row["target"] == made["id"]]
    assert [row["action"] for row in mine] == ["vault.create", "vault.update", "vault.update", "vault.delete"]
    assert {row["actor"] for row in rows} == {"user-1"}
    assert len({row["after_digest"] for row in rows}) == len(rows)


async def test_an_api_key_starts_workflows_and_nothing_else(api: ApiClient) -> None:
    """In either header it may execute in its workspace; it is shown once, and the run says who started it."""
    made = await api.create()
    key = await _make(api, "api-key:ci", secret="")
    secret = key["secret"]
    assert secret.startswith("wfk_")
    assert len(secret) >= len("wfk_") + 22  # 128 bits in base64
    assert "secret" not in (await api.call("GET", f"/workflows/vault/{key['id']}")).json
    for headers in ({"Authorization": f"Bearer {secret}"}, {"X-Api-Key": secret}):
        assert (await _execute(api, made, headers)).status == 202
        assert (await api.call("POST", "/workflows/events/nobody.listens", {}, token="", headers=headers)).status == 202
        # Admitted, and told what is wrong with the workflow.
        answer = await api.call("POST", f"/workflows/sync/{made['id']}", {}, token="", headers=headers)
        assert answer.status == 422
    async with api.api.services.pool.acquire() as connection:
        assert await connection.fetch("SELECT DISTINCT started_by FROM runs") == [("api-key:ci",)]
        assert await connection.fetchval("SELECT count(*) FROM vault_items WHERE secret IS NOT NULL") == 0


@pytest.mark.parametrize("header", ["Authorization", "X-Api-Key"])
async def test_every_other_route_refuses_an_api_key(api: ApiClient, header: str) -> None:
    """All that are declared, but those that start workflows and the public ones: 403, whatever is asked."""
    made = await api.create()
    secret = (await _make(api, "api-key:ci", secret=""))["secret"]
    headers = {header: f"Bearer {secret}" if header == "Authorization" else secret}
    refused = [route for route in ROUTES if route.access != PUBLIC and not route.api_key]
    assert len(refused) > 30
    for route in refused:
        path = re.sub(r"\{\w+\}", made["id"], route.path)
        answer = await api.call(route.method, path, token="", headers=headers)
        told = (answer.status, answer.json["type"], answer.json["code"])
        assert told == (403, "permission_error", "api_key_not_allowed"), (route.method, route.path)
        assert all(part in answer.json["message"] for part in ("execute", "sync", "events"))


async def test_a_key_reaches_its_own_workspace_only(api: ApiClient) -> None:
    """Another workspace's workflow is 404."""
    made = await api.create()
    theirs = await api.call("POST", "/workflows/vault", {"name": "api-key:x"}, token=token("other", "vault:write"))
    answer = await _execute(api, made, {"X-Api-Key": theirs.json["secret"]})
    assert answer.status == 404


async def test_what_is_no_key(api: ApiClient) -> None:
    """401, and the answer does not repeat it; a JWT that is no good is not made good by a key beside it."""
    made = await api.create()
    for headers in (
        {"X-Api-Key": "wfk_" + "A" * 43},
        {"Authorization": "Bearer wfk_" + "A" * 43},
        {"X-Api-Key": "garbage"},
        {"X-Api-Key": "wfk_" + "A" * 5000},
        {"X-Api-Key": ""},
        {"Authorization": "Bearer wfk_"},
    ):
        answer = await _execute(api, made, headers)
        assert (answer.status, answer.json["code"]) == (401, "token_invalid"), headers
        assert "AAAA" not in answer.body.decode()
    secret = (await _make(api, "api-key:ci", secret=""))["secret"]
    assert (await _execute(api, made, {"Authorization": "Bearer no", "X-Api-Key": secret})).status == 401


async def test_a_deleted_key_stops_within_a_second_everywhere(make_api: Any) -> None:
    """On the api that deleted it and on another that had just let it in."""
    one, two = await make_api(), await make_api()
    made = await one.create()
    key = await _make(one, "api-key:ci", secret="")
    headers = {"X-Api-Key": key["secret"]}
    assert [(await _execute(api, made, headers)).status for api in (one, two)] == [202, 202]
    await one.call("DELETE", f"/workflows/vault/{key['id']}")

    await asyncio.gather(*(takes_hold(partial(_status, api, made, headers), 401) for api in (one, two)))


async def test_an_expired_key_is_refused(api: ApiClient) -> None:
    """Expiry is Postgres's; what was remembered does not outlive it."""
    made = await api.create()
    key = await _make(api, "api-key:ci", secret="", expires_at=_in(3600))
    headers = {"X-Api-Key": key["secret"]}
    assert (await _execute(api, made, headers)).status == 202
    async with api.api.services.pool.acquire() as connection:
        await connection.execute("UPDATE vault_items SET expires_at = now() - interval '1 second'")
    await takes_hold(partial(_status, api, made, headers), 401)


async def _status(api: ApiClient, made: dict[str, Any], headers: dict[str, str]) -> int:
    return (await _execute(api, made, headers)).status


async def test_a_key_and_a_secret_do_not_become_one_another(api: ApiClient) -> None:
    """By name or by value: 422."""
    key = await _make(api, "api-key:ci", secret="")
    item = await _make(api)
    for made, change in ((key, {"secret": SECRET}), (key, {"name": "plain"}), (item, {"name": "api-key:x"})):
        assert (await api.call("PUT", f"/workflows/vault/{made['id']}", change)).status == 422
    assert (await api.call("PUT", f"/workflows/vault/{key['id']}", {"name": "api-key:cd"})).status == 200


def _calling(**data: Any) -> dict[str, Any]:
    """A workflow with one HTTP request."""
    http = node("n2", "webhook", **{"method": "GET", "url": "https://example.com", **data})
    return workflow(nodes=[node("n1", "manual_trigger"), http])


async def test_a_workflow_names_items_that_exist_and_is_named_by_them(api: ApiClient) -> None:
    """`used_by` follows each save."""
    one = await _make(api, "one item")
    two = await _make(api, "two")
    made = await api.call(
        "POST",
        "/workflows",
        _calling(
            url="https://x.test/{{ vault.two }}",
            headers=[{"key": "Authorization", "value": 'Bearer {{ vault["one item"] }}'}],
        ),
    )
    assert made.status == 201, made.body
    path = f"/workflows/{made.json['id']}"
    for item in (one, two):
        where = f"/workflows/vault/{item['id']}"
        assert (await api.call("GET", where)).json["used_by"] == [made.json["id"]]
        assert (await api.call("PUT", where, {"name": item["name"], "secret": "another secret"})).status == 200
    assert (await api.call("PUT", path, {"name": "Renamed"})).status == 200
    assert (await api.call("GET", f"/workflows/vault/{one['id']}")).json["used_by"] == [made.json["id"]]
    without = _calling(url="https://x.test/{{ vault.two }}")
    assert (await api.call("PUT", path, {"nodes": without["nodes"]})).status == 200
    assert (await api.call("DELETE", f"/workflows/vault/{one['id']}")).status == 204
    assert (await api.call("DELETE", path)).status == 204
    assert (await api.call("GET", f"/workflows/vault/{two['id']}")).json["used_by"] == []
    assert (await api.call("DELETE", f"/workflows/vault/{two['id']}")).status == 204


async def test_where_the_vault_may_be_read(api: ApiClient) -> None:
    """Unknown names, other fields, other ways to read it: each is a fault of its field, with the legal ones."""
    await _make(api, "stripe")
    await _make(api, "api-key:ci", secret="")
    cases = [
        ({"url": "https://x.test/{{ vault.strip }}"}, "url", "unknown_vault_item", 'did you mean "stripe"'),
        ({"body": '{"a": "{{ vault["api-key:ci"] }}"}'}, "body", "unknown_vault_item", '"stripe"'),
        ({"success": "{{ vault.stripe }}"}, "success", "secret_not_allowed", '"url", "headers", "query", "body"'),
        ({"url": "https://x.test/{{ vault }}"}, "url", "secret_not_allowed", "{{ vault.name }}"),
        ({"url": "https://x.test/{{ vault[n1.run_id] }}"}, "url", "secret_not_allowed", "{{ vault.name }}"),
        ({"url": "https://x.test/{{ vault.stripe.size }}"}, "url", "secret_not_allowed", "{{ vault.name }}"),
        ({"url": "https://x.test/{% if vault.stripe %}a{% endif %}"}, "url", "secret_not_allowed", "{{ }} alone"),
        ({"url": "https://x.test/{% assign x = vault.stripe %}{{ x }}"}, "url", "secret_not_allowed", "{{ }} alone"),
        (
            {"url": "https://x.test/{% capture x %}{{ vault.stripe }}{% endcapture %}{{ x }}"},
            "url", "secret_not_allowed", "{{ }} alone",
        ),
    ]  # fmt: skip
    for data, field, code, hint in cases:
        for path in ("/workflows", "/workflows/validate"):
            answer = await api.call("POST", path, _calling(**data))
            faults = answer.json["errors"] if path == "/workflows" else answer.json["details"]
            assert [(f["path"], f["code"]) for f in faults] == [(f"nodes[1].data.{field}", code)], data
            assert hint in faults[0]["message"]
    elsewhere = workflow(
        nodes=[node("n1", "manual_trigger"), node("n2", "text_transform", template="{{ vault.stripe }}")]
    )
    fault = (await api.call("POST", "/workflows", elsewhere)).json["errors"][0]
    assert (fault["code"], "no field of this node may" in fault["message"]) == ("secret_not_allowed", True)


async def test_an_item_in_use_is_deleted_and_renamed(api: ApiClient) -> None:
    """204 and 200; workflows that name it stay, and can be saved with nodes only if they name what is there."""
    one = await _make(api, "racing")
    where = f"/workflows/vault/{one['id']}"
    made = (await api.call("POST", "/workflows", _calling(url="https://x.test/{{ vault.racing }}"))).json
    path = f"/workflows/{made['id']}"
    renamed = await api.call("PUT", where, {"name": "walking", "secret": SECRET})
    assert (renamed.status, renamed.json["name"], renamed.json["used_by"]) == (200, "walking", [])
    refused = await api.call("PUT", path, {"nodes": made["nodes"]})
    assert (refused.status, [each["code"] for each in refused.json["errors"]]) == (422, ["unknown_vault_item"])
    assert (await api.call("PUT", path, {"name": "Still there"})).status == 200
    assert (await api.call("PUT", where, {"name": "racing"})).json["used_by"] == [made["id"]]
    assert (await api.call("PUT", path, {"nodes": made["nodes"]})).status == 200
    assert (await api.call("DELETE", where)).status == 204
    assert (await api.call("DELETE", where)).status == 404
    assert (await api.call("GET", path)).json["nodes"] == made["nodes"]
    assert (await _make(api, "racing"))["used_by"] == []
    assert (await api.call("GET", "/workflows/vault")).json[0]["used_by"] == [made["id"]]


@pytest.mark.parametrize(("first", "status"), [("save", 201), ("delete", 422)])
async def test_an_item_is_not_deleted_while_a_workflow_that_names_it_is_saved(
    api: ApiClient, database: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch, first: str, status: int
) -> None:
    """A save that comes first names what is there, one that comes second is refused; the item goes either way."""
    item = await _make(api, "racing")
    save = api.call("POST", "/workflows", _calling(url="https://x.test/{{ vault.racing }}"))
    delete = api.call("DELETE", f"/workflows/vault/{item['id']}")
    if first == "save":
        saved, deleted = await meet(save, Halt(monkeypatch, vault, "replace_uses"), delete, database)
    else:
        deleted, saved = await meet(delete, Halt(monkeypatch, vault, "delete"), save, database)
    assert (saved.status, deleted.status) == (status, 204)
