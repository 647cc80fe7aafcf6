"""The page form of the run list: ``{"data", "links", "meta"}``."""

from typing import Annotated, Any, Final, Literal
from urllib.parse import urlencode
from uuid import UUID

import msgspec
from msgspec import Meta

from api.queries import bound_of, read_cursor, refuse
from api.run_view import Run, present_run
from shared.db import Connection
from shared.errors import Fault
from shared.ids import Prefix, encode
from shared.store import runs_read
from shared.store.runs_read import COUNTED, FIRST_ID, LAST_ID, RunCount, RunFilter, RunPage

_PER_PAGE: Final = 50


class RunQuery(msgspec.Struct, frozen=True):
    """Which runs of a workflow, and which page of them.

    Attributes:
        from_, to: runs created at or after, and before.
        cursor: goes on behind a run; the way past the first 10,000.
    """

    page: Annotated[Annotated[int, Meta(ge=1)], Meta(description="a whole number from 1")] = 1
    per_page: Annotated[Annotated[int, Meta(ge=1, le=200)], Meta(description="a whole number from 1 to 200")] = (
        _PER_PAGE
    )
    limit: Annotated[Annotated[int, Meta(ge=1, le=200)], Meta(description="a whole number from 1 to 200")] = _PER_PAGE
    cursor: Annotated[str | None, Meta(description="the cursor of a link")] = None
    status: Annotated[
        Literal["pending", "running", "awaiting_ui_interaction", "completed", "failed", "cancelled"] | None,
        Meta(description="one of pending, running, awaiting_ui_interaction, completed, failed, cancelled"),
    ] = None
    from_: Annotated[str | None, Meta(description="a time in ISO 8601")] = msgspec.field(default=None, name="from")
    to: Annotated[str | None, Meta(description="a time in ISO 8601")] = None


class Links(msgspec.Struct, frozen=True):
    """URLs of other pages; null where there is none."""

    first: str
    last: str
    prev: str | None
    next: str | None


class PageMeta(msgspec.Struct, frozen=True, rename={"from_": "from"}):
    """Where a page stands.

    Attributes:
        last_page: the last that can be asked for by number; ``links.next`` leads on from there.
        total_is_estimate: whether there were too many runs to be counted.
    """

    current_page: int
    from_: int | None
    last_page: int
    path: str
    per_page: int
    to: int | None
    total: int
    total_is_estimate: bool


class RunList(msgspec.Struct, frozen=True):
    """A page of runs, newest first, without logs and steps."""

    data: list[Run]
    links: Links
    meta: PageMeta


class Ask(msgspec.Struct, frozen=True):
    """A page that was asked for.

    Attributes:
        query: the parameters as given, without ``page``, ``cursor``.
        cursor: the run to go on behind; the number of the page means nothing then.
    """

    which: RunFilter
    page: int
    size: int
    cursor: UUID | None
    url: str
    query: dict[str, str]

    @property
    def offset(self) -> int:
        """How many runs stand before the page."""
        return 0 if self.cursor is not None else (self.page - 1) * self.size


def read_ask(workflow_id: UUID, query: dict[str, Any], given: dict[str, str], url: str) -> Ask:
    """The page that a query asks for.

    Raises:
        BadRequestError: if it is no legal page, or one too deep to be reached by number.
    """
    cursor = read_cursor(Prefix.RUN, "cursor", query.get("cursor"))
    low = bound_of("from", query.get("from")) or FIRST_ID
    high = bound_of("to", query.get("to")) or LAST_ID
    which = RunFilter(workflow_id, low, min(high, cursor) if cursor else high, query.get("status"))
    size = query.get("per_page", query.get("limit", _PER_PAGE))
    kept = {name: value for name, value in given.items() if name not in ("page", "cursor")}
    ask = Ask(which, query.get("page", 1), size, cursor, url, kept)
    if ask.offset + size > COUNTED and ask.page > 1:
        message = f"page must be at most {COUNTED // size}: pages reach the newest {COUNTED} runs; go on by links.next."
        refuse([Fault("page", "page_too_deep", message)])
    return ask


async def read_page(connection: Connection, ask: Ask) -> tuple[RunList, str | None]:
    """The page, and the URL of the next one by cursor."""
    page = await runs_read.page(connection, ask.which, offset=ask.offset, limit=ask.size)
    count = await runs_read.count(connection, ask.which)
    onward = None if page.below is None else _url(ask, cursor=encode(Prefix.RUN, page.below))
    return RunList(
        [present_run(run) for run in page.runs], _links(ask, page, count, onward), _meta(ask, page, count)
    ), onward


def _last_page(ask: Ask, count: RunCount) -> int:
    return max(1, -(-min(count.total, COUNTED) // ask.size))


def _links(ask: Ask, page: RunPage, count: RunCount, onward: str | None) -> Links:
    numbered = ask.cursor is None and ask.page < _last_page(ask, count) and page.below is not None
    return Links(
        first=_url(ask, page="1"),
        last=_url(ask, page=str(_last_page(ask, count))),
        prev=_url(ask, page=str(ask.page - 1)) if ask.cursor is None and ask.page > 1 else None,
        next=_url(ask, page=str(ask.page + 1)) if numbered else onward,
    )


def _meta(ask: Ask, page: RunPage, count: RunCount) -> PageMeta:
    shown = len(page.runs)
    return PageMeta(
        current_page=ask.page,
        from_=ask.offset + 1 if shown else None,
        last_page=_last_page(ask, count),
        path=ask.url,
        per_page=ask.size,
        to=ask.offset + shown if shown else None,
        total=count.total,
        total_is_estimate=not count.exact,
    )


def _url(ask: Ask, **place: str) -> str:
    return f"{ask.url}?{urlencode({**ask.query, **place})}"
