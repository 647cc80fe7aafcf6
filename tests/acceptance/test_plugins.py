"""A package with node types of its own, as docs/plugins.md has it: built, installed, and used by real processes."""

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.outside import Receiver
from tests.packages import install_project
from tests.running import Up, get, post, until

_PAGE = Path(__file__).parents[2] / "docs" / "plugins.md"
_BLOCK = re.compile(r"```(toml|python)\n(.*?)```", re.DOTALL)

#: Beside the one of the page: types that hang and crash, names that are taken, and what is no type at all.
_BROKEN = '''
"""Node types that nobody should have written."""
import os
import msgspec
from shared.nodes.base import Kind, NodeType, Outcome

class Data(msgspec.Struct, forbid_unknown_fields=True):
    """Configuration."""
    how: str = "hang"

class Harmful(NodeType[Data]):
    """Does what it is told."""
    component_id = "harmful"
    title = "Harmful"
    kind = Kind.ACTION
    data_type = Data
    example = {"how": "well"}
    def run(self, data):
        while data.how == "hang":
            pass
        if data.how == "crash":
            os._exit(3)
        if data.how == "eat":
            return Outcome({"eaten": len(bytes(3 * 1024**3))})
        if data.how == "raise":
            raise SystemExit(3)
        return Outcome({"well": True})

class Taken(Harmful):
    """Takes a name."""
    component_id = "webhook"

class Nonsense(NodeType[Data]):
    """Declares nonsense."""
    component_id = "Non sense"
    title = ""
    kind = "action"
    data_type = dict
    example = {"how": 5}

nothing = 5
'''
_ENTRIES = {"harmful": "Harmful", "nonsense": "Nonsense", "nothing": "nothing", "missing": "Missing", "taken": "Taken"}


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that both packages are installed in."""
    folder = tmp_path_factory.mktemp("plugins")
    found = _BLOCK.findall(_PAGE.read_text(encoding="utf-8"))
    blocks = {kind: "\n\n".join(text for each, text in found if each == kind) for kind in ("toml", "python")}
    install_project(folder, {"pyproject.toml": blocks["toml"], "acme_nodes.py": blocks["python"]})
    entries = "\n".join(f'{name} = "broken_nodes:{where}"' for name, where in _ENTRIES.items())
    entries += '\nunimportable = "broken_nodes_that_are_not_there:Type"'
    project = blocks["toml"].partition("[project.entry")[0].replace("acme_nodes", "broken_nodes")
    project += f'[project.entry-points."edgewise.nodes"]\n{entries}\n'
    return install_project(folder, {"pyproject.toml": project, "broken_nodes.py": _BROKEN})


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    """The desk."""
    made = Receiver()
    yield made
    made.close()


@pytest.fixture(scope="module")
def up(packages: Path, receiver: Receiver, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """A whole installation that has the packages."""
    path = os.pathsep.join(filter(None, (str(packages), os.environ.get("PYTHONPATH"))))
    env = {"PYTHONPATH": path, "EDGEWISE_EGRESS_ALLOW": receiver.address}
    made = Up(tmp_path_factory.mktemp("up") / "data", env=env)
    yield made.ready()
    made.stop()
    made.kill()


def _node(name: str, component: str, /, **data: object) -> dict[str, object]:
    return {"id": name, "position": {"x": 0, "y": 0}, "data": {"componentId": component, **data}}


def test_a_package_adds_types_that_are_saved_tried_and_run(up: Up, receiver: Receiver) -> None:
    """Catalogued, checked with every fault, tested as single nodes, and run by a worker, effects with their keys."""
    told = up.told()
    base, token = told["url"], told["token"]
    assert get(f"{base}/workflows/node-types", token) == 200
    tried = post(
        f"{base}/workflows/test-node",
        token,
        {"node": _node("n", "acme_initials", name="{{ a.name }}"), "context": {"a": {"name": "ada lovelace"}}},
    )
    assert tried == {"status": "success", "output": {"initials": "AL"}, "handle": None}
    ticket = _node("n3", "acme_desk", url=receiver.url("/now/ticket"), subject="{{ n2.initials }} asks for help")
    nodes = [_node("n1", "manual_trigger"), _node("n2", "acme_initials", name="{{ n1.name }}"), ticket]
    edges = [{"id": "e1", "source": "n1", "target": "n2"}, {"id": "e2", "source": "n2", "target": "n3"}]
    wrong = [nodes[0], _node("n2", "acme_initials", nam="x", most=9), ticket]
    draft = {"name": "Tickets", "nodes": wrong, "edges": edges}
    verdict = post(f"{base}/workflows/validate", token, draft)
    assert {fault["path"] for fault in verdict["details"]} == {
        f"nodes[1].data.{field}" for field in ("nam", "most", "name")
    }
    made = post(f"{base}/workflows", token, {**draft, "nodes": nodes})
    run = post(f"{base}/workflows/{made['id']}/execute", token, {"context": {"name": "Grace Brewster Hopper"}})
    until(lambda: len(receiver.to("/now/ticket")) == 1)
    (call,) = receiver.to("/now/ticket")
    assert json.loads(call.body) == {"subject": "GBH asks for help", "priority": "low"}
    assert call.key == f"{run['id']}:n3:-"


def test_a_type_presents_the_authorization_and_tells_its_secrets(up: Up, receiver: Receiver) -> None:
    """It is handed the workflow's authorization; what it says that it uses is blanked in what it leaves behind."""
    told = up.told()
    base, token = told["url"], told["token"]
    config = {"base_url": receiver.url("/now/desk"), "token": "a-token-of-the-desk"}
    made = post(f"{base}/workflows/authorization", token, {"name": "Desk", "kind": "bearer", "config": config})
    node = _node("n", "acme_close_case", number=7, pin="a-pin-of-the-desk")
    tried = post(f"{base}/workflows/test-node", token, {"node": node, "authorization_id": made["id"]})
    shown = {"number": 7, "proof": "[redacted]"}
    assert tried == {"status": "success", "output": {"status": 200}, "handle": None, "input": shown}
    assert len(receiver.to("/now/desk/cases/7/close")) == 1


def test_what_is_broken_is_left_out_and_said(up: Up) -> None:
    """The log names entry point, distribution and reason of each; names that are taken are told with both owners."""
    output = up.output()
    for entry, reason in (
        ("nonsense", "component_id must be 1-64 of a-z"),
        ("nothing", "is no subclass of shared.nodes.base.NodeType"),
        ("missing", "AttributeError"),
        ("unimportable", "ModuleNotFoundError"),
        ("taken", "two node types are called 'webhook': webhook of edgewise and webhook of taken of broken_nodes 1.0"),
    ):
        lines = [line for line in output.splitlines() if f"{entry} of broken_nodes 1.0" in line]
        assert any("left out" in line for line in lines), entry
        assert any(reason in line for line in lines), (entry, lines[:1])


def test_a_type_that_does_harm_harms_nobody_but_its_test(up: Up) -> None:
    """What ends its process, raises what ends processes or takes all memory is an error of that test alone."""
    told = up.told()

    def tried(how: str) -> dict[str, object]:
        node = {"node": _node("n", "harmful", how=how)}
        answer: dict[str, object] = post(f"{told['url']}/workflows/test-node", told["token"], node)
        return answer

    assert tried("well")["status"] == "success"
    for how, code in (("crash", "worker_crashed"), ("raise", "internal_error"), ("eat", "internal_error")):
        answer = tried(how)
        assert (answer["status"], answer["error"]["code"]) == ("error", code), answer  # type: ignore[index]
    assert tried("well")["status"] == "success"
    assert up.is_serving()
