"""Making, changing and deleting vault items, each with its audit row in the caller's transaction."""

from collections.abc import Mapping
from typing import Any, NamedTuple
from uuid import UUID

import msgspec
from msgspec import UNSET

from api.api_keys import hash_key
from api.auditing import note
from api.call import Call, found
from api.moments import stamp_or_none
from api.vault_fields import KEY_PREFIX, Given, read_item
from shared.db import Connection
from shared.errors import ConflictError, Fault, InvalidError
from shared.graph.suggest import shown
from shared.ids import Prefix, encode, new_secret
from shared.store import vault
from shared.store.vault import ItemRow, secret_context


class Made(NamedTuple):
    """A new item, and the API key that it is."""

    row: ItemRow
    key: str | None


async def create(connection: Connection, call: Call, raw: Mapping[str, Any]) -> Made:
    """Store a new item, or make an API key.

    Raises:
        InvalidError: with every fault.
        ConflictError: ``vault_name_taken``.
    """
    now = await vault.now(connection)
    given, faults = read_item(raw, now, is_key=None)
    _refuse([*faults, *_missing(raw)])
    name, expires_at = str(given.name), None if given.expires_at is UNSET else given.expires_at
    key = new_secret("wfk") if name.startswith(KEY_PREFIX) else None
    row = ItemRow(
        id=call.services.mint.uuid(),
        workspace_id=call.workspace_id,
        name=name,
        created_at=now,
        expires_at=expires_at or None,
        updated_at=now,
        is_key=key is not None,
        used_by=[],
    )
    saved = await vault.add(
        connection, row, secret=_encrypted(call, row.id, given), key_hash=None if key is None else hash_key(key)
    )
    if saved is None:
        raise _taken(name)
    made = _digested(saved, _keyed(call, saved.id, given))
    await note(connection, call, "vault.create", encode(Prefix.VAULT, saved.id), before=None, after=made)
    return Made(saved, key)


async def update(connection: Connection, call: Call, item_id: UUID, raw: Mapping[str, Any]) -> ItemRow:
    """Change what the request says of an item. By another name it is another one to the workflows that use it.

    Raises:
        NotFoundError: if the workspace has no such item.
        InvalidError: with every fault.
        ConflictError: ``vault_name_taken``.
    """
    before = found(await vault.lock(connection, call.workspace_id, item_id), "vault item", call)
    now = await vault.now(connection)
    given, faults = read_item(raw, now, is_key=before.is_key, expires_at=before.expires_at)
    _refuse(faults)
    changes = {name: value for name in ("name", "expires_at") if (value := getattr(given, name)) is not UNSET}
    row = msgspec.structs.replace(before, **changes)
    if not await vault.update(connection, row, secret=_encrypted(call, item_id, given)):
        raise _taken(row.name)
    after = found(await vault.get(connection, call.workspace_id, item_id), "vault item", call)
    was, made = _digested(before, None), _digested(after, _keyed(call, item_id, given))
    await note(connection, call, "vault.update", encode(Prefix.VAULT, item_id), before=was, after=made)
    return after


async def delete(connection: Connection, call: Call, item_id: UUID) -> None:
    """Remove an item, used or not: steps that need it fail with ``vault_item_missing``.

    Raises:
        NotFoundError: if the workspace has no such item.
    """
    before = found(await vault.lock(connection, call.workspace_id, item_id), "vault item", call)
    await vault.delete(connection, call.workspace_id, item_id)
    was = _digested(before, None)
    await note(connection, call, "vault.delete", encode(Prefix.VAULT, item_id), before=was, after=None)


def _encrypted(call: Call, item_id: UUID, given: Given) -> bytes | None:
    if not isinstance(given.secret, str):
        return None
    return call.services.keys.encrypt(given.secret.encode(), context=secret_context(item_id))


def _missing(raw: Mapping[str, Any]) -> list[Fault]:
    message = "The 'name' parameter is required for this request."
    return [] if "name" in raw else [Fault("name", "parameter_missing", message)]


def _refuse(faults: list[Fault]) -> None:
    if faults:
        told = " ".join(fault.message for fault in faults)
        raise InvalidError("validation_failed", f"The vault item breaks rules. {told}", faults=faults)


def _taken(name: str) -> ConflictError:
    return ConflictError("vault_name_taken", f"There is a vault item {shown(name)} in this workspace already.")


def _keyed(call: Call, item_id: UUID, given: Given) -> str | None:
    """What stands for a new value in a digest: it cannot be searched for without the key ring."""
    if not isinstance(given.secret, str):
        return None
    return call.services.keys.sign(f"audit {item_id} {given.secret}".encode()).hex()


def _digested(row: ItemRow, secret: str | None) -> str:
    parts = [row.name, stamp_or_none(row.expires_at), secret]
    return msgspec.json.encode(parts).decode()
