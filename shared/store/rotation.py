"""Every column that is encrypted with the key ring, and moving them all to its newest key.

A column that is not listed here keeps its old key for ever; a test finds those among the tables that are not.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, Final, NamedTuple
from uuid import UUID

from shared.authorizations import sealed
from shared.db import Connection
from shared.queries import columns, load
from shared.store import idempotency, run_secrets, vault, workflows
from shared.vault import KeyRing, VaultError

_SQL = load("rotation")
_NOBODY: Final = UUID(int=0)


class Column(NamedTuple):
    """An encrypted column.

    Attributes:
        name: table and column.
        find, keep: the queries that read what is under an old key, and write it.
        start: what comes before the key of every row.
        context: what binds a blob to its row, made of the columns that were read before it.
    """

    name: str
    find: str
    keep: str
    start: Sequence[Any]
    context: Callable[..., str]


ENCRYPTED: Final = (
    Column("vault_items.secret", _SQL["find_vault_items"], _SQL["keep_vault_items"], (_NOBODY,), vault.secret_context),
    Column(
        "workflows.webhook_token",
        _SQL["find_webhook_tokens"],
        _SQL["keep_webhook_tokens"],
        (_NOBODY,),
        workflows.webhook_token_context,
    ),
    Column(
        "authorizations.config",
        _SQL["find_authorization_configs"],
        _SQL["keep_authorization_configs"],
        (_NOBODY,),
        sealed.config_context,
    ),
    Column(
        "authorizations.token",
        _SQL["find_authorization_tokens"],
        _SQL["keep_authorization_tokens"],
        (_NOBODY,),
        sealed.token_context,
    ),
    Column(
        "authorization_logins.verifier",
        _SQL["find_login_verifiers"],
        _SQL["keep_login_verifiers"],
        (b"",),
        lambda _, authorization_id: sealed.verifier_context(authorization_id),
    ),
    Column(
        "run_secrets.secret",
        _SQL["find_run_secrets"],
        _SQL["keep_run_secrets"],
        (_NOBODY, b""),
        lambda run_id, _: run_secrets.secret_context(run_id),
    ),
    Column(
        "idempotency.body",
        _SQL["find_answers"],
        _SQL["keep_answers"],
        (_NOBODY, "", "", ""),
        idempotency.body_context,
    ),
)


class Turned(NamedTuple):
    """What became of a batch of a column.

    Attributes:
        rotated: values that are under the newest key now.
        unreadable: values that no key of the ring decrypts; they stay as they are.
    """

    column: str
    rotated: int
    unreadable: int


async def rotate(connection: Connection, keys: KeyRing, batch: int = 500) -> AsyncIterator[Turned]:
    """Encrypt everything anew that is not under the newest key, each batch in a transaction of its own.

    It may be ended at any moment and begun again, and run while services work: rows are locked while theirs is moved.
    """
    for column in ENCRYPTED:
        after: Sequence[Any] | None = column.start
        while after is not None:
            async with connection.transaction():
                after, turned = await _turn(connection, keys, column, after, batch)
            yield turned


async def _turn(
    connection: Connection, keys: KeyRing, column: Column, after: Sequence[Any], batch: int
) -> tuple[Sequence[Any] | None, Turned]:
    """Move one batch; gives where the next begins, None after the last."""
    rows = await connection.fetch(column.find, keys.prefix, *after, batch)
    width = len(after)
    moved: list[tuple[Any, ...]] = []
    for *known, blob in rows:
        try:
            context = column.context(*known)
            moved.append((*known[:width], keys.encrypt(keys.decrypt(blob, context=context), context=context)))
        except VaultError:
            continue
    if moved:
        await connection.execute(column.keep, *columns(moved, width + 1))
    turned = Turned(column.name, len(moved), len(rows) - len(moved))
    return (tuple(rows[-1])[:width] if len(rows) == batch else None), turned
