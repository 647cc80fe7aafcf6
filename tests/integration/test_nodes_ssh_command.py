"""The ssh node against a real ssh server: whom it believes, what a command gets and gives, and what is cut off."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import asyncssh
import pytest

from shared.nodes.ssh_command import SshCommand
from tests.outward import called, closed_port, failure_of, faults_of, silent

HOST_KEY = asyncssh.generate_private_key("ssh-ed25519")
OTHER_KEY = asyncssh.generate_private_key("ssh-ed25519")
USER_KEY = asyncssh.generate_private_key("ssh-ed25519")


def public(key: asyncssh.SSHKey) -> str:
    return key.export_public_key().decode().strip()


class Door(asyncssh.SSHServer):
    """Lets ann in with her password or her key."""

    def begin_auth(self, username: str) -> bool:
        return True

    def password_auth_supported(self) -> bool:
        return True

    def validate_password(self, username: str, password: str) -> bool:
        return (username, password) == ("ann", "s3cret-pass")

    def public_key_auth_supported(self) -> bool:
        return True

    def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        return key == USER_KEY.convert_to_public()


class Machine:
    """Runs commands in a real shell, or as a test says; keeps them."""

    def __init__(self, act: Callable[[Any], Any] | None = None) -> None:
        self.commands: list[str] = []
        self.connections = 0
        self.ended = asyncio.Event()
        self._act = act or self._shell

    async def __call__(self, process: Any) -> None:
        self.commands.append(process.command)
        try:
            await self._act(process)
        finally:
            self.ended.set()

    async def _shell(self, process: Any) -> None:
        pipe = asyncio.subprocess.PIPE
        shell = await asyncio.create_subprocess_exec(
            "/bin/sh", "-c", process.command, stdin=pipe, stdout=pipe, stderr=pipe
        )
        stdout, stderr = await shell.communicate(await process.stdin.read())
        process.stdout.write(stdout)
        process.stderr.write(stderr)
        process.exit(shell.returncode)


@asynccontextmanager
async def serving(machine: Machine) -> AsyncIterator[dict[str, Any]]:
    """An ssh server; what a node says to get in."""

    def door() -> Door:
        machine.connections += 1
        return Door()

    server = await asyncssh.listen(
        "127.0.0.1", 0, server_factory=door, server_host_keys=[HOST_KEY], process_factory=machine, encoding=None
    )
    try:
        port = server.sockets[0].getsockname()[1]
        login = {"host": "localhost", "port": port, "username": "ann", "password": "s3cret-pass"}
        yield {**login, "host_key": public(HOST_KEY)}
    finally:
        server.close()
        await server.wait_closed()


async def ran(data: dict[str, Any], scope: dict[str, Any] | None = None) -> dict[str, Any]:
    """The output of a command in a real shell."""
    async with serving(Machine()) as login:
        return (await called("ssh_command", {**login, **data}, scope)).output


async def test_a_command_runs() -> None:
    """With what it reads, and both of what it writes, kept apart."""
    output = await ran({"command": "cat; echo fault >&2", "input": "Grüße {{ n1.x }}"}, {"n1": {"x": 7}})
    assert (output["exit_status"], output["stdout"], output["stderr"]) == (0, "Grüße 7", "fault\n")
    assert output["duration_ms"] >= 0


@pytest.mark.parametrize(
    "value", ["a b", "$(id)", "`id`", "'; id; '", 'x" y', "a\nb", "-", "*", "\\", "ü", "&& id", ""]
)
async def test_a_value_is_one_argument(value: str) -> None:
    """Whatever a value holds, the shell sees it as one word and nothing more."""
    output = await ran({"command": ["printf", "[%s]", "{{ n1.x }}"]}, {"n1": {"x": value}})
    assert output["stdout"] == f"[{value}]"


async def test_templates_want_a_list() -> None:
    """A text for the shell with a template in it is a fault when saved."""
    login = {"host": "a.test", "username": "ann", "password": "p", "host_key": public(HOST_KEY)}
    assert [path for path, _ in faults_of("ssh_command", {**login, "command": "ping {{ n1.x }}"})] == ["d.command"]
    assert faults_of("ssh_command", {**login, "command": ["ping", "{{ n1.x }}"]}) == []


async def test_unquoted_arguments_are_joined() -> None:
    """For devices without a POSIX shell; no value may begin another line."""
    machine = Machine()
    async with serving(machine) as login:
        data = {**login, "command": ["echo", "name=a b", "{{ n1.x }}"], "quoting": "none"}
        await called("ssh_command", data, {"n1": {"x": 7}})
        error = await failure_of("ssh_command", data, {"n1": {"x": "7\nreboot"}})
    assert machine.commands == ["echo name=a b 7"]
    assert error.code == "invalid_data"


@pytest.mark.parametrize("line", ["a\x00b", "", "   ", "x" * 70_000])
async def test_what_is_no_command_is_refused(line: str) -> None:
    """NUL, nothing, and too much."""
    async with serving(machine := Machine()) as login:
        error = await failure_of("ssh_command", {**login, "command": line})
    assert error.code == "invalid_data"
    assert machine.connections == 0


async def test_another_exit_status_fails() -> None:
    """With what it wrote to stderr, unless the author says that it is a success."""
    async with serving(Machine()) as login:
        data = {**login, "command": "echo broken >&2; exit 3"}
        error = await failure_of("ssh_command", data)
        outcome = await called("ssh_command", {**data, "success": [0, 3]})
    assert (error.code, error.category, error.body) == ("ssh_failed", "error", "broken\n")
    assert error.message == "The command ended with exit status 3."
    assert outcome.output["exit_status"] == 3


async def test_a_signal_fails() -> None:
    """Which is no exit status, whatever counts as success."""

    async def killed(process: Any) -> None:
        process.exit_with_signal("TERM")

    async with serving(Machine(killed)) as login:
        error = await failure_of("ssh_command", {**login, "command": "x"})
    assert error.message == "The command ended with the signal TERM."


@pytest.mark.parametrize("form", ["key", "fingerprint", "either"])
async def test_a_known_host_is_believed(form: str) -> None:
    """By its public key, by the fingerprint of it, and as one of several."""
    known = public(HOST_KEY), HOST_KEY.get_fingerprint()
    text = {"key": known[0], "fingerprint": known[1], "either": f"{public(OTHER_KEY)}\n{known[1]}\n"}[form]
    assert (await ran({"command": "true", "host_key": text}))["exit_status"] == 0


@pytest.mark.parametrize("form", ["key", "fingerprint"])
async def test_another_host_is_refused(form: str) -> None:
    """Before it has seen the password or the command."""
    machine = Machine()
    text = {"key": public(OTHER_KEY), "fingerprint": OTHER_KEY.get_fingerprint()}[form]
    async with serving(machine) as login:
        error = await failure_of("ssh_command", {**login, "command": "true", "host_key": text})
    assert (error.code, error.category) == ("host_key_refused", "error")
    assert machine.commands == []


@pytest.mark.parametrize("text", ["", "   ", "SHA256:short", "ssh-ed25519", "*", "MD5:aa:bb"])
async def test_a_host_key_is_always_given(text: str) -> None:
    """There is no way to take any host."""
    login = {"host": "a.test", "username": "ann", "password": "p", "command": "true"}
    assert [path for path, _ in faults_of("ssh_command", {**login, "host_key": text})] == ["d.host_key"]
    error = await failure_of(
        "ssh_command", {**login, "host": "127.0.0.1", "host_key": "{{ n1.x }}"}, {"n1": {"x": text}}
    )
    assert error.code == "invalid_data"


async def test_a_private_key_opens_the_door() -> None:
    """Also one that a passphrase protects; neither shows in the log entry."""
    locked = USER_KEY.export_private_key("pkcs8-pem", passphrase="open sesame").decode()
    async with serving(Machine()) as login:
        data = {**login, "password": None, "private_key": locked, "passphrase": "open sesame", "command": "true"}
        outcome = await called("ssh_command", data)
        wrong = await failure_of("ssh_command", {**data, "passphrase": "other"})
    assert outcome.step_input == {"host": "localhost", "port": login["port"], "username": "ann", "command": "true"}
    assert wrong.code == "invalid_data"


async def test_a_wrong_password_is_refused() -> None:
    """And not shown."""
    async with serving(Machine()) as login:
        error = await failure_of("ssh_command", {**login, "password": "wrong-pass", "command": "true"})
    assert (error.code, error.category) == ("login_refused", "4xx")
    assert "wrong-pass" not in error.message + str(error.step_input)


async def test_output_is_capped() -> None:
    """A command that never stops writing is cut off, over both outputs together."""

    async def flood(process: Any) -> None:
        while True:
            process.stdout.write(b"x" * 1000)
            process.stderr.write(b"y" * 1000)
            await process.stdout.drain()

    machine = Machine(flood)
    async with serving(machine) as login:
        error = await failure_of("ssh_command", {**login, "command": "yes", "max_bytes": 100_000})
        await machine.ended.wait()
    assert error.code == "output_too_large"


async def test_time_is_limited() -> None:
    """For the command, and for a host that never says a word; the host sees the end of it."""

    async def hang(process: Any) -> None:
        await process.stdin.read()
        await process.wait_closed()

    machine = Machine(hang)
    async with serving(machine) as login, silent() as port:
        error = await failure_of("ssh_command", {**login, "command": "x"}, seconds=1.5)
        await machine.ended.wait()
        mute = await failure_of("ssh_command", {**login, "port": port, "command": "x"}, seconds=0.3)
    assert (error.code, error.category) == ("timeout", "timeout")
    assert mute.code == "timeout"


async def test_no_host_is_a_network_fault() -> None:
    """Which a retry may mend."""
    login = {"host": "127.0.0.1", "port": closed_port(), "username": "ann", "password": "p"}
    error = await failure_of("ssh_command", {**login, "host_key": public(HOST_KEY), "command": "true"})
    assert (error.code, error.category) == ("network_error", "network")


@pytest.mark.parametrize("name", ["", "a\nb", "a\x00"])
async def test_what_is_no_username_is_refused(name: str) -> None:
    """When saved, and when a template gave it."""
    data = {"host": "127.0.0.1", "host_key": public(HOST_KEY), "password": "p", "command": "true"}
    assert [path for path, _ in faults_of("ssh_command", {**data, "username": name})] == ["d.username"]
    assert (
        await failure_of("ssh_command", {**data, "username": "{{ n1.x }}"}, {"n1": {"x": name}})
    ).code == "invalid_data"


async def test_the_example_runs() -> None:
    """The type's own example, with the address and the login of a server, runs its command there."""

    async def answer(process: Any) -> None:
        process.stdout.write(b"3 received")
        process.exit(0)

    machine = Machine(answer)
    async with serving(machine) as login:
        outcome = await called("ssh_command", {**SshCommand.example, **login}, dict(SshCommand.example_context))
    assert machine.commands == ["ping -c 3 192.0.2.7"]
    assert (outcome.output["exit_status"], outcome.output["stdout"]) == (0, "3 received")
