"""The URL of an endpoint below a base URL, which nothing in the endpoint can lead out of."""

import re
from collections.abc import Iterator
from typing import Final
from urllib.parse import unquote

from shared.egress.target import parse_url
from shared.errors import StepFailedError

_SCHEME: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
_CONTROL: Final = re.compile(r"[\x00-\x20\x7f]")
_SEPARATORS: Final = re.compile(r"[/\\]")
#: How often a path may have been percent-encoded. Servers decode once, proxies before them once more.
_CODED: Final = 4

RULE: Final = (
    "An endpoint is a path below the base URL of the authorization, such as /users?active=true: no scheme, no host, no "
    "'..', no blank, backslash, fragment or control character"
)


def url_below(base_url: str, endpoint: str) -> str:
    """The URL to call.

    Args:
        base_url: of the API, without a slash at its end.
        endpoint: a path, with or without a slash at its beginning, and perhaps a query.

    Raises:
        StepFailedError: ``invalid_endpoint`` if the endpoint could lead anywhere but below the base URL. The message
            shows nothing of it.
    """
    if fault_of(endpoint) is not None:
        raise _refused()
    url = f"{base_url}{'' if endpoint[:1] in ('', '/', '?') else '/'}{endpoint}"
    # What the client will make of it must be where the base URL leads, whatever was overlooked above.
    (there, made), (here, base) = parse_url(url), parse_url(base_url)
    path = base.raw_path.rstrip("/")
    if there != here or (made.raw_path != path and not made.raw_path.startswith(f"{path}/")):
        raise _refused()
    return url


def fault_of(endpoint: str) -> str | None:
    """What is wrong with an endpoint that is no template."""
    path = endpoint.partition("?")[0]
    if _CONTROL.search(endpoint) or "#" in endpoint or "\\" in path or _SCHEME.match(path):
        return f"{RULE}."
    if path.startswith("//") or any(_climbs(text) for text in _decoded(path)):
        return f"{RULE}."
    return None


def _decoded(path: str) -> Iterator[str]:
    """The path as it stands, and as those see it who decode it once, twice..."""
    for _ in range(_CODED):
        yield path
        before, path = path, unquote(path)
        if path == before:
            return
    yield ".."  # encoded oftener than anybody needs


def _climbs(path: str) -> bool:
    """Whether a segment goes up, also one with parameters (``..;x``), which some servers pass over."""
    return any(part.partition(";")[0].strip(_BLANK) == ".." for part in _SEPARATORS.split(path)) or "\0" in path


_BLANK: Final = " \t\r\n\f\v"


def _refused() -> StepFailedError:
    return StepFailedError("invalid_endpoint", f"data.endpoint: {RULE}.")
