"""The one configuration: read in one place, validated whole at start, immutable afterwards.

Every field of `Config` is one environment variable, ``EDGEWISE_`` + the field's name in capitals. A secret may be given
as ``..._FILE`` instead, the path of a file that holds it. docs/configuration.md is made by `table`.
"""

from collections.abc import Callable, Container, Iterator, Mapping
from difflib import get_close_matches
from ipaddress import IPv4Network, IPv6Network, ip_network
from math import isfinite
from pathlib import Path
from typing import Annotated, Any, Literal, get_args
from urllib.parse import urlsplit

import msgspec
from msgspec import NODEFAULT, Meta

from shared.egress.allow import parse_allow
from shared.errors import ConfigError, Fault
from shared.vault import parse_keys

PREFIX = "EDGEWISE_"
_FILE = "_FILE"
_LEAST_SECRET_BYTES = 32


def _doc(description: str, **rules: Any) -> Meta:
    return Meta(description=description, **rules)


def _secret(description: str) -> Meta:
    return Meta(description=description, extra={"secret": True})


_Port = Annotated[int, Meta(ge=0, le=65535)]
_Pool = Annotated[int, Meta(ge=1, le=1000)]


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that can be set. Durations are in seconds, sizes in bytes, as their names or descriptions say."""

    database_url: Annotated[str, _secret("Postgres for requests and the engine, `postgresql://...`; may be a pooler.")]
    database_direct_url: Annotated[
        str, _secret("Postgres without a pooler, for migrations. Empty: the same as `EDGEWISE_DATABASE_URL`.")
    ] = ""
    broker_url: Annotated[str, _secret("The Redis-protocol server, `redis://...` or `rediss://...`.")]
    public_url: Annotated[str, _doc("The base of every URL that is handed out, such as webhook URLs.")] = (
        "http://127.0.0.1:8080"
    )
    host: Annotated[str, _doc("The address the api listens on.")] = "127.0.0.1"
    port: Annotated[_Port, _doc("The port the api listens on.")] = 8080
    jwt_secret: Annotated[str, _secret("The shared secret of HS256 tokens, at least 32 bytes.")]
    jwt_issuer: Annotated[str, _doc("The `iss` a token must carry. Empty: any.")] = ""
    jwt_audience: Annotated[str, _doc("The `aud` a token must carry. Empty: any.")] = ""
    jwt_workspace_claim: Annotated[str, _doc("The claim that names the workspace.", min_length=1)] = "workspace"
    jwt_scope_claim: Annotated[str, _doc("The claim that lists the scopes.", min_length=1)] = "scope"
    vault_keys: Annotated[
        str, _secret("The key ring, `id:base64 of 32 bytes`, comma-separated; the first encrypts, all decrypt.")
    ]
    egress_allow: Annotated[
        str, _doc("Internal targets that outbound calls may reach: CIDRs, hosts or host:port, comma-separated.")
    ] = ""
    egress_proxy: Annotated[str, _doc("The HTTP proxy for outbound calls. Empty: none.")] = ""
    egress_per_host: Annotated[
        int,
        _doc("Calls at the same time to one host and port, for each workspace in one worker or api.", ge=1, le=100_000),
    ] = 128
    egress_breaker_failures: Annotated[
        int, _doc("Calls in a row without an answer after which a host is left alone for a while; 0: never.", ge=0)
    ] = 10
    egress_breaker_seconds: Annotated[
        float, _doc("For how long such a host is left alone before one call tries it again.", ge=0.1, le=3600)
    ] = 15.0
    oauth2_provider: Annotated[
        str, _doc("The name of the OAuth2 provider of authorizations that are made without a body.", min_length=1)
    ] = "default"
    oauth2_base_url: Annotated[str, _doc("The API that its tokens are for. Empty: there is no such provider.")] = ""
    oauth2_authorize_url: Annotated[str, _doc("Where people consent.")] = ""
    oauth2_token_url: Annotated[str, _doc("Where it gives tokens.")] = ""
    oauth2_client_id: Annotated[str, _doc("The client that Edgewise is there.")] = ""
    oauth2_client_secret: Annotated[str, _secret("The secret of that client. Empty: a public client.")] = ""
    oauth2_client_auth: Annotated[
        Literal["basic", "post"], _doc("How the client shows its secret: a Basic header, or fields of the form.")
    ] = "basic"
    oauth2_scopes: Annotated[str, _doc("The scopes that are asked for, with blanks between them.")] = ""
    oauth2_audience: Annotated[str, _doc("The audience that is asked for. Empty: none.")] = ""
    lease_seconds: Annotated[
        float, _doc("How long a silent worker keeps its steps before others take them.", ge=1, le=600)
    ] = 6.0
    worker_slots: Annotated[int, _doc("Steps in flight in one worker process.", ge=1, le=100_000)] = 256
    worker_threads: Annotated[int, _doc("Threads that read messages in one worker process.", ge=1, le=256)] = 8
    window: Annotated[int, _doc("Unclaimed references per workflow in the broker.", ge=1, le=1_000_000)] = 2000
    grace_seconds: Annotated[
        float, _doc("How long steps in flight may go on after SIGTERM, handing back included.", ge=0, le=3600)
    ] = 20.0
    webhook_max_bytes: Annotated[int, _doc("The largest webhook body.", ge=1024, le=64 * 1024 * 1024)] = 1024 * 1024
    sync_seconds: Annotated[float, _doc("How long a synchronous request waits for its run.", ge=0.1, le=600)] = 30.0
    trusted_proxies: Annotated[
        str,
        _doc(
            "Addresses and CIDRs of proxies in front of the api, comma-separated: what they write into X-Forwarded-For "
            "is believed, for `allowed_ips` of webhooks. Empty: nobody is."
        ),
    ] = ""
    max_open_runs: Annotated[int, _doc("Open runs past which triggers are answered with 429.", ge=1)] = 100_000
    max_open_runs_per_workspace: Annotated[
        int,
        _doc(
            "The same for each workspace: past it its triggers are answered with 429, and those of others are not. It "
            "counts only if it is lower than EDGEWISE_MAX_OPEN_RUNS.",
            ge=1,
        ),
    ] = 100_000
    keep_runs_days: Annotated[int, _doc("Days for which runs that have ended are kept.", ge=1, le=36500)] = 90
    keep_deliveries_days: Annotated[int, _doc("Days for which webhook requests are kept.", ge=1, le=365)] = 7
    metrics_host: Annotated[str, _doc("The address of the probes of scheduler and worker.")] = "127.0.0.1"
    metrics_port: Annotated[_Port, _doc("The port of the probes of scheduler and worker. 0: any free one.")] = 0
    api_pool: Annotated[_Pool, _doc("Database connections of one api process.")] = 8
    worker_pool: Annotated[_Pool, _doc("Database connections of one worker process.")] = 8
    scheduler_pool: Annotated[_Pool, _doc("Database connections of one scheduler process.")] = 4
    log_format: Annotated[
        Literal["auto", "json", "console"], _doc("`auto` is colours on a terminal and JSON lines elsewhere.")
    ] = "auto"
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"], _doc("The least severe level that is logged.")
    ] = "info"

    def __repr__(self) -> str:
        """The fields with every secret blanked, fit for a log."""
        shown = (f"{name}={'***' if secret else getattr(self, name)!r}" for name, _, _, secret in _fields())
        return f"Config({', '.join(shown)})"


def load(env: Mapping[str, str], *, unread: Container[str] = ()) -> Config:
    """Read the configuration from an environment.

    Args:
        env: the variables.
        unread: fields that the caller does not read; what is required of them may be missing, and is empty then.

    Raises:
        ConfigError: with one fault for everything that is wrong: missing, unknown, malformed or out of range.
    """
    faults = list(_unknown(env))
    values: dict[str, Any] = {}
    for name, kind, default, secret in _fields():
        variable = PREFIX + name.upper()
        try:
            text = _text(env, name, secret=secret)
            if text:
                values[name] = _parse(variable, kind, text, secret=secret)
            elif default is NODEFAULT and name in unread:
                values[name] = ""
            elif default is NODEFAULT:
                either = f" (or {variable}{_FILE})" if secret else ""
                faults.append(Fault(variable, "required", f"{variable}{either} is required. {_meaning(kind)}"))
        except ValueError as error:
            faults.append(Fault(variable, "invalid", str(error)))
    faults.extend(_cross(values))
    if faults:
        raise ConfigError(
            "config_invalid", "The configuration has faults: " + " ".join(f.message for f in faults), faults=faults
        )
    return Config(**_completed(values))


def table() -> str:
    """The documented table of every variable, in Markdown."""
    lines = ["| variable | default | meaning |", "|---|---|---|"]
    for name, kind, default, secret in _fields():
        shown = "required" if default is NODEFAULT else f"`{default}`" if default != "" else ""
        lines.append(f"| `{PREFIX}{name.upper()}`{' (or `_FILE`)' if secret else ''} | {shown} | {_meaning(kind)} |")
    return "\n".join(lines) + "\n"


def variables(config: Config) -> dict[str, str]:
    """The environment that `load` makes this configuration of; what a parent gives its children."""
    return {PREFIX + name.upper(): str(getattr(config, name)) for name, _, _, _ in _fields()}


def _fields() -> Iterator[tuple[str, Any, Any, bool]]:
    """Each field as (name, annotated type, default or NODEFAULT, is it a secret)."""
    annotations = Config.__annotations__
    for field in msgspec.structs.fields(Config):
        kind = annotations[field.name]
        secret = any(isinstance(meta, Meta) and meta.extra == {"secret": True} for meta in get_args(kind))
        yield field.name, kind, field.default, secret


def _meaning(kind: Any) -> str:
    """The description and the legal values of an annotated type."""
    metas = [meta for meta in get_args(kind) if isinstance(meta, Meta)]
    text = " ".join(meta.description for meta in metas if meta.description)
    base = get_args(kind)[0]
    if hasattr(base, "__args__"):
        text += " One of " + ", ".join(f"`{value}`" for value in get_args(base)) + "."
    low = next((meta.ge for meta in metas if meta.ge is not None), None)
    high = next((meta.le for meta in metas if meta.le is not None), None)
    if low is not None:
        text += f" From {low}" + (f" to {high}." if high is not None else ".")
    return text


def _unknown(env: Mapping[str, str]) -> Iterator[Fault]:
    """A fault for every ``EDGEWISE_`` variable that nothing reads, with the nearest one that something does."""
    known = [PREFIX + name.upper() for name, _, _, _ in _fields()]
    known += [PREFIX + name.upper() + _FILE for name, _, _, secret in _fields() if secret]
    for key in sorted(env):
        if key.startswith(PREFIX) and key not in known:
            near = get_close_matches(key, known, n=1)
            hint = f" Did you mean {near[0]}?" if near else f" The known ones are {', '.join(known)}."
            yield Fault(key, "unknown_variable", f"{key} is not a variable of Edgewise.{hint}")


def _text(env: Mapping[str, str], name: str, *, secret: bool) -> str | None:
    """The text of a variable, from its file if it is a secret given so; None or empty if it is not set."""
    variable = PREFIX + name.upper()
    path = env.get(variable + _FILE) if secret else None
    text = env.get(variable)
    if not path:
        return text and text.strip()
    if text:
        raise ValueError(f"{variable} and {variable}{_FILE} are both set: give one of them.")
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{variable}{_FILE} names {path!r}, which can't be read: {error}.") from error


def _parse(variable: str, kind: Any, text: str, *, secret: bool) -> Any:
    """The value of a variable's text."""
    try:
        value = msgspec.convert(text, kind, strict=False)
    except msgspec.ValidationError:
        value = None
    if value is None or (isinstance(value, float) and not isfinite(value)):
        shown = "" if secret else f"={text}"
        raise ValueError(f"{variable}{shown} is not legal. {_meaning(kind)}")
    return value


