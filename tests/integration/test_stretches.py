"""A walk that has kept the loop busy for long leaves the rest to steps of their own: nothing is lost, nothing twice."""

from collections import Counter

import asyncpg
import pytest

from shared.nodes.registry import default_registry
from tests.engine import Engine, workflow
from tests.rows import assert_sound
from worker import walk


def node(name: str, component: str, **data: object) -> dict[str, object]:
    return {"id": name, "position": {"x": 0, "y": 0}, "data": {"componentId": component, **data}}


def edges(*pairs: tuple[str, ...]) -> list[dict[str, str]]:
    return [
        {"id": f"e{place}", "source": pair[0], "target": pair[1], **({"sourceHandle": pair[2]} if pair[2:] else {})}
        for place, pair in enumerate(pairs)
    ]


async def test_the_rest_of_a_stretch_becomes_steps(
    database_url: str, database: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Chains, branches that meet again, conditions whose other side is skipped, and items: each node runs once."""
    monkeypatch.setattr(walk, "STRETCH", 0.0)
    known = default_registry()
    nodes = [
        node("t", "manual_trigger"),
        node("a", "data_mapper", mapping={"n": 1}),
        node("b", "data_mapper", mapping={"n": "{{ a.n | plus: 1 }}"}),
        node("c", "data_mapper", mapping={"n": "{{ a.n | plus: 2 }}"}),
        node("both", "data_mapper", mapping={"n": "{{ b.n | plus: c.n }}"}),
        node("yes", "number_condition", input="{{ both.n }}", operator="equals", value=5),
        node("not", "data_mapper", mapping={"n": 0}),
        node("each", "iterator", items=[1, 2, 3]),
        node("item", "data_mapper", mapping={"n": "{{ each.item | times: 2 }}"}),
        node("twice", "data_mapper", mapping={"n": "{{ item.n | times: 2 }}"}),
        node("end", "data_mapper", mapping={"all": "{{ each.results }}"}),
    ]
    wires = edges(
        ("t", "a"), ("a", "b"), ("a", "c"), ("b", "both"), ("c", "both"), ("both", "yes"),
        ("yes", "not", "false"), ("yes", "each", "true"), ("each", "item", "item"), ("item", "twice"),
        ("each", "end", "done"),
    )  # fmt: skip
    flow = await workflow(database, nodes, wires, known)
    async with Engine.running(database_url, known) as engine:
        run_id = await engine.run(flow)
    found = await database.fetch("SELECT node_id, item, status, output FROM steps WHERE run_id = $1", run_id)
    statuses = Counter((row["node_id"], row["status"]) for row in found)
    assert statuses == {
        **{(name, "success"): 1 for name in ("t", "a", "b", "c", "both", "yes", "each", "end")},
        ("not", "skipped"): 1,
        ("item", "success"): 3,
        ("twice", "success"): 3,
    }
    assert await database.fetchval("SELECT status FROM runs WHERE id = $1", run_id) == "completed"
    end = next(row["output"] for row in found if row["node_id"] == "end")
    assert end.replace(" ", "") == '{"all":[{"n":4},{"n":8},{"n":12}]}'
    await assert_sound(database)
