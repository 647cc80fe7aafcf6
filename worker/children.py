"""What a run that a step waited for gave out, put together when the step goes on."""

from typing import Any
from uuid import UUID

import asyncpg

from shared.errors import StepFailedError
from shared.ids import Prefix, decode
from shared.jsontext import encode
from shared.states import RunStatus
from shared.store.results import called_version, run_output
from shared.store.taken import Loaded
from shared.texts import brought_by
from worker.plans import Plans


class Children:
    """Reads ends of runs for the steps that waited for them.

    Args:
        pool: of connections.
        plans: of all versions.
    """

    def __init__(self, pool: asyncpg.Pool, plans: Plans) -> None:
        self._pool = pool
        self._plans = plans

    async def bring(self, loaded: Loaded) -> Loaded:
        """The step with the output of the run that woke it; any other step as it is.

        What `terminate` left stands. An output that cannot be put together stands as ``unreadable: {code, message}``;
        of a run that is gone nothing is brought.

        Raises:
            DATABASE_ERRORS: if it could not be read.
            UnknownNodeTypeError: if a newer worker has to do it.
        """
        if loaded.wake != "child" or loaded.brought is None:
            return loaded
        child = brought_by(loaded)
        if child["status"] != RunStatus.COMPLETED or child["output"] is not None:
            return loaded
        run_id = decode(Prefix.RUN, child["run_id"])
        version = await called_version(self._pool, run_id)
        if version is None:  # nobody waits for its end
            return loaded
        try:
            child["output"] = await self._output(run_id, *version)
        except StepFailedError as error:
            child["unreadable"] = {"code": error.code, "message": error.message}
        except LookupError:
            return loaded._replace(brought=None)
        return loaded._replace(brought=encode(child))

    async def _output(self, run_id: UUID, workflow_id: UUID, version: int) -> Any:
        blueprint = await self._plans.get(workflow_id, version)
        return await run_output(self._pool, blueprint.plan, run_id)
