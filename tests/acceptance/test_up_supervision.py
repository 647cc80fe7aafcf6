"""What `edgewise up` tells about itself, and that whatever is killed comes back."""

import os
import signal
import stat
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from redis.asyncio import Redis

from tests.running import Up, get, until


def _pid(told: dict[str, Any], name: str) -> int:
    """The pid of a process: ``api``, ``workers.0``."""
    first, _, place = name.partition(".")
    pids = told["pids"][first]
    pid: int = pids[int(place)] if place else pids
    return pid


def test_the_ready_line_names_the_address(running: Up) -> None:
    """The only line on the standard output is ``ready`` and the url of edgewise.json."""
    assert f"\nready {running.told()['url']}\n" in running.output()


def test_edgewise_json_is_for_our_eyes_only(running: Up) -> None:
    """It holds a token and passwords: mode 0600; so have the secrets beside it."""
    for name in ("edgewise.json", "jwt.secret", "vault.keys", "postgres.password", "redis.password"):
        assert stat.S_IMODE((running.folder / name).stat().st_mode) == 0o600


def test_edgewise_json_has_the_documented_fields(running: Up) -> None:
    """Exactly the documented fields, with real values."""
    told = running.told()
    assert set(told) == {"url", "token", "pids", "database_url", "broker_url", "metrics"}
    assert set(told["pids"]) == {"api", "scheduler", "workers", "postgres", "redis"}
    assert set(told["metrics"]) == {"api", "scheduler", "workers"}
    assert len(told["pids"]["workers"]) == len(told["metrics"]["workers"]) >= 1
    for url in (told["metrics"]["api"], told["metrics"]["scheduler"], *told["metrics"]["workers"]):
        assert get(url) == 200


def test_the_pids_of_the_servers_are_those_of_the_servers(running: Up) -> None:
    """They are the servers themselves, not a wrapper."""
    told = running.told()
    assert Path(f"/proc/{_pid(told, 'postgres')}/comm").read_text() == "postgres\n"
    assert Path(f"/proc/{_pid(told, 'redis')}/comm").read_text() == "valkey-server\n"


def test_no_child_shares_our_terminal_session(running: Up) -> None:
    """A Ctrl-C for `up` does not reach its children: it stops them in order instead."""
    told = running.told()
    for name in ("api", "scheduler", "workers.0", "postgres", "redis"):
        assert os.getsid(_pid(told, name)) == _pid(told, name)


def test_the_token_opens_the_api(running: Up) -> None:
    """It is an admin's, of the workspace `local`; without one there is no entry."""
    told = running.told()
    assert get(f"{told['url']}/workflows", told["token"]) == 200
    assert get(f"{told['url']}/workflows") == 401


async def test_the_urls_open_the_servers(running: Up) -> None:
    """The database's is its owner's; both hold the password, and nobody gets in without."""
    told = running.told()
    connection = await asyncpg.connect(told["database_url"])
    try:
        assert await connection.fetchval("SELECT count(*) >= 0 FROM workflows")
        assert await connection.fetchval("SHOW fsync") == "on"
        assert await connection.fetchval("SHOW synchronous_commit") == "on"
    finally:
        await connection.close()
    async with Redis.from_url(told["broker_url"]) as redis:
        assert await redis.ping()
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(told["database_url"].replace("edgewise:", "edgewise:x"))


@pytest.mark.parametrize("name", ["api", "scheduler", "workers.0", "redis", "postgres"])
def test_what_is_killed_comes_back(running: Up, name: str) -> None:
    """After ``kill -9`` another process is on the same address, edgewise.json names it, and all is ready again."""
    before = running.told()
    os.kill(_pid(before, name), signal.SIGKILL)
    until(lambda: _pid(running.told(), name) != _pid(before, name))
    until(running.is_serving)
    after = running.told()
    assert {key: after[key] for key in after if key != "pids"} == {key: before[key] for key in before if key != "pids"}
