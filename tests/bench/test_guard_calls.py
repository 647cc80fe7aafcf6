"""What a step and a request may cost in function calls and memory: counts that neither the machine nor its load change.

A bound is what was counted when it was written and a tenth. Growth that is worth its price moves the bound, in the
commit that brings it.
"""

import asyncio
import platform
import random
import socket
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import uvloop
from aiohttp import ClientSession

from api.main import Api
from shared.db import Clock, open_pool
from shared.graph.plan import compile_plan
from shared.nodes.registry import default_registry
from shared.store.advance import commit
from shared.store.taken import Loaded
from tests.api_client import PUBLIC_URL, ApiClient, config, token
from tests.bench import graphs
from tests.bench.counting import Calls, blocks, calls
from tests.bench.servers import split_message
from tests.engine import LINKS, Engine, first, mint, start_runs, workflow
from worker.plans import Blueprint
from worker.walk import Tools, Walk

#: What a message carries under load.
_RUNS = 16
#: The trigger and its ten transforms.
_STEPS = 11


class _Nowhere:
    """A connection that takes what it is given."""

    async def fetch(self, *_: Any) -> list[Any]:
        return []

    execute = fetch


def _walks(graph: graphs.Graph) -> Callable[[], list[Walk]]:
    """Makes runs of a graph that have just been loaded."""
    known = default_registry()
    plan = compile_plan(*graph, known)
    nodes = {name: known.compile(name, node.component, node.data) for name, node in plan.nodes.items()}
    blueprint = Blueprint(plan, nodes, {"id": "fl_x", "name": "w", "version": 1})
    clock, numbers = Clock(), random.Random(1)
    ids = [mint.uuid() for _ in range(3)]
    now = clock.now()
    loaded = Loaded(
        ids[0], "t", "-", claim_id=None, attempt=1, fired=True, wake=None, crashes=0, ending=False, sent_at=now,
        started_at=now, workspace_id=ids[1], workflow_id=ids[2], version=1, trigger_type="webhook",
        trigger_payload='{"webhook_payload":{"name":"ada"}}', created_at=now, priority=1,
    )  # fmt: skip
    tools = Tools(clock, mint.uuid, numbers.random, None, LINKS)
    return lambda: [Walk(loaded, blueprint, {}, tools) for _ in range(_RUNS)]


def _walked(walks: list[Walk]) -> list[Any]:
    for walk in walks:
        walk.start()
    advances = [walk.advance(keep_going=True)[0] for walk in walks]
    assert all(result.status == "success" for advance in advances for result in advance.results)
    assert all(len(advance.results) == _STEPS for advance in advances)
    return advances


def _committed(advances: list[Any]) -> None:
    writing = commit(_Nowhere(), advances, mint.uuid())  # type: ignore[arg-type]
    with pytest.raises(StopIteration):
        writing.send(None)


def test_a_step_is_walked_and_committed_in_few_calls() -> None:
    """A template with a filter, rendered, recorded and laid out for its commit."""
    walks = _walks(graphs.transforms(10))
    _committed(_walked(walks()))  # what is kept from the first time on is there now
    fresh = walks()
    counted = calls(lambda: _committed(_walked(fresh)))
    print(f"calls to walk and commit a step: {counted / (_RUNS * _STEPS):.1f}")
    assert counted / (_RUNS * _STEPS) <= 82


def test_a_step_that_waits_for_its_commit_takes_little_memory() -> None:
    """What an advance holds of each of its steps, in blocks of memory."""
    walks = _walks(graphs.transforms(10))
    counted = blocks(lambda: _walked(walks()))
    print(f"blocks of a step: {counted / (_RUNS * _STEPS):.1f}")
    assert counted / (_RUNS * _STEPS) <= 5.8


async def _of_worker(database_url: str, graph: graphs.Graph, messages: int = 10) -> float:
    """Calls on a worker's loop for each run, from the message to the commit."""
    counter = Calls()
    async with Engine.running(database_url) as engine:
        flow = await workflow(engine.outside, *graph)
        payload = '{"webhook_payload":{"name":"ada"}}'
        runs = await start_runs(engine.outside, flow, _RUNS * (messages + 1), payload)
        await engine.outside.execute("UPDATE runs SET trigger_type = 'webhook'")
        for number in range(messages + 1):
            references = [first(run_id, flow) for run_id in runs[number * _RUNS : (number + 1) * _RUNS]]
            if number == 0:
                await engine.take(*references)
                continue
            with counter.counted():
                await engine.take(*references)
        done = await engine.outside.fetchval("SELECT count(*) FROM runs WHERE status = 'completed'")
    assert done == len(runs)
    return counter.count / (_RUNS * messages)


def test_a_worker_takes_a_run_in_few_calls(database_url: str) -> None:
    """From a message of 16 pure runs to their commit: read, walked, written, counted."""
    counted = uvloop.run(_of_worker(database_url, graphs.condition_and_transform()))
    print(f"calls of a worker for a run: {counted:.1f}")
    assert counted <= 410


def _send(port: int, request: bytes, times: int) -> None:
    """One request after the other on one connection, each answered with 202."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        for _ in range(times):
            connection.sendall(request)
            answer = b""
            while (message := split_message(answer)) is None:
                answer += connection.recv(4096)
            assert message[0].startswith(b"HTTP/1.1 202 ")


async def _webhook(api: Api, port: int) -> bytes:
    """A request to the webhook of a new workflow."""
    nodes, edges = graphs.condition_and_transform()
    async with ClientSession(f"http://127.0.0.1:{port}") as http:
        made = await ApiClient(api, http, token()).create(nodes=nodes, edges=edges)
    body, path = graphs.payload(), made["webhook_url"].removeprefix(PUBLIC_URL)
    head = f"POST {path} HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    return head.encode() + b"\r\n" + body


async def _of_api(database_url: str, broker_url: str, times: int = 200) -> float:
    """Calls on the api's loop for each webhook that it accepts."""
    counter = Calls()
    settings = config(database_url, broker_url)
    pool = await open_pool(database_url, size=4, name="api")
    api = await Api.start(settings, pool)
    try:
        port = await api.listen("127.0.0.1", 0)
        request = await _webhook(api, port)
        await asyncio.to_thread(_send, port, request, 20)
        with counter.counted():
            await asyncio.to_thread(_send, port, request, times)
    finally:
        await api.stop()
        await pool.close()
    return counter.count / times


def test_the_api_accepts_a_webhook_in_few_calls(database_url: str, broker_url: str) -> None:
    """From the bytes of a request to those of its answer, its commit in between, when one comes at a time."""
    counted = uvloop.run(_of_api(database_url, broker_url))
    print(f"calls of the api for a webhook: {counted:.1f}")
    assert counted <= 579


#: A service takes copies of large bodies and frees them, again and again; it prints how many pages the kernel cleared.
_COPIES = """
import resource
from shared.service import settle
settle()
def handle():
    copies = [bytes([65]) * 160_000 for _ in range(16)]
handle()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(50):
    handle()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the parameters are those of glibc's allocator")
def test_memory_of_large_bodies_is_used_again() -> None:
    """Of 800 copies of 160 KB, 40 pages each, hardly a page comes from the kernel: what was freed is kept."""
    told = subprocess.run([sys.executable, "-c", _COPIES], capture_output=True, check=True, text=True)
    faults = int(told.stdout)
    print(f"pages taken from the kernel: {faults}")
    assert faults <= 100
