"""Plans of workflow versions, with their nodes compiled; versions never change, so they are cached."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, Final, NamedTuple
from uuid import UUID

import asyncpg

from shared.errors import EdgewiseError
from shared.graph.plan import PLAN_FORMAT, Plan, compile_plan, decode_plan
from shared.ids import Prefix, encode
from shared.jsontext import decode
from shared.nodes.base import CompiledNode
from shared.nodes.registry import Registry
from shared.off_loop import off_loop
from shared.queries import load
from shared.templates.fields import Rendering, renderer
from worker.payloads import payload_reader

_SQL = load("plans")
#: Characters of the plans whose blueprints are kept; those of templates take some 50 times as many bytes.
_HEAVIEST: Final = 8 * 1024 * 1024


class UnknownNodeTypeError(EdgewiseError):
    """This worker has no such node type; a newer one may have it."""


class Blueprint(NamedTuple):
    """A plan whose nodes are ready to run.

    Attributes:
        workflow: what templates see under that name.
        finish_branches: whether branches that do not depend on a failed step go on to their end.
        concurrency_key: renders what runs of the workflow are serialised by; None if they are not.
        asking: the nodes that wait for answers, if a template could name their links.
        read_payload: decodes what a request brought, as far as templates see it.
        responses: the nodes that answer the request which started a run.
        vault: the vault items that its nodes read; None if they use no secrets of any kind.
        authorization_id: of what the version presents to APIs, None if it has nothing.
    """

    plan: Plan
    nodes: dict[str, CompiledNode]
    workflow: dict[str, Any]
    finish_branches: bool = False
    concurrency_key: Callable[[Mapping[str, Any]], Any] | None = None
    asking: tuple[str, ...] = ()
    read_payload: Callable[[str], Any] = decode
    responses: tuple[str, ...] = ()
    vault: frozenset[str] | None = None
    authorization_id: UUID | None = None


class Plans:
    """Blueprints by workflow and version, the most recently used ones kept.

    Args:
        pool: where versions are read.
        registry: of node types.
        size: how many are kept.
    """

    def __init__(self, pool: asyncpg.Pool, registry: Registry, *, size: int = 1000) -> None:
        self._pool = pool
        self._registry = registry
        self._size = size
        self._kept: OrderedDict[tuple[UUID, int], Blueprint] = OrderedDict()
        self._weights: dict[tuple[UUID, int], int] = {}
        self._weight = 0
        self._loading: dict[tuple[UUID, int], asyncio.Task[Blueprint]] = {}

    def cached(self, workflow_id: UUID, version: int) -> Blueprint | None:
        """The blueprint, if it is here."""
        key = (workflow_id, version)
        found = self._kept.get(key)
        if found is not None:
            self._kept.move_to_end(key)
        return found

    async def get(self, workflow_id: UUID, version: int) -> Blueprint:
        """The blueprint of a version; concurrent calls load it once.

        Raises:
            UnknownNodeTypeError: if a node's type is not known here.
            LookupError: if there is no such version any more.
        """
        found = self.cached(workflow_id, version)
        if found is not None:
            return found
        key = (workflow_id, version)
        task = self._loading.get(key)
        if task is None:
            task = self._loading[key] = asyncio.create_task(self._load(key))
            task.add_done_callback(lambda _: self._loading.pop(key, None))
        return await asyncio.shield(task)

    async def _load(self, key: tuple[UUID, int]) -> Blueprint:
        record = await self._pool.fetchrow(_SQL["load_version"], *key)
        if record is None:
            raise LookupError(f"workflow version {key} is gone")
        blueprint = await off_loop(partial(self._blueprint, key, record), len(record["plan"]))
        self._keep(key, blueprint, len(record["plan"]))
        return blueprint

    def _keep(self, key: tuple[UUID, int], blueprint: Blueprint, weight: int) -> None:
        self._kept[key] = blueprint
        self._weights[key] = weight
        self._weight += weight
        while len(self._kept) > self._size or (self._weight > _HEAVIEST and len(self._kept) > 1):
            oldest, _ = self._kept.popitem(last=False)
            self._weight -= self._weights.pop(oldest)

    def _blueprint(self, key: tuple[UUID, int], record: asyncpg.Record) -> Blueprint:
        """Made of what is stored. Touches nothing of the loop."""
        plan = self._plan(record)
        workflow = {"id": encode(Prefix.WORKFLOW, key[0]), "name": record["name"], "version": key[1]}
        settings = decode(record["settings"])
        finish_branches = settings.get("on_failure") == "finish_branches"
        serialised_by = _renders(settings.get("concurrency_key"))
        nodes = self._compile(plan)
        asking = self._asking(plan, nodes)
        read_payload = payload_reader(plan, self._registry, settings.get("concurrency_key"))
        responses = self._registry.responses(plan)
        return Blueprint(
            plan,
            nodes,
            workflow,
            finish_branches,
            serialised_by,
            asking,
            read_payload,
            responses,
            _vault(nodes.values()),
            record["authorization_id"],
        )

    def _plan(self, record: asyncpg.Record) -> Plan:
        if record["plan_format"] == PLAN_FORMAT:
            return decode_plan(record["plan"])
        return compile_plan(decode(record["nodes"]), decode(record["edges"]), self._registry)

    def _asking(self, plan: Plan, nodes: dict[str, CompiledNode]) -> tuple[str, ...]:
        if not any("run" in node.references for node in nodes.values()):
            return ()
        return tuple(name for name, node in plan.nodes.items() if self._registry.type_of(node.component).asks)

    def _compile(self, plan: Plan) -> dict[str, CompiledNode]:
        unknown = sorted(
            {node.component for node in plan.nodes.values() if self._registry.kind(node.component) is None}
        )
        if unknown:
            raise UnknownNodeTypeError("unknown_node_type", f"This worker has no node type {', '.join(unknown)}.")
        return {name: self._registry.compile(name, node.component, node.data) for name, node in plan.nodes.items()}


def _vault(nodes: Iterable[CompiledNode]) -> frozenset[str] | None:
    secretive = [node.vault for node in nodes if node.secretive]
    return frozenset().union(*secretive) if secretive else None


def _renders(source: str | None) -> Callable[[Mapping[str, Any]], Any] | None:
    """What renders a text that may be a template."""
    if source is None:
        return None
    return renderer(source, "concurrency_key", Rendering.TEXT, None) or (lambda _: source)
