"""``edgewise vault rotate``: everything that is encrypted comes under the newest key of the ring."""

from collections import Counter

import asyncpg
import msgspec

from shared.config import Config
from shared.store.rotation import ENCRYPTED
from shared.store.rotation import rotate as each
from shared.vault import parse_keys


class Rotated(msgspec.Struct, frozen=True):
    """What was done.

    Attributes:
        key: the id of the newest key.
        rotated: values that are under it now and were not, by column.
        unreadable: values that no key of the ring decrypts, by column.
    """

    key: str
    rotated: dict[str, int]
    unreadable: dict[str, int]


async def rotate(config: Config) -> Rotated:
    """Move everything to the newest key, on a connection of its own."""
    keys = parse_keys(config.vault_keys)
    rotated: Counter[str] = Counter({column.name: 0 for column in ENCRYPTED})
    unreadable: Counter[str] = Counter()
    connection = await asyncpg.connect(config.database_url)
    try:
        async for turned in each(connection, keys):
            rotated[turned.column] += turned.rotated
            unreadable[turned.column] += turned.unreadable
    finally:
        await connection.close()
    return Rotated(keys.newest, dict(rotated), {name: count for name, count in unreadable.items() if count})


def told(done: Rotated) -> str:
    """The same for people."""
    lines = [f"{name}: {count} values under {done.key} now" for name, count in done.rotated.items() if count]
    lines += [
        f"{name}: {count} values could not be decrypted; their key is not in the ring"
        for name, count in done.unreadable.items()
    ]
    return "\n".join(lines or [f"nothing to do: everything is under {done.key}"])
