"""How many runs are open, in the installation and in each workspace, held against the limits of both."""

from collections.abc import Mapping
from typing import NamedTuple
from uuid import UUID

from shared.db import Connection
from shared.queries import load

_SQL = load("open_runs")


class RunLimits(NamedTuple):
    """Open runs past which triggers start no more.

    Attributes:
        workspace: in any one workspace. One that is no lower than the installation's never counts.
    """

    installation: int
    workspace: int


class OpenRuns(NamedTuple):
    """What a look found.

    Attributes:
        limits: that it is held against.
        total: in the installation, counted no further than its limit.
        by_workspace: of that, in each workspace; not counted where no workspace has a limit of its own.
    """

    limits: RunLimits
    total: int
    by_workspace: Mapping[UUID, int]

    @property
    def full(self) -> bool:
        """Whether the installation has no room."""
        return self.total >= self.limits.installation

    @property
    def full_workspaces(self) -> list[UUID]:
        """The workspaces without room of their own."""
        return [workspace_id for workspace_id, runs in self.by_workspace.items() if runs >= self.limits.workspace]

    def refusal(self, workspace_id: UUID) -> str | None:
        """Why a workspace gets no further run, as a sentence; None if it may have one."""
        if self.full:
            return f"{self.limits.installation} runs are open, which is the limit; come back."
        if self.by_workspace.get(workspace_id, 0) >= self.limits.workspace:
            return f"{self.limits.workspace} runs of this workspace are open, which is its limit; come back."
        return None

    def plus(self, workspace_id: UUID, started: int) -> "OpenRuns":
        """The same with runs that were started since."""
        runs = self.by_workspace.get(workspace_id, 0) + started
        return OpenRuns(self.limits, self.total + started, {**self.by_workspace, workspace_id: runs})


async def look(connection: Connection, limits: RunLimits) -> OpenRuns:
    """Count the open runs, by workspace only if that can matter."""
    if limits.workspace >= limits.installation:
        return OpenRuns(limits, int(await connection.fetchval(_SQL["count"], limits.installation)), {})
    records = await connection.fetch(_SQL["count_by_workspace"], limits.installation)
    by_workspace = {record["workspace_id"]: int(record["runs"]) for record in records}
    return OpenRuns(limits, sum(by_workspace.values()), by_workspace)
