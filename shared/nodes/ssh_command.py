"""``ssh_command``: a command on another machine, over ssh."""

import shlex
import time
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Final, Literal

import msgspec

from shared.egress.pinned import check_host, within
from shared.errors import StepFailedError
from shared.nodes.base import Kind, Mode, NodeType, Outcome, StepContext
from shared.nodes.extras import Extra
from shared.nodes.fields import Plain, Secret, Text
from shared.nodes.http_response import SHOWN
from shared.nodes.ssh_session import CONTROL, Ended, key_fault, ran
from shared.templates import is_template

_SSH: Final = Extra("ssh", "asyncssh")
_MAX_COMMAND: Final = 65_536
Argument = str | int | float | bool


class Data(msgspec.Struct, forbid_unknown_fields=True):
    """Configuration.

    Attributes:
        host_key: what the host must prove to have: its public key as in ``/etc/ssh/ssh_host_ed25519_key.pub``, or that
            key's fingerprint (``SHA256:...``); one a line, any of them will do.
        private_key: in OpenSSH's or PEM's form, at most 16 KiB; ``passphrase`` opens it (at most 256 rounds of bcrypt,
            1,000,000 iterations of others). One of it and ``password`` is needed.
        command: a list of arguments, each of which arrives as it is, whatever it holds; or a constant text for the
            host's shell, which takes no template. Pipes and values go together as ``["sh", "-c", "echo $1 | wc", "sh",
            "{{ n1.word }}"]``.
        quoting: ``posix``: arguments are quoted for a POSIX shell; ``none``: they are joined by blanks as they are, for
            devices with a command line of their own, so that their values must be trusted.
        input: what the command reads.
        success: exit statuses that count as success instead of 0.
        max_bytes: of what it writes, to both outputs together; more ends it and fails the step.
    """

    host: Text[str]
    username: Text[str]
    host_key: Text[str]
    command: Text[str | list[Argument]]
    port: Annotated[int, msgspec.Meta(ge=1, le=65_535)] = 22
    password: Text[Secret[str | None]] = None
    private_key: Text[Secret[str | None]] = None
    passphrase: Text[Secret[str | None]] = None
    quoting: Plain[Literal["posix", "none"]] = "posix"
    input: Text[str | None] = None
    success: list[Annotated[int, msgspec.Meta(ge=0, le=255)]] | None = None
    max_bytes: Annotated[int, msgspec.Meta(ge=1, le=10 * 1024 * 1024)] = 1024 * 1024


class SshCommand(NodeType[Data]):
    """Runs a command; output ``{exit_status, stdout, stderr, duration_ms}``. Another exit status fails the step."""

    component_id = "ssh_command"
    title = "SSH command"
    kind = Kind.ACTION
    mode = Mode.EFFECT
    data_type = Data
    extras = (_SSH,)
    example: ClassVar[Mapping[str, Any]] = {
        "host": "router.example.com",
        "username": "flows",
        "password": "{{ n1.password }}",
        "host_key": "SHA256:jyg0rW0fG8Wc8nT0ZBbzGmHoqdmYDmZF5wJmuGmVVfI",
        "command": ["ping", "-c", "3", "{{ n1.address }}"],
    }
    example_context: ClassVar[Mapping[str, Any]] = {"n1": {"password": "correct horse", "address": "192.0.2.7"}}

    def check(self, data: Mapping[str, Any]) -> list[tuple[str, str]]:
        """See `NodeType.check`."""
        return [*_place_faults(data), *_login_faults(data), *_command_faults(data["command"])]

    async def call(self, data: Data, context: StepContext) -> Outcome:
        """Connect, run the command, and leave.

        Raises:
            StepFailedError: ``invalid_data``, what `Egress.pin` raises, ``timeout``, ``network_error``,
                ``host_key_refused``, ``login_refused``, ``output_too_large``, or ``ssh_failed`` with the exit status
                and the first 2 KB of what the command wrote to stderr.
        """
        command = _command(data)
        logged = {"host": data.host, "port": data.port, "username": data.username, "command": command[:SHOWN]}
        started = time.perf_counter()
        try:
            _check(data)
            async with (
                within(context.timeout, data.host),
                context.egress.visit(data.host, data.port, timeout=context.timeout) as place,
            ):
                ended = await ran(_SSH.load(), place, data, command, text=data.input, max_bytes=data.max_bytes)
            return Outcome(_output(ended, data.success or [0], started), step_input=logged)
        except StepFailedError as error:
            error.step_input = logged
            raise


def _output(ended: Ended, success: list[int], started: float) -> dict[str, Any]:
    if ended.exit_status not in success:
        how = f"exit status {ended.exit_status}" if ended.signal is None else f"the signal {ended.signal}"
        raise StepFailedError("ssh_failed", f"The command ended with {how}.", body=ended.stderr[:SHOWN])
    return {
        "exit_status": ended.exit_status,
        "stdout": ended.stdout,
        "stderr": ended.stderr,
        "duration_ms": round((time.perf_counter() - started) * 1000),
    }


def _command(data: Data) -> str:
    """The command line. NUL would cut it short, and a line break in an unquoted one would begin another."""
    if isinstance(data.command, str):
        line = data.command
    elif data.quoting == "posix":
        line = shlex.join(_argument(each) for each in data.command)
    else:
        line = " ".join(_argument(each) for each in data.command)
        if CONTROL.search(line):
            raise StepFailedError("invalid_data", "data.command: an unquoted argument has no control characters.")
    if not line.strip() or "\x00" in line or len(line) > _MAX_COMMAND:
        raise StepFailedError("invalid_data", f"data.command: a command is 1 to {_MAX_COMMAND} characters, none NUL.")
    return line


def _argument(value: Argument) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _check(data: Data) -> None:
    for path, message in _login_faults(msgspec.structs.asdict(data)):
        raise StepFailedError("invalid_data", f"data.{path}: {message}")


def _place_faults(data: Mapping[str, Any]) -> list[tuple[str, str]]:
    faults = []
    if not is_template(data["host"]):
        try:
            check_host(data["host"])
        except StepFailedError as error:
            faults.append(("host", error.message))
    if not is_template(data["host_key"]) and (fault := key_fault(data["host_key"])):
        faults.append(("host_key", fault))
    return faults


def _login_faults(data: Mapping[str, Any]) -> list[tuple[str, str]]:
    if CONTROL.search(data["username"]) or not data["username"]:
        return [("username", "A username is not empty and has no control characters.")]
    if not data.get("password") and not data.get("private_key"):
        return [("password", "One of password and private_key is needed.")]
    return []


def _command_faults(command: Any) -> list[tuple[str, str]]:
    if isinstance(command, str) and is_template(command):
        return [
            (
                "command",
                'A command with templates is a list of arguments, ["ping", "{{ n1.host }}"]: no value can break out.',
            )
        ]
    return []
