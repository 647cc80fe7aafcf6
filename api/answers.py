"""Successful responses: encoded once, so that what is sent can also be kept."""

from collections.abc import Mapping
from typing import Any, Final

import msgspec
from aiohttp import web

_JSON: Final = {"Content-Type": "application/json"}


class Answer(msgspec.Struct, frozen=True):
    """A response before it is one.

    Attributes:
        headers: besides the content type.
        secret: whether the body holds a secret.
    """

    status: int
    body: bytes
    headers: Mapping[str, str] = {}
    secret: bool = False

    def response(self, **more: str) -> web.Response:
        """The response, with more headers if need be; underscores in their names stand for dashes."""
        extra = {name.replace("_", "-"): value for name, value in more.items()}
        return web.Response(status=self.status, body=self.body, headers={**_JSON, **self.headers, **extra})


def json_answer(status: int, value: Any, *, headers: Mapping[str, str] | None = None, secret: bool = False) -> Answer:
    """An answer of a Struct, or anything msgspec encodes."""
    return Answer(status, msgspec.json.encode(value), headers or {}, secret)
