"""Iterators over the api: what is refused when a workflow is saved, and what a run shows of one."""

from typing import Any

import pytest

from api import run_iterators
from tests.api_client import ApiClient
from tests.desk import Desk
from tests.engine import graph


@pytest.fixture
async def desk(api: ApiClient, database_url: str):
    """An api with a worker beside it."""
    async with Desk.open(api, database_url) as desk:
        yield desk


def _log(run: dict[str, Any], node_id: str) -> dict[str, Any]:
    (entry,) = (entry for entry in run["logs"] if entry["node_id"] == node_id)
    return entry


async def test_a_run_shows_what_an_iterator_gave_out(desk: Desk) -> None:
    """Its log entry has the results; each item's steps stand beside it under their paths."""
    items = {"component": "iterator", "items": "{{ t.items }}"}
    flow = await desk.flow("t>i i>fa:item", i=items, fa={"value": "{{ i.item }}"})
    run = await desk.ends(await desk.execute(flow, {"items": ["a", "b"]}), "completed")
    assert _log(run, "i")["output"] == {"results": [{"value": "a"}, {"value": "b"}], "count": 2, "failed": []}
    assert [entry["item"] for entry in run["logs"] if entry["node_id"] == "fa"] == ["0", "1"]


async def test_large_results_are_counted(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is too large to be shown in one piece says how many items there were."""
    monkeypatch.setattr(run_iterators, "MAX_SHOWN", 10)
    items = {"component": "iterator", "items": "{{ t.items }}"}
    flow = await desk.flow("t>i i>fa:item", i=items, fa={"value": "{{ i.item }}"})
    run = await desk.ends(await desk.execute(flow, {"items": ["a", "b"]}), "completed")
    assert _log(run, "i")["output"] == {"results": None, "count": 2, "failed": None}


ITERATOR = {"component": "iterator", "items": [1]}
WRONG = {
    "empty_body": graph("t>i i>fz:done", i=ITERATOR),
    "body_joins_outside": graph("t>i i>fa:item t>fb fb>fa", i=ITERATOR),
    "handle_required": graph("t>i i>fa i>fb:item", i=ITERATOR),
    "unknown_reference": graph("t>i i>fa:item i>fz:done", i=ITERATOR, fz={"value": "{{ fa.value }}"}),
    "setting_not_allowed": graph("t>i i>fa:item", i={**ITERATOR, "retry": {"max_attempts": 2}}),
    "too_deep": graph(
        "t>i0 i0>i1:item i1>i2:item i2>i3:item i3>i4:item i4>i5:item i5>fa:item",
        **{f"i{level}": ITERATOR for level in range(6)},
    ),
}


@pytest.mark.parametrize("code", WRONG)
async def test_bodies_that_break_rules_are_refused(api: ApiClient, code: str) -> None:
    """Each fault has its code, and a page."""
    nodes, edges = WRONG[code]
    for node in nodes:
        if node["data"]["componentId"] == "fold":
            node["data"] = {"componentId": "data_mapper", "mapping": {"value": node["data"].get("value", 1)}}
    answer = await api.call("POST", "/workflows", {"name": "w", "nodes": nodes, "edges": edges})
    assert answer.status == 422
    assert [fault["code"] for fault in answer.json["errors"]] == [code], answer.json
    assert (await api.call("GET", f"/errors/{code}", token=None)).status == 200


async def test_five_levels_are_legal(api: ApiClient) -> None:
    """So is a body that joins itself, and a second iterator behind the first."""
    nodes, edges = graph(
        "t>i0 i0>i1:item i1>i2:item i2>i3:item i3>i4:item i4>x:item i4>y:item x>z y>z i0>i6:done i6>w:item",
        **dict.fromkeys(("i0", "i1", "i2", "i3", "i4", "i6"), ITERATOR),
        **{name: {"component": "text_transform", "template": "x"} for name in "xyzw"},
    )
    answer = await api.call("POST", "/workflows", {"name": "w", "nodes": nodes, "edges": edges})
    assert answer.status == 201, answer.json
