"""A run that waits for a person, on a real installation: the link goes out, the answer comes in, the run goes on."""

import json
import urllib.request
from collections.abc import Iterator

import pytest

from tests.acceptance.outside import Client, Receiver, edges, node
from tests.running import Starter, until


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """The world outside."""
    receiver = Receiver()
    yield receiver
    receiver.close()


def test_a_person_answers_by_the_link_in_a_message(start: Starter, receiver: Receiver) -> None:
    """An earlier node sends the link out; a browser follows it and answers; a second answer is refused."""
    up = start(env={"EDGEWISE_EGRESS_ALLOW": receiver.address}).ready()
    told = up.told()
    client = Client(told["url"], told["token"])
    workflow = client.create(
        [
            node("t", "manual_trigger"),
            node("mail", "webhook", method="POST", url=receiver.url("/now/mail"), body={"link": "{{ run.links.ask }}"}),
            node("ask", "approval", text="Pay {{ t.sum }}?"),
            node(
                "pay", "webhook", method="POST", url=receiver.url("/now/pay"), body={"said": "{{ ask.data.comment }}"}
            ),
        ],
        edges(("t", "mail"), ("mail", "ask"), ("ask", "pay", "approved")),
    )
    run_id = client.execute(workflow, {"sum": 7})
    until(lambda: client.run(run_id)["status"] == "awaiting_ui_interaction")
    link = json.loads(receiver.to("/now/mail")[0].body)["link"]
    assert link.startswith(f"{told['url']}/workflows/callbacks/")
    with urllib.request.urlopen(urllib.request.Request(link, headers={"Accept": "text/html"})) as page:
        assert "Pay 7?" in page.read().decode()
    path = link.removeprefix(told["url"])
    client("POST", path, {"outcome": "approved", "comment": "fine"}, 202)
    until(client.has_ended(run_id))
    assert client.run(run_id)["status"] == "completed"
    assert json.loads(receiver.to("/now/pay")[0].body) == {"said": "fine"}
    assert client("POST", path, {"outcome": "rejected"}, 409)["code"] == "already_answered"