_SCHEMES = {
    "database_url": ("postgresql", "postgres"),
    "database_direct_url": ("postgresql", "postgres"),
    "broker_url": ("redis", "rediss"),
    "public_url": ("http", "https"),
    "egress_proxy": ("http", "https"),
    "oauth2_base_url": ("http", "https"),
    "oauth2_authorize_url": ("http", "https"),
    "oauth2_token_url": ("http", "https"),
}
#: An OAuth2 provider is given whole or not at all.
_OAUTH2 = ("oauth2_base_url", "oauth2_authorize_url", "oauth2_token_url", "oauth2_client_id")


def _cross(values: Mapping[str, Any]) -> Iterator[Fault]:
    """The rules that a type can't state."""
    yield from _syntax(values)
    for name, schemes in _SCHEMES.items():
        text = values.get(name)
        if text and not _is_url(text, schemes):
            rule = " or ".join(f"{scheme}://host..." for scheme in schemes)
            yield Fault(PREFIX + name.upper(), "invalid", f"{PREFIX}{name.upper()} must be a URL of the form {rule}.")
    given = [name for name in _OAUTH2 if values.get(name)]
    for name in _OAUTH2 if given else ():
        if name not in given:
            others = ", ".join(PREFIX + other.upper() for other in given)
            message = f"{PREFIX}{name.upper()} is required beside {others}: a provider is given whole or not at all."
            yield Fault(PREFIX + name.upper(), "required", message)
    secret = values.get("jwt_secret")
    if secret is not None and len(secret.encode()) < _LEAST_SECRET_BYTES:
        yield Fault(
            f"{PREFIX}JWT_SECRET", "invalid", f"{PREFIX}JWT_SECRET must have at least {_LEAST_SECRET_BYTES} bytes."
        )


