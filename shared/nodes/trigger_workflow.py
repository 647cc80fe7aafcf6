"""``trigger_workflow``: starts a run of another workflow, and goes on with its end or at once."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, ClassVar, Final

import msgspec

from shared.errors import NotFoundError, StepFailedError
from shared.ids import Prefix, decode
from shared.nodes.base import Kind, Mode, NodeType, Outcome, StepContext, Wait, WorkflowCall
from shared.nodes.fields import Plain
from shared.states import RunStatus, Waits

#: By what ended the wait, unless that is the run: code and message of the failure.
_REFUSALS: Final = {
    "gone": ("workflow_gone", "The workflow it calls does not exist any more."),
    "inactive": ("workflow_inactive", "The workflow it calls is inactive; activate it, or take the call out."),
    "not_callable": ("workflow_not_callable", "The workflow it calls has no workflow_trigger any more."),
    "too_deep": ("call_too_deep", "Ten runs stand above this one; a run that is called stands at most ten deep."),
}


class Data(msgspec.Struct, forbid_unknown_fields=True):
    """Configuration.

    Attributes:
        workflow_id: of a workflow of this workspace that begins with a ``workflow_trigger``.
        wait: whether the step waits for the run's end.
        context: an object, the run's payload.
    """

    workflow_id: Plain[str]
    wait: bool = True
    context: dict[str, Any] = {}


class TriggerWorkflow(NodeType[Data]):
    """Starts a run, exactly once in each attempt; output ``{run_id, status, output}``.

    If it waits, ``status`` is ``completed`` and ``output`` what the run gave out: that of ``terminate``, else that of
    the only node that ran and that nothing follows, else an object of these by node id. A run that fails or is
    cancelled fails the step, and so does a context that the workflow's ``input_schema`` does not take: then no run
    starts. If it does not wait, they are ``pending`` and null. Its ``timeout`` ends the wait and not
    the run.
    """

    component_id = "trigger_workflow"
    title = "Start a workflow"
    kind = Kind.ACTION
    mode = Mode.WAIT
    data_type = Data
    example: ClassVar[Mapping[str, Any]] = {
        "workflow_id": "fl_01h455vb4pex5vsknk084sn02q",
        "context": {"order": "{{ n1.order }}"},
    }
    example_context: ClassVar[Mapping[str, Any]] = {"n1": {"order": 17}}

    def check(self, data: Mapping[str, Any]) -> list[tuple[str, str]]:
        """See `NodeType.check`."""
        try:
            decode(Prefix.WORKFLOW, data["workflow_id"])
        except NotFoundError:
            return [("workflow_id", "workflow_id must be the id of a workflow: fl_ and 26 characters.")]
        return []

    def calls(self, data: Mapping[str, Any]) -> str | None:
        """See `NodeType.calls`."""
        workflow_id: str = data["workflow_id"]
        return workflow_id

    def begin(self, data: Data, context: StepContext) -> Wait:
        """Start the run."""
        call = WorkflowCall(decode(Prefix.WORKFLOW, data.workflow_id), data.context, data.wait)
        return Wait(context.now + timedelta(seconds=context.timeout), Waits.CHILD_RUN, call=call)

    def resume(self, data: Data, context: StepContext) -> Outcome:
        """Give out how the run ended, or that it was started."""
        if context.wake in _REFUSALS:
            raise StepFailedError(*_REFUSALS[context.wake])
        if context.wake == "answer":
            raise _invalid(context.brought.get("data", []))
        if context.wake == "timer":
            message = f"The run it waits for did not end within {context.timeout:g} seconds; it goes on."
            raise StepFailedError("timeout", message, category="timeout")
        child = context.brought
        if not data.wait:
            return Outcome({"run_id": child.get("run_id"), "status": RunStatus.PENDING.value, "output": None})
        if "unreadable" in child:
            raise StepFailedError(**child["unreadable"])
        if child.get("status") != RunStatus.COMPLETED:
            raise StepFailedError("child_failed", _why(child))
        return Outcome({name: child[name] for name in ("run_id", "status", "output")})


def _invalid(faults: Sequence[Mapping[str, str]]) -> StepFailedError:
    told = " ".join(f"{fault['path']}: {fault['message']}" for fault in faults)
    message = f"The workflow it calls does not take this context. {told}"
    return StepFailedError("invalid_input", message, body={"errors": list(faults)})


def _why(child: Mapping[str, Any]) -> str:
    if not child:
        return "The run it waited for was removed before its end was read."
    told = child.get("error")
    return f"The run {child['run_id']} {_ENDS[child['status']]}{f': {told}' if told else '.'}"


_ENDS: Final = {RunStatus.FAILED: "failed", RunStatus.CANCELLED: "was cancelled"}
