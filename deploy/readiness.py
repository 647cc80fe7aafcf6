"""Waiting until the services say, by their own ``/readyz``, that they can work."""

import asyncio
import time
from collections.abc import Mapping

from deploy.supervise import Child
from shared.errors import EdgewiseError

_SECONDS = 60.0
_EVERY = 0.04
_ANSWER_SECONDS = 5.0
_MOST_DEATHS = 3


async def await_ready(ports: Mapping[str, int], children: Mapping[str, Child]) -> None:
    """Wait until every service is ready.

    Args:
        ports: of the probes, by service.
        children: the same services, so that one that keeps dying ends the wait.

    Raises:
        EdgewiseError: if one died three times, or a minute has passed; it says what is missing.
    """
    deadline = time.monotonic() + _SECONDS
    await asyncio.gather(*(_await_one(children[name], port, deadline) for name, port in ports.items()))


async def _await_one(child: Child, port: int, deadline: float) -> None:
    while (missing := await _missing(port)) is not None:
        if child.deaths >= _MOST_DEATHS:
            raise EdgewiseError(
                "start_failed", f"{child.name} does not start: it ended {child.deaths} times; see above."
            )
        if time.monotonic() > deadline:
            raise EdgewiseError("start_failed", f"{child.name} is not ready after {_SECONDS:g} s: {missing}")
        await asyncio.sleep(_EVERY)


async def _missing(port: int) -> str | None:
    """What a service says is missing; None if it is ready."""
    try:
        async with asyncio.timeout(_ANSWER_SECONDS):
            answer = await _ask(port)
    except TimeoutError:
        return f"nothing answers on port {port} within {_ANSWER_SECONDS:g} s"
    except OSError as error:
        return f"nothing answers on port {port} ({error.strerror})"
    head, _, body = answer.partition(b"\r\n\r\n")
    return None if b" 200 " in head[:16] else body.decode(errors="replace")[:500]


async def _ask(port: int) -> bytes:
    """The answer to ``/readyz``, head and body."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(b"GET /readyz HTTP/1.0\r\nHost: localhost\r\n\r\n")
        return await reader.read()
    finally:
        writer.close()
