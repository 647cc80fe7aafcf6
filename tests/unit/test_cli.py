"""The command line: help, exit codes, tokens, and what it says about a configuration."""

import base64
import json
import subprocess
import sys

import jwt
import pytest
from click.testing import CliRunner, Result

from deploy.cli import main

_ENV = {
    "EDGEWISE_DATABASE_URL": "postgresql://db/edgewise",
    "EDGEWISE_BROKER_URL": "redis://redis",
    "EDGEWISE_JWT_SECRET": "s" * 32,
    "EDGEWISE_VAULT_KEYS": f"k1:{base64.b64encode(b'k' * 32).decode()}",
}


def _run(*arguments: str, env: dict[str, str] | None = None) -> Result:
    return CliRunner(env=_ENV if env is None else env).invoke(main, arguments)


@pytest.mark.parametrize("command", [None, *main.commands])
def test_help_shows_an_example(command: str | None) -> None:
    """Every command explains itself with an example on a line of its own."""
    result = _run(*filter(None, [command]), "--help")
    assert result.exit_code == 0
    assert any(line.strip().startswith(("edgewise", "EDGEWISE_")) for line in result.output.splitlines())


def test_help_imports_nothing_heavy() -> None:
    """Help is instant: no database driver, web server or event loop is loaded for it."""
    code = (
        "import sys\nfrom deploy.cli import main\nmain(['--help'], standalone_mode=False)\n"
        "print(sorted({'asyncio', 'asyncpg', 'aiohttp', 'msgspec', 'jwt', 'dramatiq'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("[]\n")


@pytest.mark.parametrize("arguments", [["nothing"], ["up", "--port", "0"], ["token"], ["token", "--workspace"]])
def test_wrong_usage_is_exit_code_2(arguments: list[str]) -> None:
    """A command, option or value that does not exist is told apart from a failure."""
    assert _run(*arguments).exit_code == 2


def test_a_good_configuration_is_exit_code_0() -> None:
    """check-config says so, for people and for programs."""
    assert _run("check-config").exit_code == 0
    assert json.loads(_run("check-config", "--json").output) == {"valid": True, "errors": []}


def test_every_fault_of_a_configuration_is_a_line() -> None:
    """check-config ends with 1 and tells all faults, for people and for programs."""
    env = _ENV | {"EDGEWISE_PORT": "x", "EDGEWISE_HOTS": "y"}
    plain = _run("check-config", env=env)
    assert plain.exit_code == 1
    assert [line.split(" ")[0] for line in plain.stderr.splitlines()] == ["error:", "error:"]
    machine = _run("check-config", "--json", env=env)
    assert machine.exit_code == 1
    assert {fault["path"] for fault in json.loads(machine.stdout)["errors"]} == {"EDGEWISE_PORT", "EDGEWISE_HOTS"}


@pytest.mark.parametrize("service", ["api", "scheduler", "worker"])
def test_a_service_refuses_a_faulty_configuration(service: str) -> None:
    """Nothing starts with a configuration that is not whole."""
    result = _run(service, env=_ENV | {"EDGEWISE_DATABASE_URL": "mysql://db"})
    assert result.exit_code == 1
    assert "EDGEWISE_DATABASE_URL" in result.stderr


def test_a_token_carries_what_was_asked_for() -> None:
    """Workspace, scopes and life are in the claims, under the configured names, signed with the secret."""
    env = _ENV | {"EDGEWISE_JWT_ISSUER": "us", "EDGEWISE_JWT_AUDIENCE": "api", "EDGEWISE_JWT_WORKSPACE_CLAIM": "org"}
    options = ("--workspace", "acme", "--scope", "workflows:read", "--scope", "vault:read", "--ttl", "60")
    claims = jwt.decode(
        _run("token", *options, env=env).stdout.strip(), "s" * 32, ["HS256"], audience="api", issuer="us"
    )
    assert claims["org"] == "acme"
    assert claims["scope"] == "workflows:read vault:read"
    assert claims["exp"] - claims["iat"] == 60
    assert claims["sub"]


def test_a_token_needs_the_secret_alone() -> None:
    """Where tokens are made neither database nor broker need be known; what is known must be right all the same."""
    secret = {"EDGEWISE_JWT_SECRET": "s" * 32}
    assert _run("token", "--workspace", "acme", env=secret).exit_code == 0
    without = _run("token", "--workspace", "acme", env={})
    assert (without.exit_code, without.stderr.count("error:")) == (1, 1)
    assert _run("token", "--workspace", "acme", env=secret | {"EDGEWISE_VAULT_KEYS": "x"}).exit_code == 1


def test_a_token_can_be_had_as_json() -> None:
    """For programs, with what it is good for."""
    answer = json.loads(_run("token", "--workspace", "acme", "--json").stdout)
    assert jwt.decode(answer.pop("token"), "s" * 32, ["HS256"])["scope"] == "admin"
    assert answer == {"workspace": "acme", "scope": "admin", "expires_in": 3600}


def test_an_unknown_scope_is_refused_with_the_known_ones() -> None:
    """A typing mistake does not make a token that is good for nothing."""
    result = _run("token", "--workspace", "acme", "--scope", "workflows:red")
    assert result.exit_code == 2
    assert "workflows:read" in result.stderr
