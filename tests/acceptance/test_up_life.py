"""`edgewise up` from start to stop, as a user or a drill sees it."""

import os
import signal
import socket

import pytest

from deploy.sample import sample
from tests.running import Starter, Up, get, post, until

_NOBODY = "map:65534:65534"


def _stops(up: Up, how: signal.Signals) -> None:
    """A signal ends every process and releases the folder, with exit status 0, in less than 25 seconds."""
    assert len(up.members()) >= 6
    assert up.stop(how) == 0
    assert up.members() == []
    assert not {"lock", "edgewise.json", "processes.json"} & {path.name for path in up.folder.iterdir()}


def test_ctrl_c_stops_all_of_it(start: Starter) -> None:
    """As a terminal sends it."""
    _stops(start().ready(), signal.SIGINT)


def test_the_next_start_finds_all_of_it_again(start: Starter) -> None:
    """SIGTERM stops all of it, and what was written, old tokens, secrets and addresses are there after a restart.

    After ``kill -9`` of `up` itself its processes are gone by themselves, and the next start just works.
    """
    up = start().ready()
    first = up.told()
    made = post(f"{first['url']}/workflows", first["token"], sample("http://127.0.0.1:1/"))
    _stops(up, signal.SIGTERM)
    again = start().ready()
    told = again.told()
    assert get(f"{told['url']}/workflows/{made['id']}", first["token"]) == 200
    assert (told["database_url"], told["broker_url"]) == (first["database_url"], first["broker_url"])
    again.kill()
    until(lambda: not again.members())
    third = start().ready()
    assert third.is_serving()
    assert get(f"{third.told()['url']}/workflows/{made['id']}", first["token"]) == 200


def test_a_folder_has_one_installation_and_two_have_two(start: Starter) -> None:
    """Two folders, started at the same moment: both come up, on ports of their own.

    A second `up` on a folder in use fails at once, names the first, and does it no harm.
    """
    ups = [start(folder="one"), start(folder="another one")]
    urls = {up.ready().told()["url"] for up in ups}
    assert len(urls) == 2
    second = start(folder="one")
    assert second.process.wait(20) == 1
    assert f"pid {ups[0].process.pid}" in second.output()
    assert [up.is_serving() for up in ups] == [True, True]


def test_a_port_in_use_is_a_clear_error(start: Starter) -> None:
    """With ``--port`` taken it fails, names the port and the way out, and leaves nothing running."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        up = start("--port", str(port))
        assert up.process.wait(20) == 1
    assert f"Port {port}" in up.output()
    assert "--port" in up.output()
    assert up.members() == []


def test_a_faulty_environment_is_told_before_anything_starts(start: Starter) -> None:
    """A misspelt variable ends it with the fault."""
    up = start(env={"EDGEWISE_HOTS": "0.0.0.0"})
    assert up.process.wait(20) == 1
    assert "EDGEWISE_HOST" in up.output()
    assert "starting" not in up.output()


@pytest.mark.skipif(os.geteuid() != 0, reason="an ordinary user is what all the other tests run as")
def test_it_runs_as_an_ordinary_user(start: Starter) -> None:
    """Seen from inside, this `up` is not root; everything else here runs as root."""
    up = start(identity=_NOBODY).ready()
    assert up.is_serving()
    assert up.stop() == 0


def test_servers_that_are_given_are_used(start: Starter, empty_database_url: str, broker_url: str) -> None:
    """With both URLs no server is started, and edgewise.json says so."""
    up = start("--database-url", empty_database_url, "--broker-url", broker_url).ready()
    told = up.told()
    assert told["database_url"] == empty_database_url
    assert told["broker_url"] == broker_url
    assert (told["pids"]["postgres"], told["pids"]["redis"]) == (None, None)
    assert up.is_serving()
    assert up.stop() == 0
