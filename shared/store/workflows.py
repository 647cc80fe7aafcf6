"""Workflows and their immutable versions."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

import msgspec

from shared.db import Connection
from shared.queries import load

_SQL = load("workflows")

#: What a list gives when no limit is asked for: everything.
NO_LIMIT = 2**31 - 1


class WorkflowRow(msgspec.Struct, frozen=True, kw_only=True):
    """A workflow as stored, with the graph of its current version.

    Attributes:
        settings: JSON text, only what the caller gave.
        priority: 0 high, 1 normal, 2 low.
        webhook_token: encrypted with the vault key ring; kept when the trigger becomes another.
        nodes, edges: JSON text; None where a list leaves them out.
    """

    id: UUID
    workspace_id: UUID
    name: str
    description: str | None
    authorization_id: UUID | None
    is_active: bool
    schedule_type: str
    schedule_value: str | None
    timezone: str
    settings: str
    version: int
    priority: int
    trigger_node: str
    trigger_component: str
    next_run_at: datetime | None
    webhook_token_hash: bytes | None
    webhook_token: bytes | None
    nodes: str | None
    edges: str | None
    created_at: datetime
    updated_at: datetime


class Version(NamedTuple):
    """The source and the plan of one version, all JSON text but the format and the author.

    Attributes:
        webhook: what its webhook trigger asks of requests; None for nothing.
        authorization_id: of what its nodes present to APIs.
    """

    workspace_id: UUID
    workflow_id: UUID
    version: int
    nodes: str
    edges: str
    settings: str
    plan: str
    plan_format: int
    created_by: str
    webhook: str | None
    authorization_id: UUID | None


class Target(NamedTuple):
    """What must be known of a workflow to start it."""

    id: UUID
    workspace_id: UUID
    is_active: bool
    trigger_component: str
    trigger_node: str


class Webhook(NamedTuple):
    """What a webhook token leads to.

    Attributes:
        rules: what its trigger asks of requests, JSON text (`shared.nodes.webhook_rules`); None for nothing.
    """

    token_hash: bytes
    id: UUID
    workspace_id: UUID
    is_active: bool
    trigger_component: str
    rules: str | None


class Filters(NamedTuple):
    """Which workflows a list gives; None filters nothing.

    Attributes:
        text: stands in the name or the description, whatever its case.
        before: only those older than this one.
        limit: the most there will be; None for all.
    """

    is_active: bool | None = None
    schedule_type: str | None = None
    text: str | None = None
    before: UUID | None = None
    limit: int | None = None


def webhook_token_context(workflow_id: UUID) -> str:
    """What binds an encrypted webhook token to its row."""
    return f"workflows.webhook_token:{workflow_id}"


async def now(connection: Connection) -> datetime:
    """Postgres's time."""
    moment: datetime = await connection.fetchval(_SQL["now"])
    return moment


async def add(connection: Connection, row: WorkflowRow, version: Version) -> WorkflowRow:
    """Store a new workflow and its first version; gives it back with the timestamps Postgres gave it."""
    stamps = await connection.fetchrow(_SQL["add"], *_columns(row))
    await connection.execute(_SQL["add_version"], *version)
    return msgspec.structs.replace(row, **dict(stamps or {}))


async def update(connection: Connection, row: WorkflowRow, version: Version | None) -> WorkflowRow:
    """Store a changed workflow, and a new version of its graph if there is one."""
    stamps = await connection.fetchrow(_SQL["update"], *_columns(row))
    if version is not None:
        await connection.execute(_SQL["add_version"], *version)
    return msgspec.structs.replace(row, **dict(stamps or {}))


async def rotate_token(connection: Connection, row: WorkflowRow, *, overlap: int) -> WorkflowRow:
    """Store a row's new webhook token; the one of before works for ``overlap`` more seconds."""
    token = (row.webhook_token_hash, row.webhook_token)
    updated_at = await connection.fetchval(_SQL["rotate_token"], row.id, row.workspace_id, *token, overlap)
    return msgspec.structs.replace(row, updated_at=updated_at)


async def get(connection: Connection, workspace_id: UUID, workflow_id: UUID) -> WorkflowRow | None:
    """A workflow of a workspace."""
    record = await connection.fetchrow(_SQL["get"], workspace_id, workflow_id)
    return None if record is None else WorkflowRow(**record)


async def lock(connection: Connection, workspace_id: UUID, workflow_id: UUID) -> WorkflowRow | None:
    """A workflow of a workspace, locked against other writers for this transaction."""
    record = await connection.fetchrow(_SQL["lock"], workspace_id, workflow_id)
    return None if record is None else WorkflowRow(**record)


async def list_all(connection: Connection, workspace_id: UUID, filters: Filters) -> list[WorkflowRow]:
    """The workflows of a workspace, newest first, without their graphs."""
    limit = NO_LIMIT if filters.limit is None else filters.limit
    records = await connection.fetch(_SQL["list"], workspace_id, *filters[:-1], limit)
    return [WorkflowRow(**record) for record in records]


async def list_callable(connection: Connection, workspace_id: UUID) -> list[WorkflowRow]:
    """The active workflows of a workspace that `trigger_workflow` may call, newest first, without their graphs."""
    return [WorkflowRow(**record) for record in await connection.fetch(_SQL["list_callable"], workspace_id)]


async def mark_deleted(connection: Connection, workspace_id: UUID, workflow_id: UUID) -> None:
    """Make a workflow gone for every caller."""
    await connection.execute(_SQL["mark_deleted"], workflow_id, workspace_id)


async def by_tokens(connection: Connection, hashes: Sequence[bytes]) -> list[Webhook]:
    """What the webhook tokens with these SHA-256 lead to, in whichever workspace; nothing for those nobody has."""
    return [Webhook(*record) for record in await connection.fetch(_SQL["by_tokens"], hashes)]


async def target(connection: Connection, workspace_id: UUID, workflow_id: UUID) -> Target | None:
    """What must be known to start a workflow of a workspace."""
    record = await connection.fetchrow(_SQL["target"], workspace_id, workflow_id)
    return None if record is None else Target(*record)


def _columns(row: WorkflowRow) -> tuple[object, ...]:
    """The columns of `add` and `update`, in their order."""
    return (
        row.id,
        row.workspace_id,
        row.name,
        row.description,
        row.authorization_id,
        row.is_active,
        row.schedule_type,
        row.schedule_value,
        row.timezone,
        row.settings,
        row.version,
        row.priority,
        row.trigger_node,
        row.trigger_component,
        row.next_run_at,
        row.webhook_token_hash,
        row.webhook_token,
    )
