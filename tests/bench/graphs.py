"""The workflows of the workloads, each as (nodes, edges). All but one start at a webhook."""

import random
from itertools import pairwise
from typing import Any

Graph = tuple[list[dict[str, Any]], list[dict[str, Any]]]


def node(node_id: str, component: str, **data: Any) -> dict[str, Any]:
    """One node as a client sends it."""
    return {"id": node_id, "type": component, "position": {"x": 0, "y": 0}, "data": {"componentId": component, **data}}


def edge(source: str, target: str, handle: str | None = None) -> dict[str, Any]:
    """One edge as a client sends it."""
    return {"id": f"{source}-{target}", "source": source, "target": target, "sourceHandle": handle}


def condition_and_transform() -> Graph:
    """Workload 1: webhook, string_condition, text_transform; a template in both."""
    name = "{{ t.webhook_payload.name }}"
    nodes = [
        node("t", "webhook_trigger"),
        node("is_ada", "string_condition", input=name, operator="equals", value="ada"),
        node("greet", "text_transform", template=f"Hello {name}!"),
    ]
    return nodes, [edge("t", "is_ada"), edge("is_ada", "greet", "true")]


def answering() -> Graph:
    """Workload 16: a request that waits, a condition, and the text that answers it."""
    name = "{{ t.payload.name }}"
    nodes = [
        node("t", "sync_request_trigger"),
        node("is_ada", "string_condition", input=name, operator="equals", value="ada"),
        node("greet", "text_transform", template=f"Hello {name}!", is_response=True),
    ]
    return nodes, [edge("t", "is_ada"), edge("is_ada", "greet", "true")]


def scheduled() -> Graph:
    """Workload 9: a schedule, and a transform behind it."""
    nodes = [node("t", "scheduled_trigger"), node("tell", "text_transform", template="At {{ t.scheduled_at }}")]
    return nodes, _chain(nodes)


def transforms(length: int) -> Graph:
    """A chain of pure nodes; each template takes the text of the node before."""
    nodes = [node("t", "webhook_trigger"), node("n1", "text_transform", template="{{ t.webhook_payload.name }}")]
    nodes += [
        node(f"n{number}", "text_transform", template=f"{{{{ n{number - 1}.text | slice: 0, 20 }}}} {number}")
        for number in range(2, length + 1)
    ]
    return nodes, _chain(nodes)


def calls(length: int, url: str) -> Graph:
    """A chain of HTTP calls."""
    nodes = [node("t", "webhook_trigger"), *(_call(number, url) for number in range(1, length + 1))]
    return nodes, _chain(nodes)


def fan(width: int, url: str) -> Graph:
    """Branches of one HTTP call each that meet in a join."""
    branches = [_call(number, url) for number in range(1, width + 1)]
    nodes = [node("t", "webhook_trigger"), *branches, node("join", "text_transform", template="joined")]
    edges = [edge("t", branch["id"]) for branch in branches] + [edge(branch["id"], "join") for branch in branches]
    return nodes, edges


def iterator(url: str, concurrency: int) -> Graph:
    """An iterator over what the payload lists; for each item a transform and an HTTP call."""
    nodes = [
        node("t", "webhook_trigger"),
        node("each", "iterator", items="{{ t.webhook_payload.items }}", concurrency=concurrency),
        node("text", "text_transform", template="item {{ each.item.id }} of {{ each.item.name }}"),
        node("call", "webhook", method="POST", url=url, body='{"number":{{ each.index }}}'),
    ]
    return nodes, [edge("t", "each"), edge("each", "text", "item"), edge("text", "call")]


def items(count: int) -> bytes:
    """A payload that lists items."""
    return b'{"items":[' + b",".join(b'{"id":%d,"name":"ada"}' % number for number in range(count)) + b"]}"


def payload(size: int = 0) -> bytes:
    """A JSON object that workload 1 goes through, filled up to ``size`` bytes with records that compress as usual."""
    chosen = random.Random(1)
    records: list[str] = []
    length = 40
    while length < size:
        records.append(f'{{"id":{chosen.randrange(10**9)},"key":"{chosen.randbytes(12).hex()}","price":12.5}}')
        length += len(records[-1]) + 1
    return f'{{"name":"ada","records":[{",".join(records)}]}}'.encode()


def _call(number: int, url: str) -> dict[str, Any]:
    return node(f"h{number}", "webhook", method="POST", url=url, body=f'{{"number":{number}}}')


def _chain(nodes: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [edge(one["id"], two["id"]) for one, two in pairwise(nodes)]
