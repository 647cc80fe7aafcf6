"""Runs the examples of node types as the engine does, against stand-ins for what is outside."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from shared.egress.interface import EgressResponse
from shared.nodes.base import CompiledNode, Grant, Kind, Mode, Outcome, StepContext, TriggerContext, Wait

NOW: Final = datetime(2025, 10, 31, 12, tzinfo=UTC)
RUN_ID: Final = "fl_run_01h3j4k5l6m7n8p9q0r1s2t3v4"

#: Their examples speak to a server that is not a plain one; `tests/integration/test_nodes_<name>.py` runs real ones.
ELSEWHERE: Final = frozenset({"send_email", "ssh_command", "soap_request", "postgres_query", "redis_command"})
#: What the server behind a request answers, where it matters.
ANSWERS: Final[Mapping[str, Any]] = {
    "graphql_request": {"data": {"site": {"name": "Cape", "status": "up"}}},
    "ai_text_transform": {
        "model": "small",
        "choices": [{"message": {"content": "A refund."}, "finish_reason": "stop"}],
    },
}
_ANSWER: Final = {"ok": True}


class StandIn:
    """Answers every request alike, and remembers it."""

    def __init__(self, answer: Any) -> None:
        self._answer = msgspec.json.encode(answer)
        self.requests: list[dict[str, Any]] = []

    async def request(
        self, method: str, url: str, *, headers: Sequence[tuple[str, str]] = (), body: bytes | None = None, **rest: Any
    ) -> EgressResponse:
        self.requests.append({"method": method, "url": url, "headers": list(headers), "body": body, **rest})
        return EgressResponse(200, "OK", (("Content-Type", "application/json"),), self._answer, url, 3)


class Key:
    """An authorization that does not change."""

    async def grant(self, refused: Grant | None = None) -> Grant:
        return Grant("https://api.example.com/v1", ("X-Api-Key", "a-key-of-the-test"), ("a-key-of-the-test",))


def step_context(component: str) -> StepContext:
    """The context of a first attempt."""
    egress = StandIn(ANSWERS.get(component, _ANSWER))
    return StepContext(RUN_ID, "n2", "-", 1, f"{RUN_ID}:n2:-", NOW, 30.0, egress, authorization=Key())


def outcome_of(node: CompiledNode, scope: Mapping[str, Any]) -> Outcome:
    """Run a node as the engine does: by its kind and mode, never by its type."""
    if node.kind is Kind.TRIGGER:
        return node.trigger(TriggerContext(RUN_ID, "manual", {"user_id": 7}))
    context = step_context(node.component_id)
    if node.mode is Mode.EFFECT:
        return asyncio.run(node.call(scope, context))
    if node.mode is Mode.WAIT:
        wait = node.begin(scope, context)
        assert wait.until > NOW
        return node.resume(scope, _woken(context, wait))
    if node.mode is Mode.ITERATE:
        return Outcome({"count": len(node.divide(scope).items)}, handle="done")
    return node.run(scope, lambda: NOW)


def _woken(context: StepContext, wait: Wait) -> StepContext:
    """A wait ends with its time, that for a run with the run."""
    if wait.call is None:
        return context
    child = {"run_id": RUN_ID, "status": "completed", "output": dict(wait.call.payload)}
    return msgspec.structs.replace(context, wake="child", brought=child)
