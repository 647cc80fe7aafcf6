"""``/workflows/node-types``: what workflows can be made of."""

from functools import lru_cache
from hashlib import sha256
from typing import Final, NamedTuple

import msgspec
from aiohttp import hdrs, web

from api.access import Scope
from api.call import Call
from api.routing import Routes
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


@lru_cache(maxsize=1)
def _catalogue(registry: Registry) -> _Catalogue:
    body = msgspec.json.encode(described(registry))
    return _Catalogue(body, f'W/"{sha256(body).hexdigest()[:32]}"')


def _matches(wanted: str, etag: str) -> bool:
    """Whether ``If-None-Match`` names this tag, compared weakly: it is the same catalogue however it is coded."""
    tags = [tag.strip().removeprefix("W/") for tag in wanted.split(",")]
    return wanted.strip() == "*" or etag.removeprefix("W/") in tags
