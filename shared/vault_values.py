"""The values of vault items, for the steps that use them: read when a step runs, and good for a second."""

import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Sequence
from typing import Final, NamedTuple
from uuid import UUID

import asyncpg
import structlog

from shared.batcher import Batcher
from shared.errors import StepFailedError
from shared.graph.suggest import shown
from shared.store import vault
from shared.vault import KeyRing, VaultError

_log = structlog.get_logger(__name__)

#: Seconds for which a value that was read is good, the time of reading it included.
FRESH: Final = 1.0
#: Items that are remembered, and characters of their values together.
_MOST_ITEMS: Final = 1024
_MOST_CHARACTERS: Final = 4 * 1024 * 1024
#: No `Retry.on` names it: another attempt would find the same.
CATEGORY: Final = "vault"

_Key = tuple[UUID, str]


class _Value(NamedTuple):
    """What is known of an item; ``text`` is None if there is none, or it cannot be read."""

    text: str | None
    code: str
    good_until: float


class VaultValues:
    """Reads and decrypts values.

    Args:
        pool: of connections.
        keys: the ring.
        patience: seconds to go on trying while the database is away; None for ever, for those who have a time-out.
        clock: seconds, never going back.
    """

    def __init__(
        self,
        pool: asyncpg.Pool,
        keys: KeyRing,
        *,
        patience: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._pool = pool
        self._keys = keys
        self._clock = clock
        self._values: OrderedDict[_Key, _Value] = OrderedDict()
        self._characters = 0
        self._reading: Batcher[_Key, _Value] = Batcher(self._read, name="vault", patience=patience)

    async def values(self, workspace_id: UUID, names: Collection[str]) -> dict[str, str]:
        """The values of items by name, at most a second old.

        Raises:
            StepFailedError: ``vault_item_missing``, ``vault_item_expired`` or ``vault_item_unreadable``.
        """
        found = await self._known(workspace_id, names)
        for name, value in found.items():
            if value.code:
                raise StepFailedError(value.code, _MESSAGES[value.code].format(name=shown(name)), category=CATEGORY)
        return {name: value.text or "" for name, value in found.items()}

    async def texts(self, workspace_id: UUID, names: Collection[str]) -> list[str]:
        """The values that there are, those of expired items too."""
        return [value.text for value in (await self._known(workspace_id, names)).values() if value.text is not None]

    async def _known(self, workspace_id: UUID, names: Collection[str]) -> dict[str, _Value]:
        now = self._clock()
        kept = {name: self._values.get((workspace_id, name)) for name in names}
        found = {name: value for name, value in kept.items() if value is not None and value.good_until > now}
        wanted = [self._reading.enqueue((workspace_id, name)) for name in names if name not in found]
        missing = [name for name in names if name not in found]
        for name, future in zip(missing, wanted, strict=True):
            found[name] = await future
        return found

    async def _read(self, keys: Sequence[_Key], _: bool) -> list[_Value]:
        began = self._clock()
        by_workspace: dict[UUID, set[str]] = {}
        for workspace_id, name in keys:
            by_workspace.setdefault(workspace_id, set()).add(name)
        async with self._pool.acquire() as connection:
            rows = {
                (workspace_id, row.name): row
                for workspace_id, names in by_workspace.items()
                for row in await vault.named(connection, workspace_id, names)
            }
        found = {key: self._value(rows.get(key), began + FRESH) for key in set(keys)}
        for key, value in found.items():
            self._keep(key, value)
        return [found[key] for key in keys]

    def _value(self, row: vault.Stored | None, good_until: float) -> _Value:
        if row is None:
            return _Value(None, "vault_item_missing", good_until)
        try:
            text = self._keys.decrypt(row.secret, context=vault.secret_context(row.id)).decode()
        except VaultError as error:
            _log.error("a vault item cannot be read", item=str(row.id), code=error.code, reason=error.message)
            return _Value(None, "vault_item_unreadable", good_until)
        return _Value(text, "vault_item_expired" if row.expired else "", good_until)

    def _keep(self, key: _Key, value: _Value) -> None:
        self._forget(key)
        self._values[key] = value
        self._characters += len(value.text or "")
        while len(self._values) > _MOST_ITEMS or self._characters > _MOST_CHARACTERS:
            self._forget(next(iter(self._values)))

    def _forget(self, key: _Key) -> None:
        value = self._values.pop(key, None)
        if value is not None:
            self._characters -= len(value.text or "")


_MESSAGES: Final = {
    "vault_item_missing": "There is no vault item {name} in this workspace any more.",
    "vault_item_expired": "The vault item {name} has expired; give it another secret and time, or none.",
    "vault_item_unreadable": "The vault item {name} cannot be decrypted; the log of the worker says why.",
}
