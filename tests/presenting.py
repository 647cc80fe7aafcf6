"""Authorizations in tests of workers: rows made past the api, and who renews their tokens.

``python -m tests.presenting <database url> <workspace> <authorization> <how many>`` asks for so many grants at once and
prints what each presents; ``... refused`` asks for others than those of the first generation.
"""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import msgspec

from shared.authorizations.authorizer import Authorizer, Place
from shared.authorizations.kinds import KINDS, Config
from shared.authorizations.sealed import seal_config, seal_token
from shared.authorizations.tokens import Token
from shared.db import open_pool
from shared.egress.allow import parse_allow
from shared.egress.client import EgressClient
from shared.egress.guard import Guard
from shared.ids import Mint
from shared.nodes.base import Grant
from shared.store import authorizations
from shared.store.authorizations import AuthorizationRow
from shared.vault import parse_keys
from tests.api_client import VAULT_KEYS

KEYS = parse_keys(VAULT_KEYS)
mint = Mint()


@asynccontextmanager
async def authorizer(url: str) -> AsyncIterator[Authorizer]:
    """What one worker has."""
    pool = await open_pool(url, size=4, name="authorizer")
    async with EgressClient(Guard(parse_allow("127.0.0.1"))) as egress:
        made = Authorizer(pool, KEYS, egress, mint.uuid)
        yield made
        await made.aclose(1.0)
    await pool.close()


async def add(connection: Any, workspace_id: UUID, kind: str, config: dict[str, Any]) -> UUID:
    """An authorization of a workspace, which is made if it is not there."""
    await connection.execute(
        "INSERT INTO workspaces (id, claim) VALUES ($1, $2) ON CONFLICT DO NOTHING", workspace_id, str(workspace_id)
    )
    made: Config = msgspec.convert(config, KINDS[kind])
    row = AuthorizationRow(
        id=mint.uuid(),
        name="One",
        kind=kind,
        provider=None,
        user_id=None,
        status="active",
        created_at=await connection.fetchval("SELECT now()"),
        used_by=[],
    )
    await authorizations.add(connection, workspace_id, row, seal_config(KEYS, row.id, made))
    return row.id


async def consented(connection: Any, authorization_id: UUID, token: Token, due_in: float | None = 3600.0) -> None:
    """A person has consented, and the provider gave this token."""
    assert await authorizations.consent(connection, authorization_id, seal_token(KEYS, authorization_id, token), due_in)


async def _print(url: str, place: tuple[UUID, UUID], count: int, *, refused: bool) -> None:
    old = Grant("http://127.0.0.1", ("Authorization", "x"), (), renewable=True, generation=1) if refused else None
    async with authorizer(url) as mine:
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        for grant in await asyncio.gather(*(Place(mine, *place).grant(old) for _ in range(count))):
            print(grant.header[1], grant.generation, flush=True)


if __name__ == "__main__":
    _, _url, _workspace, _authorization, _count, *_how = sys.argv
    asyncio.run(_print(_url, (UUID(_workspace), UUID(_authorization)), int(_count), refused=bool(_how)))
