"""The configuration: read once, whole, with every fault named."""

import base64
from pathlib import Path

import pytest

from deploy import reference
from shared.config import load, variables
from shared.errors import ConfigError

_PAGE = Path(__file__).parents[2] / "docs" / "configuration.md"
_LEAST = {
    "EDGEWISE_DATABASE_URL": "postgresql://owner:secretpassword@db/edgewise",
    "EDGEWISE_BROKER_URL": "redis://:secretpassword@redis:6379/0",
    "EDGEWISE_JWT_SECRET": "secretpassword" * 3,
    "EDGEWISE_VAULT_KEYS": f"k1:{base64.b64encode(b'secretpassword' * 2 + b'1234').decode()}",
}


def _faults(env: dict[str, str]) -> dict[str, str]:
    """The messages of the faults, by variable."""
    with pytest.raises(ConfigError) as caught:
        load(env)
    return {fault.path: fault.message for fault in caught.value.faults}


def test_what_must_be_given_is_enough() -> None:
    """With the four required variables everything else has its default."""
    config = load(_LEAST)
    assert config.port == 8080
    assert config.lease_seconds == 6.0
    assert config.webhook_max_bytes == 1_048_576


def test_every_fault_is_told_at_once() -> None:
    """Missing, unknown, malformed, out of range and too short: one error lists them all."""
    faults = _faults(
        {
            "EDGEWISE_BROKER_URL": "amqp://x",
            "EDGEWISE_JWT_SECRET": "short",
            "EDGEWISE_VAULT_KEYS": "k1:not base64",
            "EDGEWISE_PORT": "70000",
            "EDGEWISE_WORKER_SLOTS": "many",
            "EDGEWISE_LOG_LEVEL": "loud",
            "EDGEWISE_LEASE_SECONDS": "nan",
            "EDGEWISE_EGRESS_ALLOW": "10.0.0.0/99",
            "EDGEWISE_HOTS": "0.0.0.0",
        }
    )
    assert set(faults) == {
        "EDGEWISE_DATABASE_URL",
        "EDGEWISE_BROKER_URL",
        "EDGEWISE_JWT_SECRET",
        "EDGEWISE_VAULT_KEYS",
        "EDGEWISE_PORT",
        "EDGEWISE_WORKER_SLOTS",
        "EDGEWISE_LOG_LEVEL",
        "EDGEWISE_LEASE_SECONDS",
        "EDGEWISE_EGRESS_ALLOW",
        "EDGEWISE_HOTS",
    }


def test_an_unknown_variable_is_answered_with_the_nearest_known_one() -> None:
    """A misspelt variable is refused, not ignored, and the message names the one that was meant."""
    assert "EDGEWISE_HOST" in _faults(_LEAST | {"EDGEWISE_HOTS": "::1"})["EDGEWISE_HOTS"]


def test_variables_of_others_are_left_alone() -> None:
    """Only the prefix is ours."""
    assert load(_LEAST | {"PATH": "/bin", "MY_EDGEWISE_PORT": "x"}) == load(_LEAST)


@pytest.mark.parametrize(
    ("variable", "text", "legal"),
    [
        ("EDGEWISE_PORT", "70000", "From 0 to 65535"),
        ("EDGEWISE_LOG_FORMAT", "xml", "`auto`, `json`, `console`"),
        ("EDGEWISE_PUBLIC_URL", "example.com", "http://host"),
    ],
)
def test_a_fault_names_the_legal_values(variable: str, text: str, legal: str) -> None:
    """The message says what would be accepted."""
    assert legal in _faults(_LEAST | {variable: text})[variable]


def test_a_secret_comes_from_a_file(tmp_path: Path) -> None:
    """``..._FILE`` names a file whose content, without the line end, is the value."""
    secret = tmp_path / "jwt"
    secret.write_text("x" * 40 + "\n")
    env = {key: value for key, value in _LEAST.items() if key != "EDGEWISE_JWT_SECRET"}
    assert load(env | {"EDGEWISE_JWT_SECRET_FILE": str(secret)}).jwt_secret == "x" * 40


def test_a_secret_given_twice_is_refused(tmp_path: Path) -> None:
    """A value and a file for the same secret contradict each other, even if they are equal."""
    assert "both set" in _faults(_LEAST | {"EDGEWISE_JWT_SECRET_FILE": str(tmp_path)})["EDGEWISE_JWT_SECRET"]


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    """The fault says which path was tried."""
    env = {key: value for key, value in _LEAST.items() if key != "EDGEWISE_JWT_SECRET"}
    missing = str(tmp_path / "missing")
    assert missing in _faults(env | {"EDGEWISE_JWT_SECRET_FILE": missing})["EDGEWISE_JWT_SECRET"]


def test_only_secrets_may_come_from_files() -> None:
    """``EDGEWISE_PORT_FILE`` is no variable."""
    assert "EDGEWISE_PORT_FILE" in _faults(_LEAST | {"EDGEWISE_PORT_FILE": "/x"})


def test_an_empty_variable_counts_as_not_set() -> None:
    """As compose files leave them: empty takes the default, and is missing where there is none."""
    assert load(_LEAST | {"EDGEWISE_PORT": ""}).port == 8080
    assert set(_faults(_LEAST | {"EDGEWISE_DATABASE_URL": ""})) == {"EDGEWISE_DATABASE_URL"}


def test_migrations_use_the_same_database_unless_told_otherwise() -> None:
    """The direct URL defaults to the ordinary one."""
    assert load(_LEAST).database_direct_url == _LEAST["EDGEWISE_DATABASE_URL"]
    direct = "postgresql://owner@primary/edgewise"
    assert load(_LEAST | {"EDGEWISE_DATABASE_DIRECT_URL": direct}).database_direct_url == direct


def test_no_secret_is_shown() -> None:
    """Neither the text of a configuration nor a fault's message holds a secret."""
    shown = repr(load(_LEAST)) + " ".join(_faults(_LEAST | {"EDGEWISE_VAULT_KEYS": "k:secretpassword"}).values())
    assert "secretpassword" not in shown


def test_a_configuration_survives_the_way_through_the_environment() -> None:
    """What a parent hands to its children is read back as the same configuration."""
    config = load(_LEAST | {"EDGEWISE_LEASE_SECONDS": "2.5", "EDGEWISE_EGRESS_ALLOW": "10.0.0.0/8,hooks:8080"})
    assert load(variables(config)) == config


def test_the_page_is_made_from_the_struct() -> None:
    """docs/configuration.md is what `make docs` writes now."""
    assert _PAGE.read_text(encoding="utf-8") == reference.page()
