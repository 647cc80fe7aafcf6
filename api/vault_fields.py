"""The fields of a vault item as callers send and receive them."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Final

import msgspec
from msgspec import UNSET, Meta, UnsetType

from api.fields import read_fields
from shared.errors import Fault

#: What the name of an API key begins with.
KEY_PREFIX: Final = "api-key:"
#: Characters of a secret: a shorter one could be guessed, and would be found by chance in texts that it is blanked in.
LEAST_SECRET: Final = 8
#: Bytes of a secret in UTF-8.
MOST_SECRET: Final = 64 * 1024
_VALUE_RULE: Final = "a text of at least 8 characters and at most 65,536 bytes in UTF-8"
_EXPIRY_RULE: Final = "a time in the future in ISO 8601, such as 2030-10-31T12:00:00Z, or null"

_Name = Annotated[str, Meta(min_length=3, max_length=50, description="a text of 3 to 50 characters")]
_Secret = Annotated[
    Annotated[str, Meta(min_length=LEAST_SECRET)] | UnsetType,
    Meta(description=f"{_VALUE_RULE}; left out where the name begins with api-key:"),
]
_ExpiresAt = Annotated[str | None, Meta(description=_EXPIRY_RULE)]


class NewVaultItem(msgspec.Struct, frozen=True):
    """What a vault item is created of."""

    name: _Name
    secret: _Secret = UNSET
    expires_at: _ExpiresAt = None


class VaultItemChange(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is to change of a vault item; what is left out stays."""

    name: _Name | UnsetType = UNSET
    secret: _Secret = UNSET
    expires_at: _ExpiresAt | UnsetType = UNSET


class VaultItem(msgspec.Struct, frozen=True, kw_only=True):
    """The vault item object; never its value, but for an API key in the answer that makes it.

    Attributes:
        used_by: ids of the workflows whose current version names it.
        secret: the API key that was just made; it is shown this once.
    """

    id: str
    name: str
    created_at: str
    expires_at: str | None
    updated_at: str
    used_by: list[str]
    secret: str | UnsetType = UNSET


#: Fields of the object that bodies may repeat and that mean nothing there.
READ_ONLY: Final = frozenset({"id", "created_at", "updated_at", "used_by"})


class Given(msgspec.Struct, frozen=True):
    """What a request says of an item; UNSET for what it leaves out."""

    name: str | UnsetType = UNSET
    secret: str | UnsetType = UNSET
    expires_at: datetime | UnsetType | None = UNSET


def read_item(
    raw: Mapping[str, Any], now: datetime, *, is_key: bool | None, expires_at: datetime | None = None
) -> tuple[Given, list[Fault]]:
    """What a request says of an item, and every fault of it; no fault shows a secret.

    Args:
        raw: the object.
        now: Postgres's time.
        is_key: whether the item is an API key; None for a new one, which its name decides.
        expires_at: what the item has: it may be said again when that is past.
    """
    fields = {name: value for name, value in raw.items() if name != "secret"}
    values, faults = read_fields(NewVaultItem, fields, ignored=READ_ONLY)
    name = values.get("name", UNSET)
    expiry, wrong = _expiry(values.get("expires_at", UNSET), now, expires_at)
    as_key = is_key if is_key is not None else isinstance(name, str) and name.startswith(KEY_PREFIX)
    faults += [*wrong, *_secret_faults(raw, as_key=as_key, new=is_key is None), *_name_faults(name, is_key)]
    secret = raw.get("secret", UNSET)
    return Given(name, secret if isinstance(secret, str) else UNSET, expiry), faults


def _secret_faults(raw: Mapping[str, Any], *, as_key: bool, new: bool) -> list[Fault]:
    if "secret" not in raw:
        message = "The 'secret' parameter is required for this request."
        return [Fault("secret", "parameter_missing", message)] if new and not as_key else []
    if as_key:
        message = (
            f"secret must be left out: the service makes API keys. For a fresh one, make another {KEY_PREFIX} item."
        )
        return [Fault("secret", "invalid_value", message)]
    if not _is_secret(raw["secret"]):
        return [Fault("secret", "invalid_value", f"secret must be {_VALUE_RULE}.")]
    return []


def _is_secret(value: Any) -> bool:
    if not isinstance(value, str) or len(value) < LEAST_SECRET:
        return False
    try:
        return len(value.encode()) <= MOST_SECRET
    except UnicodeEncodeError:  # a lone surrogate
        return False


def _name_faults(name: str | UnsetType, is_key: bool | None) -> list[Fault]:
    if not isinstance(name, str):
        return []
    if name == KEY_PREFIX:
        return [Fault("name", "invalid_value", f"name must say something behind {KEY_PREFIX}")]
    if is_key is not None and name.startswith(KEY_PREFIX) is not is_key:
        rule = "must go on beginning" if is_key else "cannot begin"
        message = f"name {rule} with {KEY_PREFIX}: a secret and an API key do not become one another."
        return [Fault("name", "invalid_value", message)]
    return []


def _expiry(
    text: str | UnsetType | None, now: datetime, stored: datetime | None
) -> tuple[datetime | UnsetType | None, list[Fault]]:
    if text is None or isinstance(text, UnsetType):
        return text, []
    try:
        moment = datetime.fromisoformat(text)
        moment = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        return UNSET, [Fault("expires_at", "invalid_value", f"expires_at must be {_EXPIRY_RULE}.")]
    if moment <= now and moment != stored:
        return UNSET, [Fault("expires_at", "invalid_value", f"expires_at must be {_EXPIRY_RULE}.")]
    return moment, []
