"""Descriptions of SOAP services: WSDL with all that it imports, fetched through the guard, read in a thread, and kept.

The library reads from what was fetched and nothing else: where it wants a document that is not there, it is stopped,
the document is fetched by the outbound client, and it begins anew. So no thread waits for a server, the name of a file
means nothing, and each import is checked like the address that the author wrote.
"""

import asyncio
import time
from collections.abc import Callable, Hashable, Sequence
from datetime import datetime
from functools import partial
from hashlib import sha256
from typing import Any, Final, NamedTuple
from weakref import WeakValueDictionary

from shared.egress.interface import Egress, EgressResponse
from shared.egress.pinned import shown
from shared.egress.target import parse_url
from shared.errors import StepFailedError
from shared.nodes.extras import Extra
from shared.nodes.http_response import failure, succeeded
from shared.nodes.soap_particles import check as check_particles
from shared.nodes.threads import in_thread

SOAP: Final = Extra("soap", "zeep")
#: Of one description: documents, and bytes of all of them.
MAX_DOCUMENTS: Final = 50
MAX_BYTES: Final = 2 * 1024 * 1024
#: Of all that are kept: descriptions, and bytes as fetched; what is made of them takes some twenty times as much.
_KEPT: Final = 64
_KEPT_BYTES: Final = 4 * 1024 * 1024
#: Of processor time for reading one.
_SECONDS: Final = 20.0
#: Seconds after which a description is fetched anew.
FRESH: Final = 300.0


class Source(NamedTuple):
    """Where a description is, and how it is asked for.

    Attributes:
        headers: sent to the description's own origin alone, never to that of an import.
    """

    url: str
    headers: Sequence[tuple[str, str]]
    verify_tls: bool

    @property
    def key(self) -> Hashable:
        """Who asks with other credentials may be answered otherwise; the credentials themselves are not kept."""
        return sha256(repr((self.url, list(self.headers), self.verify_tls)).encode("utf-8", "replace")).digest()


class _Kept(NamedTuple):
    document: Any
    size: int
    until: float


class Descriptions:
    """The descriptions that this process has read lately.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._kept: dict[Hashable, _Kept] = {}
        self._locks: WeakValueDictionary[Hashable, asyncio.Lock] = WeakValueDictionary()

    def __len__(self) -> int:
        return len(self._kept)

    async def get(self, source: Source, egress: Egress, *, seconds: float, now: datetime) -> Any:
        """The `zeep.wsdl.Document` of a source; who wants the same at the same time waits for the first.

        Raises:
            StepFailedError: what `Egress.request` raises, ``wsdl_unavailable`` with the status, ``wsdl_too_large``,
                ``invalid_wsdl``, ``too_slow``.
        """
        key = (id(asyncio.get_running_loop()), source.key)
        lock = self._locks.setdefault(key, asyncio.Lock())
        async with lock:
            kept = self._kept.get(source.key)
            if kept is None or kept.until <= self._clock():
                document, size = await _read(source, egress, seconds, now)
                kept = _Kept(document, size, self._clock() + FRESH)
                self._keep(source.key, kept)
        return kept.document

    def _keep(self, key: Hashable, fresh: _Kept) -> None:
        self._kept.pop(key, None)
        self._kept[key] = fresh
        while len(self._kept) > _KEPT or sum(each.size for each in self._kept.values()) > _KEPT_BYTES:
            del self._kept[next(iter(self._kept))]


class _Missing(Exception):  # noqa: N818 — no fault: what is to be fetched next
    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.url = url


class _Fetched:
    """What the library takes for its transport: the documents that are there."""

    def __init__(self, documents: dict[str, bytes]) -> None:
        self._documents = documents

    def load(self, url: str) -> bytes:
        if url not in self._documents:
            raise _Missing(url)
        return self._documents[url]


async def _read(source: Source, egress: Egress, seconds: float, now: datetime) -> tuple[Any, int]:
    """The document and the bytes it was made of."""
    ends = time.monotonic() + seconds
    fetched: dict[str, bytes] = {}
    wanted = source.url
    while True:
        if len(fetched) >= MAX_DOCUMENTS:
            message = f"The WSDL imports more than {MAX_DOCUMENTS - 1} other documents."
            raise StepFailedError("wsdl_too_large", message)
        response = await _asked(source, wanted, egress, max(0.001, ends - time.monotonic()))
        if not succeeded(response.status, None):
            raise failure(response, now, code="wsdl_unavailable", what="Fetching the WSDL")
        fetched[wanted] = response.body
        size = sum(map(len, fetched.values()))
        if size > MAX_BYTES:
            raise _too_large()
        read = await in_thread(partial(_parsed, source.url, dict(fetched)), seconds=_SECONDS)
        if not isinstance(read, _Missing):
            return read, size
        wanted = read.url


async def _asked(source: Source, url: str, egress: Egress, seconds: float) -> EgressResponse:
    own = parse_url(url)[0] == parse_url(source.url)[0]
    headers = source.headers if own else ()
    try:
        return await egress.request(
            "GET", url, headers=headers, timeout=seconds, verify_tls=source.verify_tls, max_bytes=MAX_BYTES
        )
    except StepFailedError as error:
        raise (_too_large() if error.code == "response_too_large" else error) from None


def _too_large() -> StepFailedError:
    return StepFailedError("wsdl_too_large", f"A WSDL and what it imports have at most {MAX_BYTES} bytes together.")


def _parsed(url: str, documents: dict[str, bytes]) -> Any:
    """The document, or what it lacks. Runs in a thread."""
    wsdl = SOAP.load("wsdl")
    check_particles(documents.values(), SOAP.load("wsdl.utils").etree)
    try:
        document = wsdl.Document(url, _Fetched(documents), settings=settings())
    except _Missing as missing:
        return missing
    except Exception as error:  # the library raises what it likes, down to AttributeError, over a document that is none
        raise StepFailedError("invalid_wsdl", f"The WSDL cannot be used: {described(error)}") from error
    if not document.services:
        raise StepFailedError("invalid_wsdl", "The WSDL cannot be used: it describes no service.")
    return document


def settings() -> Any:
    """How documents and answers are read: no document type, so neither entities nor anything outside."""
    return SOAP.load("settings").Settings(forbid_dtd=True, forbid_entities=True, xml_huge_tree=False)


def described(error: Exception) -> str:
    """What an error of the library says."""
    name = type(error).__name__
    if name in ("DTDForbidden", "EntitiesForbidden"):
        return "it has a document type (DOCTYPE), and none is read."
    text = shown(str(error)) or name
    return text if text.endswith(".") else f"{text}."
