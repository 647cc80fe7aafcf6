"""``/workflows/node-types`` and ``/workflows/test-node``: what workflows can be made of, tried one by one."""

from functools import lru_cache
from hashlib import sha256
from typing import Final, NamedTuple

import msgspec
from aiohttp import hdrs, web

from api.access import Scope
from api.answers import Answer
from api.bodies import read_definition
from api.call import Call
from api.node_draft import NodeTest, read_test
from api.node_trial import Failure, Success, ended
from api.routing import Routes
from shared import jsontext
from shared.nodes.descriptions import NodeTypeEntry, described
from shared.nodes.registry import Registry

ROUTES: Final = Routes()


class _Catalogue(NamedTuple):
    """The catalogue as it is sent, and the tag that tells one from another."""

    body: bytes
    etag: str


@ROUTES.route(
    "GET",
    "/workflows/node-types",
    access=Scope.WORKFLOWS_READ,
    summary="List the node types with the JSON Schemas of their data; honours If-None-Match",
    answers={200: list[NodeTypeEntry], 304: None},
)
async def list_node_types(call: Call) -> web.Response:
    """The same for every workspace, and as long as the process lives: caches ask whether it is still good."""
    catalogue = _catalogue(call.services.registry)
    headers = {hdrs.ETAG: catalogue.etag, hdrs.CACHE_CONTROL: "private, no-cache"}
    if _matches(call.request.headers.get(hdrs.IF_NONE_MATCH, ""), catalogue.etag):
        return web.Response(status=304, headers=headers)
    response = web.Response(body=catalogue.body, content_type="application/json", headers=headers)
    response.enable_compression()
    return response


@ROUTES.route(
    "POST",
    "/workflows/test-node",
    access=Scope.WORKFLOWS_EXECUTE,
    summary="Run one node with a given context; runs nothing else and stores nothing",
    body=NodeTest,
    answers={200: Success | Failure},
)
async def test_node(call: Call) -> web.Response:
    """200 with how the node ended, whether well or not; 422 if it could not be saved either.

    A test is a save and an execution in one, so it takes the scopes of both: with one that may only start what others
    have drawn, an API key could send the vault to wherever it likes.
    """
    call.principal.require(Scope.WORKFLOWS_WRITE)
    _, raw = await read_definition(call.request)
    draft = await read_test(call, raw)
    # What a node gives out, or was called with, may hold lone surrogates.
    text = jsontext.encode(msgspec.to_builtins(await ended(call, draft)))
    return Answer(200, jsontext.to_bytes(text)).response()


@lru_cache(maxsize=1)
def _catalogue(registry: Registry) -> _Catalogue:
    body = msgspec.json.encode(described(registry))
    return _Catalogue(body, f'W/"{sha256(body).hexdigest()[:32]}"')


def _matches(wanted: str, etag: str) -> bool:
    """Whether ``If-None-Match`` names this tag, compared weakly: it is the same catalogue however it is coded."""
    tags = [tag.strip().removeprefix("W/") for tag in wanted.split(",")]
    return wanted.strip() == "*" or etag.removeprefix("W/") in tags
