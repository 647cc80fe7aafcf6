"""Every node type that goes out, attacked: none gets to what is inside by any spelling, name or change of a name."""

import asyncio
from typing import Any

import pytest

from shared.egress.allow import parse_allow
from shared.egress.client import EgressClient
from shared.egress.guard import Guard
from shared.errors import StepFailedError
from shared.graph.catalogue import Mode
from shared.nodes.registry import default_registry
from tests.compiling import compile_node
from tests.dns import name_server
from tests.outward import step
from tests.trap import INTERNAL, Trap, trapping

REGISTRY = default_registry()
#: Effects that have nothing to call, or call what is the operator's own.
STAY = {"markdown_to_pdf", "publish_event", "python_function", "wireguard_keys"}
#: Goes where its authorization says, which a workflow cannot change; its own tests attack that.
AUTHORIZED = {"api_call"}
KEY = "SHA256:jyg0rW0fG8Wc8nT0ZBbzGmHoqdmYDmZF5wJmuGmVVfI"
HTTP: dict[str, dict[str, Any]] = {
    "webhook": {"method": "GET", "url": "{{ n1.url }}"},
    "graphql_request": {"url": "{{ n1.url }}", "query": "{ a }"},
    "ai_text_transform": {"base_url": "{{ n1.url }}", "model": "m", "prompt": "p"},
    "soap_request": {"wsdl": "{{ n1.url }}", "operation": "Get"},
    "send_notification": {"service": "generic", "url": "{{ n1.url }}", "message": "m"},
}
SOCKETS: dict[str, dict[str, Any]] = {
    "send_email": {
        "host": "{{ n1.host }}",
        "port": "{{ n1.port }}",
        "sender": "a@b.test",
        "to": "c@d.test",
        "subject": "s",
        "text": "t",
        "security": "none",
    },
    "ssh_command": {
        "host": "{{ n1.host }}",
        "port": "{{ n1.port }}",
        "username": "u",
        "password": "p",
        "host_key": KEY,
        "command": ["true"],
    },
    "postgres_query": {
        "host": "{{ n1.host }}",
        "port": "{{ n1.port }}",
        "database": "d",
        "user": "u",
        "query": "SELECT 1",
        "tls": "off",
    },
    "redis_command": {"host": "{{ n1.host }}", "port": "{{ n1.port }}", "command": "PING", "tls": "off"},
}
ALL = {**HTTP, **SOCKETS}
HOSTS = [
    *(INTERNAL, "127.2", "2130706434", "0x7f000002", "0177.0.0.2", "017700000002", "127.0.0.2.", "１２７.0.0.2"),
    *("[::1]", "[::ffff:127.0.0.2]", "[64:ff9b::7f00:2]", "[2002:7f00:2::]", "[::ffff:7f00:2]"),
    *("inside.test", "mixed.test", "mapped.test", "localhost", "169.254.169.254", "10.0.0.1", "0", "0.0.0.0"),
    *("user@127.0.0.2", "127.0.0.2#.a.test", "127.0.0.2%00.a.test", "127.0.0.2 a.test", "127.0.0.2\r\n", "[::1%lo]"),
    *("file:///etc/passwd", "/var/run/docker.sock", "unix:///tmp/x", "", "a" * 300),
]
NAMES = {
    "inside.test": [[INTERNAL]],
    "mixed.test": [["93.184.216.34", INTERNAL]],
    "mapped.test": [["::ffff:127.0.0.2"]],
    "localhost": [["127.0.0.1", "::1"]],
}


def test_no_type_is_left_out() -> None:
    """Each effect is attacked here, or has nothing to call."""
    effects = {name for name in REGISTRY.names() if REGISTRY.type_of(name).mode is Mode.EFFECT}
    assert ALL.keys() <= effects <= ALL.keys() | STAY | AUTHORIZED


async def refusals(component: str, egress: EgressClient, trap: Trap, host: str) -> StepFailedError:
    """How a call to this host fails."""
    url = f"http://{host}:{trap.port}/" if "://" not in host else host
    scope = {"n1": {"host": host, "port": trap.port, "url": url}}
    with pytest.raises(StepFailedError) as caught:
        await compile_node("n2", component, ALL[component]).call(scope, step(egress, 5.0))
    await asyncio.sleep(0)  # what was sent would arrive
    return caught.value


@pytest.mark.parametrize("component", ALL)
async def test_nothing_inside_is_reached(component: str) -> None:
    """By TCP or UDP, and no failure says more than that it is refused, or is tried again."""
    async with trapping("127.0.0.2", "127.0.0.1", "::1") as trap, name_server(dict(NAMES)) as dns:
        async with EgressClient(Guard(resolve=dns.resolve)) as egress:
            for host in HOSTS:
                error = await refusals(component, egress, trap, host)
                assert error.code in ("egress_refused", "invalid_url", "invalid_host", "invalid_data"), host
                assert error.category == "error"
        assert trap.caught == []


@pytest.mark.parametrize("component", ALL)
async def test_a_name_that_changes(component: str) -> None:
    """What was allowed a moment ago and leads inside now is refused; nobody looks it up once more by itself."""
    now = 0.0
    async with trapping(INTERNAL) as trap, name_server({"turning.test": [["127.0.0.3"], [INTERNAL]]}) as dns:
        guard = Guard(parse_allow("127.0.0.3"), resolve=dns.resolve, clock=lambda: now)
        async with EgressClient(guard) as egress:
            assert (await refusals(component, egress, trap, "turning.test")).code == "network_error"
            assert dns.asked == {"turning.test": 1}
            now += 60.0
            assert (await refusals(component, egress, trap, "turning.test")).code == "egress_refused"
        assert dns.asked == {"turning.test": 2}
        assert trap.caught == []


@pytest.mark.parametrize("component", ALL)
async def test_the_trap_catches(component: str) -> None:
    """With the address allowed the same calls do arrive, so the trap is one."""
    async with trapping(INTERNAL) as trap, EgressClient(Guard(parse_allow(INTERNAL))) as egress:
        await refusals(component, egress, trap, INTERNAL)
        assert trap.caught


@pytest.mark.parametrize("component", ALL)
async def test_the_environment_is_not_asked(component: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a proxy nor a host of the process's environment leads anybody inside."""
    async with trapping() as trap, EgressClient(Guard(parse_allow("127.0.0.3"))) as egress:
        for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, f"http://{INTERNAL}:{trap.port}")
        monkeypatch.setenv("PGHOST", INTERNAL)
        monkeypatch.setenv("PGHOSTADDR", INTERNAL)
        assert (await refusals(component, egress, trap, "127.0.0.3")).code == "network_error"
        assert trap.caught == []
