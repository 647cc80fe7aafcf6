"""What the templates of a run see, as far as one walk knows it."""

from collections.abc import Callable, Mapping
from typing import Any

from shared.graph.paths import at_depth, depth
from shared.graph.plan import Plan, PlanNode
from shared.ids import Prefix, encode
from shared.jsontext import decode
from shared.links import Links, Place
from shared.nodes.base import Outcome, TriggerContext
from shared.states import TriggerType
from shared.store.taken import Loaded
from worker.plans import Blueprint


class Scope:
    """Outputs by node id, and the names beside them.

    Args:
        loaded: the step the walk starts with.
        blueprint: of the run's version.
        outputs: what earlier steps gave out, as far as it is needed; the trigger's is composed of the run's payload,
            which stands in its place if the step came without.
        links: makes the links of steps that wait for answers.

    Attributes:
        names: what templates see.
    """

    def __init__(self, loaded: Loaded, blueprint: Blueprint, outputs: dict[str, Any], links: Links) -> None:
        self.run_id = encode(Prefix.RUN, loaded.run_id)
        self._loaded = loaded
        self._blueprint = blueprint
        self._outputs = outputs
        trigger = blueprint.plan.trigger
        if trigger in outputs:
            outputs[trigger] = self._compose(outputs[trigger]).output
        self.names: dict[str, Any] = {
            **outputs,
            "nodes": outputs,
            "run": {"id": self.run_id, "trigger_type": loaded.trigger_type, "links": _links(loaded, blueprint, links)},
            "workflow": blueprint.workflow,
        }
        if trigger in outputs:
            self.names["trigger"] = outputs[trigger]

    def trigger(self) -> Outcome:
        """What the trigger gives out; it is not stored."""
        return self._compose(None)

    def key(self, render: Callable[[Mapping[str, Any]], Any]) -> str:
        """Render a text that may read the trigger, before it has run."""
        output = self.trigger().output
        return str(render({**self.names, "trigger": output, self._blueprint.plan.trigger: output}))

    def _compose(self, payload: Any) -> Outcome:
        if self._loaded.trigger_payload is not None:
            by_request = self._loaded.trigger_type == TriggerType.WEBHOOK
            read = self._blueprint.read_payload if by_request else decode
            payload = read(self._loaded.trigger_payload)
        context = TriggerContext(self.run_id, self._loaded.trigger_type, payload)
        return self._blueprint.nodes[self._blueprint.plan.trigger].trigger(context)

    def see(self, node_id: str, output: Mapping[str, Any] | None) -> None:
        """Put an output into the context of what follows; that of a skipped node is nil."""
        self._outputs[node_id] = output
        self.names[node_id] = output
        if node_id == self._blueprint.plan.trigger:
            self.names["trigger"] = output

    def output(self, node_id: str) -> Any:
        """What a node gave out, None if it is not known here."""
        return self._outputs.get(node_id)

    def passed_on(self, node: PlanNode) -> dict[str, Any]:
        """The input of a disabled node: the output of the nearest node before it that ran."""
        return _nearest_output(self._blueprint.plan, node.id, self._outputs)


def _links(loaded: Loaded, blueprint: Blueprint, links: Links) -> dict[str, str]:
    """The links of the steps that wait for answers, but for those in iterators that the walk is not in."""
    if not blueprint.asking:
        return {}
    around = blueprint.plan.nodes[loaded.node_id].scope
    if depth(loaded.item) > len(around):  # the start of an item
        around = (*around, loaded.node_id)
    found = {}
    for name in blueprint.asking:
        scope = blueprint.plan.nodes[name].scope
        if scope == around[: len(scope)]:
            found[name] = links.url(Place(loaded.run_id, name, at_depth(loaded.item, len(scope))))
    return found


def _nearest_output(plan: Plan, node_id: str, outputs: Mapping[str, Any]) -> dict[str, Any]:
    for name, other in reversed(plan.nodes.items()):
        if any(node_id in targets for targets in other.outgoing.values()):
            output: dict[str, Any] | None = outputs.get(name)
            if output is not None:
                return output
    return {}
