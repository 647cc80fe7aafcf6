"""One call of an effect, and what became of it."""

import asyncio
from contextlib import nullcontext

import structlog

from shared.apart.isolated import timed_out
from shared.errors import StepFailedError
from shared.nodes.base import Outcome
from shared.texts import BREAKAGES, internal_error
from shared.timeouts import Timeouts
from worker.isolation import is_apart
from worker.walk import Next, Walk

_log = structlog.get_logger(__name__)


async def outcome_of(walk: Walk, step: Next, timeouts: Timeouts) -> Outcome | StepFailedError:
    """How the effect that a walk holds ended, whatever its node type did, here or apart."""
    try:
        # A process of its own keeps to the timeout by itself, from when it has started.
        with nullcontext() if is_apart(walk) else timeouts.within(step.node.timeout):
            return await walk.call()
    except StepFailedError as error:
        return error
    except TimeoutError:
        return timed_out(step.node.timeout)
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        return internal_error(error)  # nobody cancelled it: the node type raised it by itself
    except BREAKAGES as error:
        _log.exception("a node type broke", component=step.node.component)
        return internal_error(error)
