"""``/workflows/authorization``: the objects, their rules, and consents at a real OAuth2 provider."""

from typing import Any
from urllib.parse import parse_qs, urlsplit

import asyncpg
import pytest

from shared.store import authorizations, workflows
from tests.api_client import PUBLIC_URL, ApiClient, token, workflow
from tests.authorizing import BASE, FIELDS, PATH, STATIC, make
from tests.halting import Halt, meet


@pytest.mark.parametrize("kind", STATIC)
async def test_a_kind_without_consent_is_active_at_once(api: ApiClient, kind: str) -> None:
    """201 with the object and no secret in it, the same in the list; the database has no secret in clear."""
    made = await make(api, kind, STATIC[kind])
    assert made.status == 201, made.body
    assert made.json.keys() == FIELDS
    assert made.json["id"].startswith("auth_")
    told = {name: made.json[name] for name in ("name", "kind", "status", "user_id", "used_by")}
    assert told == {"name": "One", "kind": kind, "status": "active", "user_id": None, "used_by": []}
    assert made.json["provider"] == ("login.example.com" if kind.startswith("oauth2") else None)
    listed = await api.call("GET", PATH)
    assert listed.json == [made.json]
    async with api.api.services.pool.acquire() as connection:
        stored = repr(await connection.fetch("SELECT * FROM authorizations")) + repr(
            await connection.fetch("SELECT * FROM audit")
        )
    for secret in ("a-bearer-token", "pass:word", "a-header-value", "a-client-secret"):
        assert secret not in stored
        assert secret.encode() not in listed.body


async def test_every_fault_is_told_at_once_and_no_secret(api: ApiClient) -> None:
    """Wrong, missing and unknown fields of the body and of its config, each with its path; no secret is shown."""
    config = {
        "base_url": "https://user@api.example.com",
        "token_url": "ftp://x",
        "client_secret": "gluo\nbreak",
        "scopes": ["a b"],
        "client_auth": "jwt",
        "tokn": "x",
    }
    refused = await api.call("POST", PATH, {"nam": "x", "kind": "oauth2_client_credentials", "config": config})
    assert refused.status == 422
    paths = {(fault["path"], fault["code"]) for fault in refused.json["errors"]}
    assert paths == {
        ("nam", "unknown_field"),
        ("name", "parameter_missing"),
        ("config.base_url", "invalid_value"),
        ("config.token_url", "invalid_value"),
        ("config.client_secret", "invalid_value"),
        ("config.client_id", "parameter_missing"),
        ("config.scopes", "invalid_value"),
        ("config.client_auth", "invalid_value"),
        ("config.tokn", "unknown_field"),
    }
    assert b"gluo" not in refused.body


#: Kind, config, and the path of the one fault that it has.
FAULTY: list[tuple[str, dict[str, Any], str]] = [
    ("bearer", {"base_url": BASE, "token": 7_123_456}, "config.token"),
    ("bearer", {"base_url": BASE, "token": "gluo\x00rp"}, "config.token"),
    ("bearer", {"base_url": f"{BASE}?x=1", "token": "a-token-of-the-test"}, "config.base_url"),
    ("bearer", {"base_url": f"{BASE}/../x", "token": "a-token-of-the-test"}, "config.base_url"),
    ("bearer", {"base_url": f"{BASE}#x", "token": "a-token-of-the-test"}, "config.base_url"),
    ("bearer", {"base_url": "/v1", "token": "a-token-of-the-test"}, "config.base_url"),
    ("basic", {"base_url": BASE, "username": "a:b", "password": "pass:word"}, "config.username"),
    ("header", {"base_url": BASE, "name": "Host", "value": "a-header-value"}, "config.name"),
    ("header", {"base_url": BASE, "name": "X Y", "value": "a-header-value"}, "config.name"),
    ("header", {"base_url": BASE, "name": "X", "value": "gluo\r\nX-Other: rp"}, "config.value"),
    ("bearer", {"base_url": BASE, "token": "gluorp7"}, "config.token"),
    ("basic", {"base_url": BASE, "username": "ada", "password": "gluorp7"}, "config.password"),
    ("header", {"base_url": BASE, "name": "X", "value": "gluorp7"}, "config.value"),
    (
        "oauth2_client_credentials",
        {**STATIC["oauth2_client_credentials"], "client_secret": "gluorp7"},
        "config.client_secret",
    ),
    ("nosuch", {}, "kind"),
    (
        "oauth2_authorization_code",
        {**STATIC["oauth2_client_credentials"], "authorize_url": BASE, "parameters": {"state": "fixed"}},
        "config.parameters",
    ),
]


async def test_a_config_is_held_to_its_rules(api: ApiClient) -> None:
    """Each rule is told at the path of its field, and nothing is stored."""
    for kind, config, path in FAULTY:
        refused = await make(api, kind, config)
        assert (refused.status, [fault["path"] for fault in refused.json["errors"]]) == (422, [path]), config
        assert b"7123456" not in refused.body
        assert b"gluo" not in refused.body
    assert (await api.call("GET", PATH)).json == []


