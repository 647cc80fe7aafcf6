"""The workflow object as callers see it."""

import msgspec
from msgspec import UNSET

from api.moments import stamp, stamp_or_none
from api.webhook_targets import TRIGGER_COMPONENT
from api.workflow_fields import Workflow
from shared.ids import Prefix, encode
from shared.jsontext import to_bytes
from shared.store.workflows import WorkflowRow, webhook_token_context
from shared.vault import KeyRing


def present(row: WorkflowRow, keys: KeyRing, public_url: str) -> Workflow:
    """The workflow object of a row; without graph if the row has none."""
    return Workflow(
        id=encode(Prefix.WORKFLOW, row.id),
        name=row.name,
        description=row.description,
        nodes=UNSET if row.nodes is None else msgspec.Raw(to_bytes(row.nodes)),
        edges=UNSET if row.edges is None else msgspec.Raw(to_bytes(row.edges)),
        authorization_id=None if row.authorization_id is None else encode(Prefix.AUTHORIZATION, row.authorization_id),
        schedule_type=row.schedule_type,
        schedule_value=row.schedule_value,
        next_run_at=stamp_or_none(row.next_run_at),
        is_active=row.is_active,
        webhook_url=_webhook_url(row, keys, public_url),
        created_at=stamp(row.created_at),
        updated_at=stamp(row.updated_at),
        version=row.version,
        timezone=row.timezone,
        settings=msgspec.Raw(row.settings.encode()),
    )


def etag(row: WorkflowRow) -> str:
    """What ``If-Match`` compares: it changes with every write of a caller, and not when the scheduler moves on."""
    return f'"{row.version}-{int(row.updated_at.timestamp() * 1_000_000):x}"'


def token_context(row: WorkflowRow) -> str:
    """What binds an encrypted webhook token to its row."""
    return webhook_token_context(row.id)


def _webhook_url(row: WorkflowRow, keys: KeyRing, public_url: str) -> str | None:
    if row.trigger_component != TRIGGER_COMPONENT or row.webhook_token is None:
        return None
    token = keys.decrypt(row.webhook_token, context=token_context(row)).decode()
    return f"{public_url}/workflows/webhooks/{token}"
