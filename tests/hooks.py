"""Webhooks as strangers see them: saved workflows, requests, signatures, and what is counted of them."""

import hmac
import json
from typing import Any
from uuid import UUID

from prometheus_client import REGISTRY

from shared.ids import Prefix, decode
from tests.api_client import PUBLIC_URL, Answer, ApiClient, node

SECRET = "the secret that GitHub knows"


def definition(**data: Any) -> dict[str, Any]:
    """Nodes of a workflow whose webhook trigger has this data."""
    return {"nodes": [node("n1", "webhook_trigger", **data), node("n2", "text_transform", template="x")]}


async def hook(api: ApiClient, **data: Any) -> tuple[dict[str, Any], str]:
    """A saved workflow and the path of its webhook."""
    made = await api.create(**definition(**data))
    return made, made["webhook_url"].removeprefix(PUBLIC_URL)


async def keep_secret(api: ApiClient, name: str, secret: str) -> UUID:
    """Put a secret into the vault."""
    made = await api.call("POST", "/workflows/vault", {"name": name, "secret": secret})
    assert made.status == 201, made.body
    return decode(Prefix.VAULT, made.json["id"])


async def send(api: ApiClient, path: str, body: Any = b"{}", **headers: str) -> Answer:
    """Send a request as a stranger."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return await api.call("POST", path, token="", data=data, headers={"Content-Type": "application/json", **headers})


def told(answer: Answer) -> tuple[int, str]:
    """Status and code of a refusal."""
    return answer.status, answer.json["code"]


def github(body: bytes, secret: str = SECRET) -> str:
    """GitHub's signature."""
    return "sha256=" + hmac.new(secret.encode(), body, "sha256").hexdigest()


async def runs(api: ApiClient) -> int:
    """How many runs there are."""
    async with api.api.services.pool.acquire() as connection:
        count: int = await connection.fetchval("SELECT count(*) FROM runs")
    return count


def counted(outcome: str) -> float:
    """Requests with this outcome so far."""
    return REGISTRY.get_sample_value("edgewise_webhook_requests_total", {"outcome": outcome}) or 0.0
