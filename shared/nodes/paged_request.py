"""A request whose answer comes in pages: each is asked for in turn, in the one step and within its limits."""

import time
from typing import Any, Final, NamedTuple

from shared import jsontext
from shared.egress.fields import for_other_origin
from shared.egress.interface import EgressResponse
from shared.egress.target import parse_url
from shared.errors import StepFailedError
from shared.nodes.base import Outcome, StepContext
from shared.nodes.http_request import Request
from shared.nodes.http_response import failure, output_of, succeeded
from shared.nodes.pagination import Pagination, type_name
from shared.templates import limits
from shared.templates.search import PathError, compiled

#: Bytes of all pages together, unpacked: what one answer may have.
_READ: Final = 10 * 1024 * 1024
#: Bytes of JSON that the items may come to: a step's output has no more.
_MADE: Final = 1024 * 1024


class Terms(NamedTuple):
    """How pages are asked for.

    Attributes:
        own_key: whether the author has set the ``Idempotency-Key``; else each page has one of its own, equal in every
            attempt.
        success: as of `webhook`.
    """

    pagination: Pagination
    own_key: bool
    success: list[int] | None
    follow_redirects: bool
    verify_tls: bool


class Pages:
    """The pages of one step."""

    def __init__(self, request: Request, terms: Terms, context: StepContext) -> None:
        self._first = request
        self._terms = terms
        self._context = context
        self._deadline = time.monotonic() + context.timeout
        self._items: list[Any] = []
        self._count = self._made = self._read = self._took = 0
        self._worked = 0.0
        self._trusted = True
        self._seen: set[str] = set()

    async def read(self) -> Outcome:
        """Ask for page after page.

        Raises:
            StepFailedError: what `Egress.request` raises, for all pages together; ``webhook_failed`` for a page whose
                status is no success; ``invalid_response`` for one that is not as ``pagination`` says;
                ``pagination_loop``; ``output_too_large``.
        """
        pagination = self._terms.pagination
        url: str | None = pagination.opening(self._first.url)
        request = self._request(url or "")
        while True:
            try:
                response = await self._asked(request)
                url = self._taken(response)
                following = None if url is None else self._request(url)
            except StepFailedError as error:
                error.step_input = request.logged()
                raise
            if following is None or self._count == pagination.max_pages:
                return self._outcome(response, more=following is not None)
            request = following

    def _outcome(self, response: EgressResponse, *, more: bool) -> Outcome:
        output = {**output_of(response, "text"), "body": self._items, "duration_ms": self._took}
        return Outcome({**output, "pages": self._count, "more": more}, step_input=self._first.logged())

    def _request(self, url: str) -> Request:
        """The request for a page; at another origin it carries no credentials, nor do those that come after it."""
        target, parsed = parse_url(url)
        if str(parsed) in self._seen:
            raise StepFailedError(
                "pagination_loop", f"Page {self._count} names a page as the next one that was read already."
            )
        self._seen.add(str(parsed))
        if self._terms.pagination.next in ("link", "url") and target != parse_url(self._first.url)[0]:
            self._trusted = False
        headers, body = self._first.headers, self._first.body
        if self._count and not self._terms.own_key:
            headers = [(name, self._key(value) if name == "Idempotency-Key" else value) for name, value in headers]
        if not self._trusted:
            headers, body = list(for_other_origin(headers)), None
        return Request(self._first.method, url, headers, body)

    def _key(self, key: str) -> str:
        return f"{key}:{self._count + 1}"

    async def _asked(self, request: Request) -> EgressResponse:
        response = await self._context.egress.request(
            request.method,
            request.url,
            headers=request.headers,
            body=request.body,
            timeout=self._remaining(),
            follow_redirects=self._terms.follow_redirects,
            verify_tls=self._terms.verify_tls,
            max_bytes=_READ - self._read,
        )
        self._count += 1
        self._read += len(response.body)
        self._took += response.duration_ms
        if not succeeded(response.status, self._terms.success):
            raise failure(response, self._context.now)
        return response

    def _remaining(self) -> float:
        left = self._deadline - time.monotonic()
        if left <= 0:
            message = f"{self._count} pages took the {self._context.timeout:g} s that the step has."
            raise StepFailedError("timeout", message, category="timeout")
        return left

    def _taken(self, response: EgressResponse) -> str | None:
        """Keep the items of a page; the URL of the next."""
        pagination = self._terms.pagination
        page = output_of(response, "json")["body"] if response.body else None
        items = self._found(pagination.items, page, "items") if response.body else []
        if not isinstance(items, list):
            raise StepFailedError(
                "invalid_response",
                f"pagination.items gives {type_name(items)} on page {self._count}; it must be a list "
                "(data || `[]` is one where data may be missing).",
            )
        self._made += len(jsontext.to_bytes(jsontext.encode(items)))
        if self._made > _MADE:
            raise StepFailedError(
                "output_too_large", f"The items of {self._count} pages are over {_MADE:,} bytes of JSON."
            )
        self._items += items
        if self._terms.pagination.next in ("link", "url") and _origin(response.url) != _origin(self._first.url):
            self._trusted = False  # it was redirected there, and whoever answers there says where to go on
        found = None if pagination.path is None else self._found(pagination.path, page, "path")
        return pagination.following(self._first.url, response, found, count=self._count, empty=not items)

    def _found(self, path: str, page: Any, field: str) -> Any:
        """What an expression gives; all of them share the processor time that a node has for its templates."""
        if page is None:
            return None
        began = time.thread_time()
        try:
            return compiled(path)(page, limits.SECONDS - self._worked)
        except PathError as error:
            message = f"pagination.{field} cannot be evaluated on page {self._count}: {error}."
            raise StepFailedError("invalid_response", message) from error
        finally:
            self._worked += time.thread_time() - began


def _origin(url: str) -> object:
    return parse_url(url)[0]
