"""A client of the api in tests: tokens, sample workflows, and answers as plain values."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import jwt
import msgspec
from aiohttp import ClientSession
from multidict import CIMultiDict

from api.main import Api
from shared.config import Config

SECRET = "a secret of at least thirty-two bytes"
PUBLIC_URL = "https://edgewise.test"
VAULT_KEYS = "k1:MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="
ALL_SCOPES = "workflows:read workflows:write workflows:execute vault:read vault:write"


def config(database_url: str, broker_url: str, **changes: Any) -> Config:
    """A configuration for tests."""
    values: dict[str, Any] = {
        "database_url": database_url,
        "broker_url": broker_url,
        "jwt_secret": SECRET,
        "vault_keys": VAULT_KEYS,
        "public_url": PUBLIC_URL,
    }
    return Config(**{**values, **changes})


def token(workspace: str | None = "acme", scope: Any = ALL_SCOPES, **claims: Any) -> str:
    """A token; a claim given as None is left out."""
    body = {"sub": "user-1", "exp": int(time.time()) + 600, "workspace": workspace, "scope": scope, **claims}
    return jwt.encode({name: value for name, value in body.items() if value is not None}, SECRET, algorithm="HS256")


@dataclass
class Answer:
    """An answer that was read to its end."""

    status: int
    headers: CIMultiDict[str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body's value."""
        return msgspec.json.decode(self.body)


@dataclass
class ApiClient:
    """An api that is being served, with the token that requests carry unless they say otherwise."""

    api: Api
    http: ClientSession
    token: str

    async def call(self, method: str, path: str, body: Any = None, **options: Any) -> Answer:
        """Send a request; ``body`` is sent as JSON, ``options`` are aiohttp's, ``token`` replaces the usual one."""
        headers = CIMultiDict(options.pop("headers", {}))
        bearer = options.pop("token", self.token)
        if bearer:
            headers.setdefault("Authorization", f"Bearer {bearer}")
        if body is not None:
            options["data"] = msgspec.json.encode(body)
            headers.setdefault("Content-Type", "application/json")
        async with self.http.request(method, path, headers=headers, **options) as response:
            return Answer(response.status, CIMultiDict(response.headers), await response.read())

    async def create(self, **changes: Any) -> dict[str, Any]:
        """Create a workflow and give its object."""
        answer = await self.call("POST", "/workflows", workflow(**changes))
        assert answer.status == 201, answer.body
        created: dict[str, Any] = answer.json
        return created


def node(name: str, component: str, **data: Any) -> dict[str, Any]:
    """A node of a definition."""
    return {"id": name, "type": component, "position": {"x": 0, "y": 0}, "data": {"componentId": component, **data}}


def workflow(trigger: str = "manual_trigger", **changes: Any) -> dict[str, Any]:
    """A small legal workflow: a trigger and a text."""
    return {
        "name": "Sample",
        "nodes": [node("n1", trigger), node("n2", "text_transform", template="{{ n1.run_id }}")],
        "edges": [{"id": "e1", "source": "n1", "target": "n2"}],
        **changes,
    }


async def takes_hold(ask: Callable[[], Awaitable[Any]], wanted: Any, *, within: float = 1.0) -> None:
    """Ask until the answer is the wanted one; what is asked so many seconds from now, or later, must have it.

    The asking is held to the time and not the answer: how long that takes is the machine's affair.
    """
    loop = asyncio.get_running_loop()
    due = loop.time() + within
    while True:
        is_due = loop.time() >= due
        answer = await ask()
        if answer == wanted:
            return
        assert not is_due, (answer, wanted)
