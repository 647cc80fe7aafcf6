"""What an api remembers of webhooks, for how long, and what it does about tokens and rules that are none."""

import asyncio
from functools import partial
from typing import Any

import pytest

from api import webhook_targets
from shared.errors import UnavailableError
from shared.ids import Prefix, decode
from shared.store.vault import secret_context
from tests.api_client import ApiClient, takes_hold
from tests.hooks import SECRET, definition, github, hook, keep_secret, send, told


async def test_a_secret_is_read_anew_every_second(make_api: Any) -> None:
    """One that is not there is 503 with Retry-After; once it is, and once it was changed, the new one counts."""
    api: ApiClient = await make_api()
    await keep_secret(api, "github_secret", SECRET)
    _, path = await hook(api, signature={"scheme": "github", "secret": "github_secret"})
    async with api.api.services.pool.acquire() as connection:
        await connection.execute("DELETE FROM vault_items")
    answer = await send(api, path, **{"X-Hub-Signature-256": github(b"{}")})
    assert told(answer) == (503, "webhook_secret_missing")
    assert answer.headers["Retry-After"] == "60"
    item = await keep_secret(api, "github_secret", SECRET)

    async def status(secret: str) -> int:
        return (await send(api, path, **{"X-Hub-Signature-256": github(b"{}", secret)})).status

    await takes_hold(partial(status, SECRET), 202)
    services = api.api.services
    blob = services.keys.encrypt(b"another", context=secret_context(item))
    async with services.pool.acquire() as connection:
        await connection.execute("UPDATE vault_items SET secret = $1", blob)
    await takes_hold(partial(status, "another"), 202)
    assert await status(SECRET) == 401
    async with services.pool.acquire() as connection:
        await connection.execute("UPDATE vault_items SET expires_at = now()")
    await takes_hold(partial(status, "another"), 503)


async def test_rules_that_are_changed_count_at_once_here(make_api: Any) -> None:
    """In the process that saved them, and everywhere within a second; runs of before keep theirs."""
    one, two = await make_api(), await make_api()
    made, path = await hook(one)
    assert (await send(one, path)).status == (await send(two, path)).status == 202
    changed = definition(allowed_ips=["203.0.113.0/24"])["nodes"]
    saved = await one.call("PUT", f"/workflows/{made['id']}", {"nodes": changed})
    assert saved.json["nodes"] == changed
    assert (await send(one, path)).status == 403

    async def there() -> int:
        return (await send(two, path)).status

    await takes_hold(there, 403)


async def test_what_is_remembered_is_no_older_than_a_second(api: ApiClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """The time of the look-up counts, and what is changed here while one is under way is not remembered."""
    _, path = await hook(api)
    token = path.rpartition("/")[2]
    token_hash = webhook_targets.hash_token(token)
    now, takes = [100.0], [0.4]
    services = api.api.services
    targets = webhook_targets.WebhookTargets(services.pool, services.keys, lambda: now[0])
    known = webhook_targets.workflows.by_tokens
    changed: list[bytes] = []

    async def by_tokens(connection: Any, hashes: Any) -> Any:
        rows = await known(connection, hashes)
        now[0] += takes[0]
        for each in changed:
            targets.forget(each)
        return rows

    monkeypatch.setattr(webhook_targets.workflows, "by_tokens", by_tokens)
    found = await targets.find(token, token_hash)
    assert targets.remembered(token_hash) == found
    now[0] = 100.99
    assert targets.remembered(token_hash) == found
    now[0] = 101.0
    assert targets.remembered(token_hash) is None
    changed.append(token_hash)
    assert await targets.find(token, token_hash) == found
    assert targets.remembered(token_hash) is None
    changed.clear()
    takes[0] = 1.0
    assert await targets.find(token, token_hash) == found
    assert targets.remembered(token_hash) is None
    takes[0] = 0.4
    assert await targets.find(token, token_hash) == targets.remembered(token_hash)


@pytest.mark.parametrize(
    "rules", ['{"dedupe": "{{ body | shout }}"}', '{"response": {"body": "{{"}}', '{"rate_limit": 1}']
)
async def test_rules_that_cannot_be_read_are_one_webhook_s_own(api: ApiClient, rules: str) -> None:
    """What other code saved, and this can't parse, is 503; tokens that are looked up with it work."""
    made, unreadable = await hook(api, dedupe=False)
    _, readable = await hook(api)
    workflow_id = decode(Prefix.WORKFLOW, made["id"])
    async with api.api.services.pool.acquire() as connection:
        await connection.execute("UPDATE workflow_versions SET webhook = $2 WHERE workflow_id = $1", workflow_id, rules)
    targets = webhook_targets.WebhookTargets(api.api.services.pool, api.api.services.keys)
    tokens = [path.rpartition("/")[2] for path in (unreadable, readable)]
    asked = (targets.find(token, webhook_targets.hash_token(token)) for token in tokens)
    refused, found = await asyncio.gather(*asked, return_exceptions=True)
    assert isinstance(refused, UnavailableError)
    assert (refused.code, isinstance(found, webhook_targets.Hook)) == ("webhook_unreadable", True)
    assert told(await send(api, unreadable)) == (503, "webhook_unreadable")
    assert (await send(api, readable)).status == 202


async def test_unknown_tokens_cost_few_queries(api: ApiClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that nobody has share look-ups and are remembered; a token that is given out works at once."""
    looked: list[int] = []
    known = webhook_targets.workflows.by_tokens

    async def by_tokens(connection: Any, hashes: Any) -> Any:
        looked.append(len(hashes))
        return await known(connection, hashes)

    monkeypatch.setattr(webhook_targets.workflows, "by_tokens", by_tokens)
    targets = api.api.services.webhooks
    for clocked in (targets, targets._known, targets._unknown):  # no second is over before all were sent twice
        monkeypatch.setattr(clocked, "_clock", lambda: 0.0)
    paths = [f"/workflows/webhooks/whsec_{number:043}" for number in range(100)]
    for _ in range(2):
        answers = await asyncio.gather(*(send(api, path) for path in paths))
        assert {told(answer) for answer in answers} == {(404, "webhook_not_found")}
    assert sum(looked) == 100
    assert len(looked) < 60
    looked.clear()
    assert (await send(api, "/workflows/webhooks/" + "x" * 300)).status == 404
    assert looked == []
    for _ in range(3):
        _, path = await hook(api)
        assert (await send(api, path)).status == 202
