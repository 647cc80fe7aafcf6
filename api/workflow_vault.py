"""The vault items that a workflow names: they must exist when it is saved, and are kept with it for `used_by`."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from uuid import UUID

from api.call import Call
from api.workflow_draft import Draft
from shared.db import Connection
from shared.errors import Fault
from shared.graph.suggest import Nearest, listed, shown
from shared.nodes.references import VaultUse
from shared.nodes.registry import Registry
from shared.off_loop import off_loop
from shared.store import vault


async def check(
    connection: Connection, call: Call, made: Draft, raw: Mapping[str, Any], *, lock: bool
) -> tuple[frozenset[str] | None, list[Fault]]:
    """The names of vault items in a draft, None if the request leaves its graph as it is; and those that are none.

    Args:
        connection: with the transaction that stores the draft, if that is what comes next.
        call: of the request.
        made: the draft.
        raw: what the request changes.
        lock: whether the items are to stay until the transaction has ended.
    """
    if "nodes" not in raw or made.plan is None:
        return None if "nodes" not in raw else frozenset(), []
    uses = await off_loop(lambda: list(_uses(made, call.services.registry)), len(made.nodes))
    return frozenset(use.name for use in uses), await unknown(connection, call, uses, lock=lock)


async def unknown(connection: Connection, call: Call, uses: Sequence[VaultUse], *, lock: bool) -> list[Fault]:
    """A fault for each use of an item that the workspace does not have.

    Args:
        connection: to read by.
        call: of the request.
        uses: what nodes name.
        lock: see `check`.
    """
    names = frozenset(use.name for use in uses)
    known = await vault.existing(connection, call.workspace_id, names, lock=lock) if names else frozenset()
    missing = [use for use in uses if use.name not in known]
    if not missing:
        return []
    legal = await vault.names(connection, call.workspace_id)
    nearest = Nearest()
    return [_fault(use, legal, nearest) for use in missing]


async def store(connection: Connection, call: Call, workflow_id: UUID, names: frozenset[str] | None) -> None:
    """Keep which items the current version of a workflow names."""
    if names is not None:
        await vault.replace_uses(connection, call.workspace_id, workflow_id, names)


def _uses(made: Draft, registry: Registry) -> Iterator[VaultUse]:
    """What the nodes of a draft without faults of its graph name."""
    nodes = {} if made.plan is None else made.plan.nodes
    for place, node in enumerate(made.values["nodes"]):
        planned = nodes[node["id"]]
        yield from registry.vault_uses(planned.component, planned.data, f"nodes[{place}].data")


def _fault(use: VaultUse, legal: list[str], nearest: Nearest) -> Fault:
    hint = nearest.hint(use.name, lambda: legal)
    there = f" There are: {listed(legal)}." if legal else " It has none yet."
    message = f"There is no vault item {shown(use.name)} in this workspace{hint}{there}"
    return Fault(use.path, "unknown_vault_item", message)
