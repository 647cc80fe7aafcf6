"""What ``pagination`` of a ``webhook`` says: where the next page is, and what of a page counts."""

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Final, Literal
from urllib.parse import unquote_plus, urlencode, urljoin

import msgspec
from msgspec import Meta

from shared.egress.interface import EgressResponse
from shared.errors import StepFailedError
from shared.graph.suggest import ended
from shared.nodes.fields import Plain
from shared.templates.search import LONGEST, PathError, compiled

#: Pages that one step reads at the most, whatever ``max_pages`` says.
MOST_PAGES: Final = 1000
#: One link of a ``Link`` header (RFC 8288, section 3): its address, and its parameters as they stand.
_LINK: Final = re.compile(
    r"""<(?P<url>[^<>]*)>(?P<parameters>(?:\s*;\s*[\w!#$%&'*+.^`|~-]+(?:\s*=\s*(?:"(?:[^"\\]|\\.)*"|[^\s",;]*))?)*)"""
)
_PARAMETER: Final = re.compile(r"""([\w!#$%&'*+.^`|~-]+)(?:\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s",;]*)))?""")
Path = Annotated[str, Meta(min_length=1, max_length=LONGEST)]
_NEEDS: Final[Mapping[str, tuple[str, ...]]] = {
    "link": (),
    "cursor": ("path", "parameter"),
    "url": ("path",),
    "page": ("parameter",),
}
_OPTIONAL: Final[Mapping[str, tuple[str, ...]]] = {"page": ("first",)}


class Pagination(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a list that comes in pages is read to its end.

    Attributes:
        next: where the next page is. `link`: in the header ``Link`` with ``rel="next"``; `cursor`: at the same URL with
            what `path` gives in the query parameter `parameter`; `url`: at what `path` gives; `page`: at the same URL
            with the number of the page in `parameter`, until a page has no items.
        items: JMESPath to the list that is collected; the whole body by default.
        path: JMESPath to the cursor or the URL of the next page; null, false and "" mean that there is none.
        parameter: the name of that query parameter.
        first: the number of the first page.
        max_pages: how many pages are read at the most; the output's ``more`` says whether there was another.
    """

    next: Plain[Literal["link", "cursor", "url", "page"]]
    items: Plain[Path] = "@"
    path: Plain[Path | None] = None
    parameter: Plain[Annotated[str, Meta(min_length=1, max_length=200)] | None] = None
    first: Plain[Annotated[int, Meta(ge=0, le=1_000_000_000)]] = 1
    max_pages: Plain[Annotated[int, Meta(ge=1, le=MOST_PAGES)]] = 100

    def opening(self, url: str) -> str:
        """The URL of the first page, which by number is asked for like any other."""
        return self._with(url, self.first) if self.next == "page" else url

    def following(self, url: str, response: EgressResponse, found: Any, *, count: int, empty: bool) -> str | None:
        """The URL of the page after this one; None if there is none.

        Args:
            url: of the first page.
            response: this page.
            found: what `path` gives.
            count: of pages so far.
            empty: whether this page has no items.

        Raises:
            StepFailedError: ``invalid_response`` if what stands there is neither text nor a number.
        """
        if self.next == "page":
            return None if empty else self._with(url, self.first + count)
        if self.next == "link":
            return _resolved(response.url, next_link(response))
        if found is None or found is False or found == "":
            return None
        if isinstance(found, bool) or not isinstance(found, str if self.next == "url" else (str, int, float)):
            wanted = "text" if self.next == "url" else "text or a number"
            raise _invalid(f"pagination.path gives {type_name(found)} on page {count}; it must be {wanted}, or null.")
        return _resolved(response.url, str(found)) if self.next == "url" else self._with(url, found)

    def _with(self, url: str, value: Any) -> str:
        """The URL with the parameter set, whether it had one of the name or not."""
        address, mark, fragment = url.partition("#")
        place, _, query = address.partition("?")
        kept = [part for part in query.split("&") if part and unquote_plus(part.partition("=")[0]) != self.parameter]
        added = urlencode({self.parameter or "": value}, errors="replace")
        return f"{place}?{'&'.join([*kept, added])}{mark}{fragment}"


def faults(data: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What is wrong with ``pagination`` beside what else the node's data says, in the form of `NodeType.check`."""
    given = data.get("pagination")
    if isinstance(given, str):
        yield "pagination", "It takes no template: it is settled when the workflow is saved."
    if not isinstance(given, dict):
        return
    if data.get("method") != "GET":
        yield "pagination", "Pages are read with the method GET and no other."
    if data.get("response", "auto") not in ("auto", "json"):
        yield "response", 'Pages are JSON documents: with pagination the response is "json" or "auto".'
    yield from _field_faults(given, given["next"])
    for name in ("items", "path"):
        yield from _path_faults(given.get(name), f"pagination.{name}")


def _field_faults(given: Mapping[str, Any], following: str) -> Iterator[tuple[str, str]]:
    needed = _NEEDS[following]
    for name in ("path", "parameter", "first"):
        if name in needed and given.get(name) is None:
            yield f"pagination.{name}", f'With the next page by "{following}" it must be given.'
        if name not in (*needed, *_OPTIONAL.get(following, ())) and given.get(name) is not None:
            takers = [each for each in _NEEDS if name in (*_NEEDS[each], *_OPTIONAL.get(each, ()))]
            yield f"pagination.{name}", f"It goes with next: {' or '.join(takers)}, and not with {following}."


def _path_faults(path: Any, at: str) -> Iterator[tuple[str, str]]:
    if not isinstance(path, str):
        return
    try:
        compiled(path)
    except PathError as error:
        yield at, ended(f"It is no JMESPath expression: {error}")


def next_link(response: EgressResponse) -> str | None:
    """The address of the first link of the relation ``next``; links that are about another page do not count."""
    header = ", ".join(value for name, value in response.headers if name.lower() == "link")
    for link in _LINK.finditer(header):
        parameters: dict[str, str] = {}
        for name, quoted, plain in _PARAMETER.findall(link["parameters"]):
            parameters.setdefault(name.lower(), quoted or plain)
        if "next" in parameters.get("rel", "").lower().split() and "anchor" not in parameters:
            return link["url"]
    return None


def _resolved(base: str, place: str | None) -> str | None:
    if place is None:
        return None
    try:
        return urljoin(base, place)
    except ValueError:
        raise _invalid("What should be the address of the next page is no URL.") from None


def type_name(value: Any) -> str:
    """What a JSON value is called in messages."""
    if value is None:
        return "null"
    names = {bool: "true or false", dict: "an object", list: "a list", str: "text"}
    return names.get(type(value), "a number")


def _invalid(message: str) -> StepFailedError:
    return StepFailedError("invalid_response", message)
