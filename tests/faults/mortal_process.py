"""A worker as a process of its own that ends itself, as by SIGKILL, at a point of one run.

``python -m tests.faults.mortal_process <database url> <run> <trigger> <point>`` prints each effect it makes.
"""

import asyncio
import os
import sys
from uuid import UUID

from shared.db import open_pool
from shared.lanes import Reference
from shared.nodes.base import Outcome, StepContext
from tests.engine import ProbeData, registry
from tests.faults.mortal import Grave, Mortal, Send


class Exit(Grave):
    """Ends the process at the fatal point; what was under way has left it by then."""

    def is_fatal(self, name: str) -> bool:
        if super().is_fatal(name):
            os._exit(9)
        return False

    async def launch(self, name: str, send: Send, *, under_claim: int) -> None:
        if len(self.passed) + 1 == self.fatal:
            sending = asyncio.ensure_future(send())
            await asyncio.wait({sending}, timeout=0.001)
        self.is_fatal(name)


async def _run(url: str, run_id: UUID, trigger: str, point: int) -> None:
    grave = Exit(point)

    async def effect(data: ProbeData, context: StepContext) -> Outcome:
        await grave.point("effect: not made")
        print(context.node_id, context.idempotency_key, flush=True)
        await grave.point("effect: made")
        return Outcome({"value": data.value, "attempt": context.attempt})

    pool = await open_pool(url, size=6, name="mortal")
    async with Mortal.living(url, pool, registry(effect), grave) as mortal:
        messages = [Reference(run_id, trigger, "-", claim=False)]
        while messages:
            await mortal.engine.take(messages.pop(0))
            await mortal.engine.idle()
            messages += mortal.engine.mailbox.references()
    await pool.close()


if __name__ == "__main__":
    asyncio.run(_run(sys.argv[1], UUID(sys.argv[2]), sys.argv[3], int(sys.argv[4])))