async def test_pages_and_other_workspaces(api: ApiClient) -> None:
    """The list is bare and newest first, by pages if that is asked for; other workspaces see and delete nothing."""
    ids = [(await make(api, "bearer", STATIC["bearer"])).json["id"] for _ in range(3)]
    newest_first = ids[::-1]
    assert [each["id"] for each in (await api.call("GET", PATH)).json] == newest_first
    page = await api.call("GET", f"{PATH}?limit=2")
    assert [each["id"] for each in page.json] == newest_first[:2]
    link = page.headers["Link"].partition(">")[0][1:].removeprefix(PUBLIC_URL)
    rest = await api.call("GET", link)
    assert ([each["id"] for each in rest.json], "Link" in rest.headers) == ([newest_first[2]], False)
    assert (await api.call("GET", PATH, token=token("other"))).json == []
    assert (await api.call("DELETE", f"{PATH}/{ids[0]}", token=token("other"))).status == 404
    assert (await api.call("GET", f"{PATH}?limit=0")).status == 400
    assert (await api.call("GET", f"{PATH}?cursor=fl_x")).status == 400


async def test_scopes(api: ApiClient) -> None:
    """Reading and writing ask for the scopes of workflows; the redirect URI asks for none."""
    reader = token(scope="workflows:read")
    assert (await api.call("GET", PATH, token=reader)).status == 200
    for method, path in (("POST", PATH), ("DELETE", f"{PATH}/auth_x"), ("POST", f"{PATH}/auth_x/consent")):
        assert (await api.call(method, path, token=reader)).status == 403
    assert (await api.call("GET", PATH, token=token(scope="vault:read"))).status == 403
    assert (await api.call("PUT", PATH)).headers["Allow"]


async def test_one_that_is_used_is_deleted(api: ApiClient) -> None:
    """It goes with its secrets and is 404; its workflows name it still, and saving them with it names the fault."""
    one = (await make(api, "bearer", STATIC["bearer"])).json["id"]
    first = await api.create(authorization_id=one, name="Alpha")
    second = await api.create(authorization_id=one, name="Beta")
    assert (await api.call("GET", PATH)).json[0]["used_by"] == [first["id"], second["id"]]
    assert (await api.call("DELETE", f"{PATH}/{one}")).status == 204
    assert (await api.call("DELETE", f"{PATH}/{one}")).status == 404
    assert (await api.call("GET", PATH)).json == []
    async with api.api.services.pool.acquire() as connection:
        assert await connection.fetchval("SELECT count(*) FROM authorizations") == 0
    path = f"/workflows/{first['id']}"
    shown = (await api.call("GET", path)).json
    assert shown["authorization_id"] == one
    for body in (shown, {"nodes": shown["nodes"]}, {"authorization_id": one}):
        refused = await api.call("PUT", path, body)
        (fault,) = refused.json["errors"]
        told = (refused.status, fault["path"], fault["code"], one in fault["message"])
        assert told == (422, "authorization_id", "unknown_authorization", True)
    renamed = await api.call("PUT", path, {"name": "Gamma"})
    assert (renamed.status, renamed.json["version"], renamed.json["authorization_id"]) == (200, 1, one)
    assert (await api.call("DELETE", path)).status == 204
    other = (await make(api, "bearer", STATIC["bearer"])).json["id"]
    assert (await api.call("PUT", f"/workflows/{second['id']}", {"authorization_id": other})).json["version"] == 2
    assert (await api.call("POST", "/workflows", workflow(authorization_id=one))).status == 422


async def test_a_delete_waits_for_a_workflow_that_is_saved_with_it(
    api: ApiClient, database: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was there when it was looked for is there until the workflow is stored."""
    one = (await make(api, "bearer", STATIC["bearer"])).json["id"]
    save = api.call("POST", "/workflows", workflow(authorization_id=one))
    halt = Halt(monkeypatch, workflows, "add")
    saved, deleted = await meet(save, halt, api.call("DELETE", f"{PATH}/{one}"), database)
    assert (saved.status, deleted.status) == (201, 204)


async def test_a_workflow_that_is_saved_while_it_is_deleted_is_refused(
    api: ApiClient, database: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It waits for the end of the delete, and is told then: no error of the database."""
    one = (await make(api, "bearer", STATIC["bearer"])).json["id"]
    delete = api.call("DELETE", f"{PATH}/{one}")
    save = api.call("POST", "/workflows", workflow(authorization_id=one))
    deleted, saved = await meet(delete, Halt(monkeypatch, authorizations, "remove"), save, database)
    assert (saved.status, deleted.status) == (422, 204)


async def test_a_repeat_gives_the_first_answer(api: ApiClient) -> None:
    """With an Idempotency-Key one authorization is made; the link of its consent is kept encrypted."""
    config = {**STATIC["oauth2_client_credentials"], "authorize_url": "https://login.example.com/authorize"}
    key = {"headers": {"Idempotency-Key": "k"}}
    first = await make(api, "oauth2_authorization_code", config, **key)
    again = await make(api, "oauth2_authorization_code", config, **key)
    assert (again.body, again.headers["Idempotency-Replayed"]) == (first.body, "true")
    assert len((await api.call("GET", PATH)).json) == 1
    state = parse_qs(urlsplit(first.json["authorization_url"]).query)["state"][0]
    async with api.api.services.pool.acquire() as connection:
        kept = b"".join([row["body"] for row in await connection.fetch("SELECT body FROM idempotency")])
    assert state.encode() not in kept
