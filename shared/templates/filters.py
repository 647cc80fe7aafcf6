"""The filters beyond Liquid's standard ones, and what the standard ones may cost."""

import base64
import hashlib
import hmac
from collections.abc import Callable, Mapping
from typing import Any, Final, cast

from liquid import RenderContext
from liquid.exceptions import FilterArgumentError, FilterValueError
from liquid.filter import with_context

from shared.templates import dates, limits, search
from shared.templates.context import Context
from shared.templates.markup import without_tags
from shared.templates.regexes import compiled
from shared.templates.values import JsonText, is_json, json_text, json_value, text_of


def json(value: Any) -> str:
    """``{{ n1.items | json }}``: the value as JSON text."""
    return JsonText(json_text(value))


def b64(value: Any) -> str:
    """``{{ n1.text | b64 }}``: Base64 of the text in UTF-8."""
    return base64.b64encode(_utf8(value)).decode()


def hmac_sha256(value: Any, key: Any, encoding: Any = "hex") -> str:
    """``{{ body | hmac_sha256: "key" }}``: the HMAC in hex, or with a second argument ``"base64"`` in Base64."""
    digest = hmac.new(_utf8(key), _utf8(value), hashlib.sha256)
    if encoding == "hex":
        return digest.hexdigest()
    if encoding == "base64":
        return base64.b64encode(digest.digest()).decode()
    raise FilterArgumentError(f'hmac_sha256: the encoding is "hex" or "base64", not {encoding!r}', token=None)


@with_context
def jmespath(value: Any, expression: Any, *, context: RenderContext) -> Any:
    """``{{ n1.items | jmespath: "[?price > `10`].name" }}``: what a JMESPath expression gives."""
    try:
        found = value if is_json(value) else json_value(value)
        return search.compiled(text_of(expression))(found, _remaining(context))
    except search.PathError as error:
        raise FilterArgumentError(f"jmespath: {error}", token=None) from error


@with_context
def regex_match(value: Any, pattern: Any, *, context: RenderContext) -> bool:
    """``{{ n1.text | regex_match: "^a+$" }}``: whether an RE2 expression matches somewhere."""
    return compiled(text_of(pattern)).search(text_of(value), _remaining(context)) is not None


@with_context
def regex_replace(value: Any, pattern: Any, replacement: Any = "", *, context: RenderContext) -> str:
    r"""``{{ n1.text | regex_replace: "a+", "b" }}``: every match of an RE2 expression replaced; ``\1`` is a group."""
    return compiled(text_of(pattern)).replace(text_of(value), text_of(replacement), _remaining(context))


@with_context
def regex_extract(value: Any, pattern: Any, group: Any = 0, *, context: RenderContext) -> str | None:
    """``{{ n1.text | regex_extract: "id=([0-9]+)", 1 }}``: the first match or a group of it; nil if there is none."""
    return compiled(text_of(pattern)).first(text_of(value), text_of(group), _remaining(context))


@with_context
def regex_extract_all(value: Any, pattern: Any, group: Any = 0, *, context: RenderContext) -> list[str | None]:
    """``{{ n1.text | regex_extract_all: "#([a-z]+)", 1 }}``: every match, or a group of each."""
    return compiled(text_of(pattern)).extracted(text_of(value), text_of(group), _remaining(context))


@with_context
def regex_split(value: Any, pattern: Any, *, context: RenderContext) -> list[str]:
    """``{{ n1.text | regex_split: "[,;] *" }}``: the parts between the matches."""
    return compiled(text_of(pattern)).split(text_of(value), _remaining(context))


def strip_html(value: Any) -> str:
    """``{{ n1.page | strip_html }}``: the text without its tags, comments, scripts and styles."""
    return without_tags(text_of(value))


def _remaining(context: RenderContext) -> float:
    """Seconds that the render has left: a filter that may take long is given no more, however many there are."""
    return cast(Context, context).remaining()


def _utf8(value: Any) -> bytes:
    return text_of(value).encode("utf-8", "replace")


@with_context
def _date(
    value: Any,
    form: Any = "%Y-%m-%dT%H:%M:%SZ",
    zone: Any = "UTC",
    *,
    context: RenderContext,
    timezone: Any = None,
) -> str:
    name = text_of(zone if timezone is None else timezone)
    return dates.date(value, text_of(form), name, run=context.scope.get("run"))


@with_context
def _carbon_date(
    value: Any, form: Any = "iso", zone: Any = "UTC", *, context: RenderContext, timezone: Any = None
) -> str:
    name = text_of(zone if timezone is None else timezone)
    return dates.carbon_date(value, text_of(form), name, run=context.scope.get("run"))


@with_context
def _carbon_condition(value: Any, condition: Any, *others: Any, context: RenderContext, timezone: Any = "UTC") -> bool:
    run = context.scope.get("run")
    return dates.carbon_condition(value, text_of(condition), *others, name=text_of(timezone), run=run)


def _replaced(value: Any, old: Any = "", new: Any = "", *_: Any) -> int:
    text, target, put = text_of(value), text_of(old), text_of(new)
    count = text.count(target) if target else len(text) + 1
    return len(text) + count * (len(put) - len(target))


def _joined(value: Any, separator: Any = " ", *_: Any) -> int:
    return len(value) * len(text_of(separator)) if isinstance(value, (list, tuple, range)) else 0


def _compared(value: Any, *_: Any) -> int:
    if isinstance(value, (list, tuple, range)) and len(value) > limits.UNIQUE_ITEMS:
        raise FilterValueError(f"uniq: takes {limits.UNIQUE_ITEMS} items, not {len(value)}", token=None)
    return 0


FILTERS: Final[Mapping[str, Callable[..., Any]]] = {
    "json": json,
    "jmespath": jmespath,
    "b64": b64,
    "date": _date,
    "carbon_date": _carbon_date,
    "carbon_condition": _carbon_condition,
    "hmac_sha256": hmac_sha256,
    "regex_match": regex_match,
    "regex_replace": regex_replace,
    "regex_extract": regex_extract,
    "regex_extract_all": regex_extract_all,
    "regex_split": regex_split,
    "strip_html": strip_html,
}

#: By filter: the characters of its result before it is made, where that can be many times its input.
GUARDS: Final[Mapping[str, Callable[..., int]]] = {
    "replace": _replaced,
    "join": _joined,
    "uniq": _compared,
}
