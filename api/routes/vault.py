"""``/workflows/vault``: secrets that workflows use, and API keys."""

from typing import Annotated, Final

import msgspec
from aiohttp import web
from msgspec import UNSET, Meta, UnsetType

from api import idempotency, vault_saving
from api.access import Scope
from api.answers import Answer, json_answer
from api.bodies import read_definition
from api.call import Call, found
from api.moments import stamp, stamp_or_none
from api.paging import next_page
from api.queries import read_cursor, read_query
from api.routing import Routes
from api.vault_fields import NewVaultItem, VaultItem, VaultItemChange
from shared.db import Connection
from shared.ids import Prefix, encode
from shared.store import vault
from shared.store.vault import ItemRow

ROUTES: Final = Routes()
_DEFAULT_LIMIT: Final = 50


class VaultQuery(msgspec.Struct, frozen=True):
    """Which part of the list is asked for."""

    limit: Annotated[Annotated[int, Meta(ge=1, le=200)] | None, Meta(description="a whole number from 1 to 200")] = None
    cursor: Annotated[str | None, Meta(description="the cursor of a Link header")] = None


@ROUTES.route(
    "GET",
    "/workflows/vault",
    access=Scope.VAULT_READ,
    summary="List vault items, newest first, never their values; all of them unless limit or cursor is given",
    query=VaultQuery,
    answers={200: list[VaultItem]},
)
async def list_vault_items(call: Call) -> web.Response:
    """Newest first, API keys among them."""
    query = read_query(VaultQuery, call.request)
    before = read_cursor(Prefix.VAULT, "cursor", query.get("cursor"))
    limit = query.get("limit", None if before is None else _DEFAULT_LIMIT)
    async with call.reading() as connection:
        rows = await vault.list_all(connection, call.workspace_id, before, limit and limit + 1)
    shown = [_object(row) for row in (rows if limit is None else rows[:limit])]
    headers = next_page(call, shown[-1].id, limit=str(limit)) if len(rows) > len(shown) and limit else {}
    return json_answer(200, shown, headers=headers).response()


@ROUTES.route(
    "POST",
    "/workflows/vault",
    access=Scope.VAULT_WRITE,
    summary="Keep a secret; or make an API key, shown this once, if the name begins with api-key:",
    body=NewVaultItem,
    answers={201: VaultItem},
    idempotent=True,
)
async def create_vault_item(call: Call) -> web.Response:
    """201 with the item, without its value but for a new API key."""
    body, raw = await read_definition(call.request)

    async def work(connection: Connection) -> Answer:
        made = await vault_saving.create(connection, call, raw)
        shown = _object(made.row, UNSET if made.key is None else made.key)
        place = f"{call.services.config.public_url}{call.request.path}/{shown.id}"
        return json_answer(201, shown, headers={"Location": place}, secret=made.key is not None)

    return await idempotency.once(call, body, work, confidential=True)


@ROUTES.route(
    "GET",
    "/workflows/vault/{id}",
    access=Scope.VAULT_READ,
    summary="Get a vault item, never its value",
    answers={200: VaultItem},
)
async def get_vault_item(call: Call) -> web.Response:
    """With the workflows that use it."""
    item_id = call.path_id(Prefix.VAULT)
    async with call.reading() as connection:
        row = found(await vault.get(connection, call.workspace_id, item_id), "vault item", call)
    return json_answer(200, _object(row)).response()


@ROUTES.route(
    "PUT",
    "/workflows/vault/{id}",
    access=Scope.VAULT_WRITE,
    summary="Change what is sent of a vault item, used or not; runs under way see a new value within a second",
    body=VaultItemChange,
    answers={200: VaultItem},
)
async def update_vault_item(call: Call) -> web.Response:
    """By another name it is another item to its workflows, whose steps fail then; 409 if that name is taken."""
    item_id = call.path_id(Prefix.VAULT)
    _, raw = await read_definition(call.request)
    async with call.writing() as connection:
        row = await vault_saving.update(connection, call, item_id, raw)
    return json_answer(200, _object(row)).response()


@ROUTES.route(
    "DELETE",
    "/workflows/vault/{id}",
    access=Scope.VAULT_WRITE,
    summary="Delete a vault item, used or not, or an API key, which stops within a second",
    answers={204: None},
)
async def delete_vault_item(call: Call) -> web.Response:
    """Steps that need it fail with ``vault_item_missing``; ``used_by`` tells which workflows have them."""
    item_id = call.path_id(Prefix.VAULT)
    async with call.writing() as connection:
        await vault_saving.delete(connection, call, item_id)
    return web.Response(status=204)


def _object(row: ItemRow, key: str | UnsetType = UNSET) -> VaultItem:
    return VaultItem(
        id=encode(Prefix.VAULT, row.id),
        name=row.name,
        created_at=stamp(row.created_at),
        expires_at=stamp_or_none(row.expires_at),
        updated_at=stamp(row.updated_at),
        used_by=[encode(Prefix.WORKFLOW, workflow_id) for workflow_id in row.used_by],
        secret=key,
    )
