"""What is looked up of API keys, and what is remembered."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple
from uuid import UUID

import pytest

from api import api_keys
from api.api_keys import ApiKeys, hash_key
from shared.errors import AuthenticationError
from shared.ids import new_secret

_WORKSPACE = UUID(int=7)


class _Found(NamedTuple):
    name: str = "api-key:ci"
    workspace_id: UUID = _WORKSPACE
    seconds_left: float | None = None


class _Stored:
    """A database with one key in it, which counts how often it is asked."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.key = new_secret("wfk")
        self.asked = 0
        monkeypatch.setattr(api_keys, "reading", self._reading)
        monkeypatch.setattr(api_keys.vault, "key", self._look)
        self.keys = ApiKeys(None, lambda: 0.0)  # type: ignore[arg-type] # nobody takes a connection from it

    async def is_known(self, key: str) -> bool:
        """Whether a text is taken for a key."""
        try:
            return (await self.keys.principal(key)).workspace_id == _WORKSPACE
        except AuthenticationError:
            return False

    @asynccontextmanager
    async def _reading(self, pool: Any) -> AsyncIterator[Any]:
        yield pool

    async def _look(self, _: Any, key_hash: bytes) -> _Found | None:
        self.asked += 1
        return _Found() if key_hash == hash_key(self.key) else None


async def test_what_has_not_the_shape_of_a_key_is_not_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another length, other characters, another prefix: refused without a question."""
    stored = _Stored(monkeypatch)
    key = stored.key
    for text in ("wfk_", key[:-1], key + "A", key[:-1] + "=", key[:-1] + "\n", "x" + key, "wfk" + key[4:] + "A"):
        assert not await stored.is_known(text)
    assert stored.asked == 0
    assert await stored.is_known(key)


async def test_a_flood_of_texts_that_are_no_keys_drives_no_key_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is remembered of a key stays, however many others are tried; each of those is looked up once."""
    monkeypatch.setattr(api_keys, "_SIZE", 10)
    stored = _Stored(monkeypatch)
    assert await stored.is_known(stored.key)
    for _ in range(30):
        wrong = new_secret("wfk")
        assert not await stored.is_known(wrong)
        assert not await stored.is_known(wrong)
    assert stored.asked == 31
    assert await stored.is_known(stored.key)
    assert stored.asked == 31