def parse_networks(text: str) -> tuple[IPv4Network | IPv6Network, ...]:
    """The ranges of a comma-separated list.

    Raises:
        ConfigError: ``invalid_config``, with a fault for each that is none.
    """
    networks, faults = [], []
    for entry in filter(None, map(str.strip, text.split(","))):
        try:
            networks.append(ip_network(entry))
        except ValueError as error:
            message = f"{PREFIX}TRUSTED_PROXIES: {entry[:60]!r} is no address and no CIDR: {error}."
            faults.append(Fault(f"{PREFIX}TRUSTED_PROXIES", "invalid", message))
    if faults:
        raise ConfigError("invalid_config", "Ranges can't be read.", faults=faults)
    return tuple(networks)


_PARSERS: Mapping[str, Callable[[str], object]] = {
    "vault_keys": parse_keys,
    "egress_allow": parse_allow,
    "trusted_proxies": parse_networks,
}


def _syntax(values: Mapping[str, Any]) -> Iterator[Fault]:
    """The faults of values with a syntax of their own."""
    for name, parse in _PARSERS.items():
        try:
            if values.get(name):
                parse(values[name])
        except ConfigError as error:
            yield from error.faults


def _is_url(text: str, schemes: tuple[str, ...]) -> bool:
    try:
        parts = urlsplit(text)
        _ = parts.port  # raises when it is no number
    except ValueError:
        return False
    return parts.scheme in schemes and bool(parts.netloc or parts.query)


def _completed(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values with what follows from others filled in."""
    done = dict(values)
    done["database_direct_url"] = done.get("database_direct_url") or done["database_url"]
    if "public_url" in done:
        done["public_url"] = done["public_url"].rstrip("/")
    return done
