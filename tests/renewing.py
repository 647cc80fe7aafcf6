"""Authorizations that a person consented to, in the database, and when their tokens are due."""

import asyncpg
import pytest

from shared.authorizations.authorizer import Authorizer, Place
from shared.authorizations.tokens import Token
from shared.errors import StepFailedError
from shared.nodes.base import Grant
from tests.presenting import add, consented, mint
from tests.provider import Issued, Provider


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
