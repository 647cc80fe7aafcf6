"""Workflows with very many or very long templates: bounded when saved, and no process stops for them."""

import asyncio
import threading
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from api import workflow_saving
from shared.nodes.base import CompiledNode
from shared.nodes.registry import Registry, default_registry
from shared.templates import limits
from tests.api_client import ApiClient, node, token
from tests.engine import eventually, workflow
from worker import plans
from worker.plans import Plans

_SHORT = "{{ n1.context }}"


def body(template: str, count: int) -> dict[str, Any]:
    """A workflow of nodes that have the same template."""
    nodes = [node(f"n{each + 2}", "text_transform", template=template) for each in range(count)]
    return {
        "nodes": [node("n1", "manual_trigger"), *nodes],
        "edges": [{"id": each["id"], "source": "n1", "target": each["id"]} for each in nodes],
    }


@pytest.mark.parametrize("count", [1, 4])
async def test_markup_is_bounded(api: ApiClient, count: int) -> None:
    """Of all templates together; the text between tags and expressions is free."""
    least = limits.MARKUP // (count * len(_SHORT))
    answer = await api.call("POST", "/workflows", {"name": "w", **body(_SHORT * (least + 1), count)})
    assert answer.status == 422
    assert [(fault["path"], fault["code"]) for fault in answer.json["errors"]] == [("nodes", "templates_too_large")]
    told = (await api.call("POST", "/workflows/validate", {"name": "w", **body(_SHORT * (least + 1), count)})).json
    assert not told["valid"]
    await api.create(**body(_SHORT + "x" * 200_000, count))


async def test_a_node_is_bounded_where_it_is_tested(api: ApiClient) -> None:
    """A test reads its templates as a save does."""
    large = node("n2", "data_mapper", mapping={str(each): _SHORT * 1000 for each in range(20)})
    answer = await api.call("POST", "/workflows/test-node", {"node": large, "context": {"n1": {"context": 1}}})
    assert answer.status == 422
    assert [fault["code"] for fault in answer.json["errors"]] == ["templates_too_large"]


async def test_saves_of_one_workspace_leave_connections_to_the_others(
    api: ApiClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More of them at once than the api has connections, while one takes its time: they wait without one."""
    gate, begun = threading.Event(), threading.Event()
    real = workflow_saving.draft

    def hold(*given: Any, **named: Any) -> Any:
        begun.set()
        gate.wait(20)
        return real(*given, **named)

    monkeypatch.setattr(workflow_saving, "draft", hold)
    large = {"name": "w", **body(_SHORT * 1_500, 1)}
    saves = [asyncio.create_task(api.call("POST", "/workflows", large)) for _ in range(12)]
    try:
        await eventually(begun.is_set)
        for _ in range(3):
            other = await api.call("GET", "/workflows", token=token("other"))
            assert (other.status, other.json) == (200, [])
        assert not any(save.done() for save in saves)
    finally:
        gate.set()
    assert {answer.status for answer in await asyncio.gather(*saves)} == {201}


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[asyncpg.Pool]:
    async with asyncpg.create_pool(database_url, min_size=1, max_size=2) as pool:
        yield pool


async def saved(pool: asyncpg.Pool, template: str) -> UUID:
    """The id of a workflow with this template, saved past the api."""
    flow = body(template, 1)
    async with pool.acquire() as connection:
        return (await workflow(connection, flow["nodes"], flow["edges"], default_registry())).workflow_id


async def test_a_worker_goes_on_while_it_makes_a_large_one_ready(
    pool: asyncpg.Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its nodes are compiled in a thread; those of others where the loop is."""
    seen: list[int] = []
    real = Registry.compile

    def spy(self: Registry, node_id: str, component: str, data: Any) -> CompiledNode:
        seen.append(threading.get_ident())
        return real(self, node_id, component, data)

    monkeypatch.setattr(Registry, "compile", spy)
    known = Plans(pool, default_registry())
    for template, elsewhere in ((_SHORT, False), (_SHORT * 1_500, True)):
        flow = await saved(pool, template)
        seen.clear()
        assert set((await known.get(flow, 1)).nodes) == {"n1", "n2"}
        assert {each != threading.get_ident() for each in seen} == {elsewhere}


async def test_what_a_worker_remembers_is_bounded_by_size(pool: asyncpg.Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Parsed templates take many times the room of their text, so large ones push others out."""
    monkeypatch.setattr(plans, "_HEAVIEST", 20_000)
    known = Plans(pool, default_registry())
    small = [await saved(pool, _SHORT) for _ in range(3)]
    large = [await saved(pool, _SHORT + "x" * 15_000) for _ in range(2)]
    for flow in small:
        await known.get(flow, 1)
    await known.get(large[0], 1)
    assert all(known.cached(flow, 1) for flow in [*small, large[0]])
    await known.get(large[1], 1)
    assert [known.cached(flow, 1) is not None for flow in [*small, *large]] == [False] * 4 + [True]
