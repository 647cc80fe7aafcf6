"""The five kinds of authorizations: what each is configured with, and what a legal configuration is."""

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Final, Literal, get_args

import msgspec
from msgspec import Meta

from shared.authorizations.requests import OWN_PARAMETERS
from shared.egress.fields import check_headers
from shared.egress.target import parse_url
from shared.errors import StepFailedError

Kind = Literal["bearer", "basic", "header", "oauth2_client_credentials", "oauth2_authorization_code"]

_URL_RULE: Final = "an http or https URL of at most 2,000 characters"
#: Characters of a secret, as of the vault's: shorter ones are looked for in nothing that a run leaves behind.
_SHORTEST: Final = 8
_TEXT_RULE: Final = f"a text of {_SHORTEST} to 16,384 characters without line breaks"
_Url = Annotated[str, Meta(min_length=1, max_length=2000, description=_URL_RULE)]
_Secret = Annotated[str, Meta(min_length=1, max_length=16_384, description=_TEXT_RULE, extra={"secret": True})]
_Word = Annotated[str, Meta(min_length=1, max_length=2000, description="a text of 1 to 2,000 characters")]
_Audience = Annotated[
    Annotated[str, Meta(min_length=1, max_length=2000)] | None,
    Meta(description="a text of 1 to 2,000 characters, or null"),
]
_Provider = Annotated[
    Annotated[str, Meta(min_length=1, max_length=100)] | None,
    Meta(description="a text of 1 to 100 characters, or null"),
]
_Scopes = Annotated[
    Annotated[list[str], Meta(max_length=100)] | str,
    Meta(description="a list of at most 100 scopes, or a text of scopes with blanks between them"),
]
_ClientAuth = Annotated[
    Literal["basic", "post"],
    Meta(description="basic (a Basic header) or post (fields of the form)"),
]
_Parameters = Annotated[
    Annotated[dict[str, str], Meta(max_length=20)],
    Meta(description="an object of at most 20 texts by the name of a query parameter"),
]
_OptionalSecret = Annotated[
    Annotated[str, Meta(min_length=1, max_length=16_384)] | None,
    Meta(description=f"{_TEXT_RULE}, or null", extra={"secret": True}),
]


class Bearer(msgspec.Struct, frozen=True):
    """A token that does not change, sent as ``Authorization: Bearer``."""

    base_url: _Url
    token: _Secret


class Basic(msgspec.Struct, frozen=True):
    """A user name and a password, sent as ``Authorization: Basic``."""

    base_url: _Url
    username: _Word
    password: _Secret


class Header(msgspec.Struct, frozen=True):
    """A secret in a header of its own, such as ``X-Api-Key``."""

    base_url: _Url
    name: _Word
    value: _Secret


class ClientCredentials(msgspec.Struct, frozen=True):
    """OAuth2 for a client that acts for itself (RFC 6749, 4.4).

    Attributes:
        audience: for providers that ask which API the token is for.
        client_auth: how the client shows who it is at ``token_url``.
    """

    base_url: _Url
    token_url: _Url
    client_id: _Word
    client_secret: _Secret
    scopes: _Scopes = []
    audience: _Audience = None
    client_auth: _ClientAuth = "basic"
    provider: _Provider = None


class AuthorizationCode(msgspec.Struct, frozen=True):
    """OAuth2 for a person who consents in a browser (RFC 6749, 4.1, with PKCE, RFC 7636).

    Attributes:
        client_secret: None for a public client.
        parameters: further ones of the consent's URL, such as ``access_type``.
        provider: its name; by default the host of ``token_url``.
    """

    base_url: _Url
    authorize_url: _Url
    token_url: _Url
    client_id: _Word
    client_secret: _OptionalSecret = None
    scopes: _Scopes = []
    audience: _Audience = None
    client_auth: _ClientAuth = "basic"
    parameters: _Parameters = {}
    provider: _Provider = None


class StoredCode(AuthorizationCode, frozen=True):
    """The same as it is stored.

    Attributes:
        from_settings: whether it is the operator's provider, whose secret is read from the settings each time.
    """

    from_settings: bool = False


Static = Bearer | Basic | Header
OAuth2 = ClientCredentials | AuthorizationCode
Config = Static | OAuth2

KINDS: Final[Mapping[str, type[Config]]] = dict(
    zip(get_args(Kind), (Bearer, Basic, Header, ClientCredentials, AuthorizationCode), strict=True)
)
_STORED: Final[Mapping[str, type[Config]]] = {**KINDS, "oauth2_authorization_code": StoredCode}
#: Fields whose values no message shows.
SECRETS: Final = frozenset({"token", "password", "value", "client_secret"})
_SCOPE: Final = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+")


def encode(config: Config) -> bytes:
    """The text of a configuration, as it is stored."""
    return msgspec.json.encode(config)


def decode(kind: str, text: bytes) -> Config:
    """The configuration of a stored text."""
    return msgspec.json.decode(text, type=_STORED[kind])


def scopes_of(config: OAuth2) -> list[str]:
    """The scopes, one by one."""
    return config.scopes.split() if isinstance(config.scopes, str) else list(config.scopes)


def provider_of(config: Config) -> str | None:
    """The name of the provider of an OAuth2 configuration: its own, or the host that gives the tokens."""
    if not isinstance(config, OAuth2):
        return None
    return config.provider or parse_url(config.token_url)[0].host


def faults_of(values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What is wrong with the fields of a configuration that have the right types, as (field, sentence).

    No sentence shows a secret.
    """
    for name in ("base_url", "token_url", "authorize_url"):
        if name in values:
            yield from _url_faults(name, values[name])
    for name in sorted(SECRETS & values.keys()):
        if 0 < len(values[name] or "") < _SHORTEST:  # no bound of the type: what was stored before stays legible
            yield name, f"{name} must be {_TEXT_RULE}; shorter ones could not be blanked in logs and outputs."
            continue
        yield from _header_faults("X-Secret", values[name] or "", name, f"{name} must be {_TEXT_RULE}.")
    if "name" in values:
        yield from _header_faults(values["name"], "", "name", None)
    if ":" in values.get("username", ""):
        yield "username", "A user name of Basic authentication has no colon."
    yield from _scope_faults(values.get("scopes", []))
    for name in sorted(OWN_PARAMETERS & values.get("parameters", {}).keys()):
        yield "parameters", f"parameters may not hold {name!r}: it is set by the flow itself."
    if not all(text.isprintable() for pair in values.get("parameters", {}).items() for text in pair):
        yield "parameters", "parameters are made of printable characters."


def _url_faults(name: str, text: str) -> Iterator[tuple[str, str]]:
    try:
        _, url = parse_url(text)
    except StepFailedError as error:
        yield name, f"{name}: {error.message}"
        return
    if "#" in text:
        yield name, f"{name} has no fragment (#...)."
    if name == "base_url" and ("?" in text or _climbs(url.raw_path)):
        yield name, "base_url has no query (?...) and no '..'; what is called is put behind it."


def _climbs(path: str) -> bool:
    return ".." in path.split("/")


def _header_faults(header: str, value: str, name: str, message: str | None) -> Iterator[tuple[str, str]]:
    try:
        check_headers([(header, value)])
    except StepFailedError as error:
        yield name, message or f"{name}: {error.message}"


def _scope_faults(scopes: Any) -> Iterator[tuple[str, str]]:
    parts = scopes.split() if isinstance(scopes, str) else scopes
    if any(not _SCOPE.fullmatch(scope) for scope in parts):
        yield "scopes", "A scope is made of printable ASCII characters but for blanks, quotes and backslashes."
