"""One request of each kind, to see what callers are told while something is away."""

from collections.abc import Mapping
from typing import Any, Final

from tests.acceptance.outside import node
from tests.faults.scene import Scene
from tests.faults.shapes import Shape

_NODES: Final = [node("start", "manual_trigger")]
#: What is answered while all that a request needs is there.
SERVED: Final = {"execute": 202, "webhook": 202, "read": 200, "list": 200, "save": 201, "health": 200, "ready": 200}


async def answers_of(one: Scene) -> dict[str, tuple[int, bool]]:
    """One request of each kind: its status, and whether the answer says when to come back."""
    shapes = one.client.shapes
    by_hand = next(shape for shape in shapes.values() if not shape.token)
    hook = next(shape for shape in shapes.values() if shape.token)
    asked = {
        "execute": ("POST", f"/workflows/{by_hand.id}/execute", {"context": _payload(one, by_hand)}),
        "webhook": ("POST", f"/workflows/webhooks/{hook.token}", _payload(one, hook)),
        "read": ("GET", f"/workflows/{by_hand.id}", None),
        "list": ("GET", f"/workflows/{by_hand.id}/executions", None),
        "save": ("POST", "/workflows", {"name": "saved", "nodes": _NODES, "edges": []}),
        "health": ("GET", "/healthz", None),
        "ready": ("GET", "/readyz", None),
    }
    answers = {}
    for kind, (method, path, body) in asked.items():
        status, headers = await one.client.ask(method, path, body)
        answers[kind] = (status, "Retry-After" in headers)
    return answers


def _payload(one: Scene, shape: Shape) -> Mapping[str, Any]:
    """A payload whose run the checker knows of, whether or not it is accepted."""
    trigger = one.client.invent(shape, keyed=False)
    return trigger.payload
