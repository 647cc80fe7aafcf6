"""What a request makes of an authorization: every rule, all faults at once. Pure."""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import msgspec
from msgspec import NODEFAULT

from api.authorization_fields import READ_ONLY, NewAuthorization
from api.fields import read_fields
from shared.authorizations.kinds import KINDS, SECRETS, Config, faults_of
from shared.errors import Fault, InvalidError

_REQUIRED: Final = ("name", "kind", "config")
_QUOTED: Final = 3


class Draft(NamedTuple):
    """An authorization about to be stored."""

    name: str
    kind: str
    config: Config


def draft(raw: Mapping[str, Any]) -> Draft:
    """The authorization that a body asks for.

    Raises:
        InvalidError: with every fault; none shows a secret.
    """
    given, faults = read_fields(NewAuthorization, raw, ignored=READ_ONLY, secret=("config",))
    faults += [_missing(name) for name in _REQUIRED if name not in raw]
    config: Config | None = None
    if "kind" in given and "config" in given:
        config, wrong = _config(KINDS[given["kind"]], given["config"])
        faults += wrong
    if faults or config is None:
        told = " ".join(fault.message for fault in faults[:_QUOTED])
        more = f" And {len(faults) - _QUOTED} more." if len(faults) > _QUOTED else ""
        raise InvalidError("validation_failed", f"The authorization breaks rules. {told}{more}", faults=faults)
    return Draft(given["name"], given["kind"], config)


def _config(kind: type[Config], raw: Mapping[str, Any]) -> tuple[Config | None, list[Fault]]:
    """The configuration, None if it has faults."""
    # The name that OAuth2 itself has for them.
    renamed = {"scopes" if name == "scope" and "scopes" not in raw else name: value for name, value in raw.items()}
    values, faults = read_fields(kind, renamed, prefix="config.", secret=SECRETS)
    fields = msgspec.structs.fields(kind)
    required = [
        field.encode_name for field in fields if field.default is NODEFAULT and field.default_factory is NODEFAULT
    ]
    faults += [_missing(f"config.{name}") for name in required if name not in renamed]
    faults += [Fault(f"config.{name}", "invalid_value", message) for name, message in faults_of(values)]
    return (None, faults) if faults else (kind(**values), [])


def _missing(path: str) -> Fault:
    return Fault(path, "parameter_missing", f"The '{path}' parameter is required for this request.")
