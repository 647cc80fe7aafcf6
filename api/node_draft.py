"""What a request to test a node asks for, held against every rule that a saved node is held against."""

from collections.abc import Mapping
from functools import partial
from typing import Annotated, Any, Final, NamedTuple, NoReturn
from uuid import UUID

import msgspec
from msgspec import Meta

from api import workflow_links, workflow_vault
from api.call import Call
from api.fields import read_fields
from shared.db import Connection
from shared.errors import Fault, InvalidError, NotFoundError
from shared.graph.catalogue import Kind
from shared.graph.model import RESERVED_IDS, Node
from shared.graph.suggest import clean, shown
from shared.graph.validate import check_node, unseen_references
from shared.ids import Prefix, decode
from shared.jsontext import encode
from shared.nodes.base import NodeType
from shared.nodes.references import VaultUse
from shared.off_loop import off_loop
from shared.store import authorizations

#: What a context may hold that is no output of a node: it stands in for what the run would be.
_AROUND: Final = ("run", "workflow")
_QUOTED: Final = 3


class NodeTest(msgspec.Struct, frozen=True):
    """A node to test, and what is before it."""

    node: Annotated[dict[str, Any], Meta(description="a node as it stands in a workflow")]
    context: Annotated[
        dict[str, Any],
        Meta(description="an object of outputs by node id, the trigger's as trigger; of a trigger, its payload"),
    ] = {}
    authorization_id: Annotated[
        str | None, Meta(description="the id of an authorization of this workspace (auth_...), or null")
    ] = None


class NodeDraft(NamedTuple):
    """A node that may be tested.

    Attributes:
        node: as it was read; its component is known.
        data: as the author wrote it.
        context: what the request gives.
        vault: the vault items that its templates read.
        unseen: references of its templates to what the context does not have.
        authorization_id: of what it may present to APIs.
    """

    node: Node
    data: dict[str, Any]
    context: Mapping[str, Any]
    vault: frozenset[str]
    unseen: list[Fault]
    authorization_id: UUID | None = None


async def read_test(call: Call, raw: Mapping[str, Any]) -> NodeDraft:
    """The node that a request asks to test.

    Raises:
        InvalidError: with every fault of the request and of the node.
    """
    values, faults = read_fields(NodeTest, raw)
    if "node" not in raw:
        faults.append(Fault("node", "parameter_missing", "The 'node' parameter is required for this request."))
    node, wrong = await _read(call, values["node"]) if "node" in values else (None, [])
    faults += wrong
    context = values.get("context", {})
    if node is not None and node.kind is not Kind.TRIGGER:
        faults += _context_faults(context)
    async with call.reading() as connection:
        faults += await _elsewhere(connection, call, values, None if wrong else node)
    if faults or node is None:
        _refuse(faults)
    seen = [name for name, value in context.items() if name not in _AROUND]
    unseen = [] if node.kind is Kind.TRIGGER else unseen_references(node, seen)
    text = values.get("authorization_id")
    authorization_id = None if text is None else decode(Prefix.AUTHORIZATION, text)
    items = frozenset(use.name for use in await _vault_uses(call, node))
    return NodeDraft(node, values["node"].get("data", {}), context, items, unseen, authorization_id)


def _context_faults(context: Mapping[str, Any]) -> list[Fault]:
    """Outputs are objects, or null where a node was skipped."""
    faults = []
    for name, value in context.items():
        path = clean(f"context.{name}")
        if name in RESERVED_IDS and name not in _AROUND:
            faults.append(Fault(path, "reserved_id", f"{shown(name)} means something in templates; no node may be."))
        elif not isinstance(value, dict | None):
            message = f"The output of a node is an object, or null for one that was skipped, not {shown(value)}."
            faults.append(Fault(path, "invalid_type", message))
    return faults


async def _elsewhere(connection: Connection, call: Call, values: Mapping[str, Any], node: Node | None) -> list[Fault]:
    """Faults of what the request names beside itself: an authorization, a workflow that the node calls."""
    faults = []
    text = values.get("authorization_id")
    if text is None and node is not None and _type_of(call, node).authorized:
        message = f"authorization_id is required: a {node.component} presents an authorization."
        faults.append(Fault("authorization_id", "authorization_required", message))
    if text is not None and not await _is_authorization(connection, call, text):
        message = f"There is no authorization {shown(text)} in this workspace."
        faults.append(Fault("authorization_id", "unknown_authorization", message))
    if node is not None:
        faults += await workflow_vault.unknown(connection, call, await _vault_uses(call, node), lock=False)
        called = _type_of(call, node).calls(node.config)
        if called is not None:
            faults += await workflow_links.callee_faults(connection, call, "node.data.workflow_id", called)
    return faults


def _type_of(call: Call, node: Node) -> NodeType[Any]:
    """The type of a node without faults."""
    return call.services.registry.type_of(node.component or "")


async def _read(call: Call, raw: Any) -> tuple[Node | None, list[Fault]]:
    return await off_loop(lambda: check_node(raw, call.services.registry), len(encode(raw)))


async def _vault_uses(call: Call, node: Node) -> list[VaultUse]:
    registry = call.services.registry
    work = partial(registry.vault_uses, node.component or "", node.config, "node.data")
    return await off_loop(work, len(encode(node.config)))


async def _is_authorization(connection: Connection, call: Call, text: str) -> bool:
    try:
        authorization_id = decode(Prefix.AUTHORIZATION, text)
    except NotFoundError:
        return False
    return await authorizations.exists(connection, call.workspace_id, authorization_id)


def _refuse(faults: list[Fault]) -> NoReturn:
    told = " ".join(fault.message for fault in faults[:_QUOTED])
    more = f" And {len(faults) - _QUOTED} more." if len(faults) > _QUOTED else ""
    raise InvalidError("validation_failed", f"The node cannot be tested. {told}{more}", faults=faults)
