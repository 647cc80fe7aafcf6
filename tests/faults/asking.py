"""One request of each kind, to see what callers are told while something is away."""

import json
from typing import Any, Final

from tests.acceptance.outside import node
from tests.faults.scene import Scene

_NODES: Final = [node("start", "manual_trigger")]
#: What is answered while all that a request needs is there.
SERVED: Final = {"execute": 202, "webhook": 202, "read": 200, "list": 200, "save": 201, "health": 200, "ready": 200}


async def answers_of(one: Scene) -> dict[str, tuple[int, bool]]:
    """One request of each kind: its status, and whether the answer says when to come back."""
    shapes = one.client.shapes.values()
    by_hand, hook = (next(shape for shape in shapes if bool(shape.token) is wanted) for wanted in (False, True))
    executed, sent = one.client.invent(by_hand, keyed=False), one.client.invent(hook, keyed=False)
    asked: dict[str, tuple[str, str, Any]] = {
        "execute": ("POST", f"/workflows/{by_hand.id}/execute", {"context": executed.payload}),
        "webhook": ("POST", f"/workflows/webhooks/{hook.token}", sent.payload),
        "read": ("GET", f"/workflows/{by_hand.id}", None),
        "list": ("GET", f"/workflows/{by_hand.id}/executions", None),
        "save": ("POST", "/workflows", {"name": "saved", "nodes": _NODES, "edges": []}),
        "health": ("GET", "/healthz", None),
        "ready": ("GET", "/readyz", None),
    }
    answers = {}
    for kind, (method, path, body) in asked.items():
        status, headers, text = await one.client.ask(method, path, body)
        answers[kind] = (status, "Retry-After" in headers)
        if status == 202:
            trigger, name = (executed, "id") if kind == "execute" else (sent, "run_id")
            trigger.answers.append(json.loads(text)[name])
    return answers
