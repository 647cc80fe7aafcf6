"""What goes into a message."""

from uuid import UUID

import dramatiq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.announcer import enqueueing, group
from shared.broker import MESSAGE_REFERENCES, decode_references
from shared.lanes import LANES, PRIORITIES, Doorbell, Reference
from shared.states import Priority

bells = st.builds(
    Doorbell,
    st.builds(Reference, st.uuids(), st.text(max_size=3), st.just("-"), st.booleans()),
    st.integers(0, 2),
    st.booleans(),
    st.booleans(),
)


@given(st.lists(bells, max_size=300))
def test_every_reference_goes_into_one_message_of_its_lane(drawn):
    """None is lost, doubled or reordered within its lane; no message is empty or too large; the first lane is first."""
    messages = group(drawn)
    assert all(0 < len(references) <= MESSAGE_REFERENCES for _, references in messages)
    for key, lane in LANES.items():
        sent = [found for queue, references in messages if queue == lane.queue for found in references]
        assert sent == [bell.reference for bell in drawn if (bell.priority, bell.new, bell.bulk) == key]
    ranks = {lane.queue: lane.rank for lane in LANES.values()}
    order = [ranks[queue] for queue, _ in messages]
    assert order == sorted(order)


def test_few_branches_go_one_by_one():
    """They are to run side by side; from 128 on they share messages, up to 16."""

    def sizes(count):
        reference = Reference(UUID(int=1), "n", "-", claim=True)
        return [len(references) for _, references in group([Doorbell(reference, 1, new=False)] * count)]

    assert sizes(15) == [1] * 15
    assert sizes(128) == [16] * 8
    assert max(sizes(1000)) == 16


@given(st.lists(st.builds(Reference, st.uuids(), st.text(), st.text(), st.booleans()), max_size=5))
def test_references_survive_the_wire(references):
    """What `Announcer` enqueues, Dramatiq decodes, and `decode_references` reads."""
    body, push = enqueueing("high-new", references)
    message = dramatiq.Message.decode(body[3])
    assert decode_references(*message.args) == references
    assert (message.queue_name, message.actor_name, message.kwargs) == ("high-new", "high-new", {})
    assert message.options == {"redis_message_id": push[2]}
    assert (body[:3], push[:2]) == (("HSET", "edgewise:high-new.msgs", push[2]), ("RPUSH", "edgewise:high-new"))


@pytest.mark.parametrize("wire", [5, None, [5], ["abc"], [["x", "n", "-", True]], [["00" * 16, "n"]], [[1, 2, 3, 4]]])
def test_what_is_no_reference_is_an_error_the_consumer_knows(wire):
    """It drops messages that raise one of these."""
    with pytest.raises((ValueError, TypeError, AttributeError)):
        decode_references(wire)


def test_continuations_come_before_new_runs_light_before_bulk_and_priorities_before_all():
    """Twelve lanes with ranks of their own."""
    assert tuple(Priority) == PRIORITIES
    order = [key for key, _ in sorted(LANES.items(), key=lambda item: item[1].rank)]
    each = [(False, False), (True, False), (False, True), (True, True)]
    assert order == [(priority, new, bulk) for priority in range(3) for new, bulk in each]
    assert len({lane.queue for lane in LANES.values()}) == len({lane.rank for lane in LANES.values()}) == 12
