"""Notifications as Apprise words them: what each service is sent, and whether what it answered is a success.

Apprise sends with ``requests``, which knows nothing of the guard. Here its plugins get a stand-in that keeps the
request and stops them; the outbound client sends it, and the plugin runs anew with the answer, up to its next request
or its end. So no thread waits for a server, and nothing leaves by another way. Only the plugins named here are ever
imported: the many others of Apprise open sockets of their own, run programs or write files.
"""

import logging
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from functools import cache
from html import escape
from typing import Any, Final, NoReturn, Protocol
from urllib.parse import urlencode

import msgspec

from shared.egress.interface import EgressResponse
from shared.errors import StepFailedError
from shared.nodes.extras import Extra

NOTIFY: Final = Extra("notify", "apprise")
#: A name for `Notification.url` in plugins that want one of their service's own form; nothing is sent there.
_NOWHERE: Final = "unused.invalid"
_KEY: Final = "A" * 9


class Notification(Protocol):
    """What is taken of the node's rendered data."""

    service: Any
    message: str
    title: str
    severity: Any
    format: Any
    url: str | None
    token: str | None
    to: Any
    source: str
    region: Any


class Sent(msgspec.Struct, frozen=True):
    """A request that a plugin wants to send."""

    method: str
    url: str
    headers: list[tuple[str, str]]
    body: bytes


class _Stopped(BaseException):
    """Ends a plugin at its next request; no plugin catches it, since it is no `Exception`."""

    def __init__(self, sent: Sent) -> None:
        super().__init__()
        self.sent = sent


class _Answer:
    """An answer as ``requests`` has it, as far as the plugins look at one."""

    def __init__(self, response: EgressResponse) -> None:
        self.status_code = response.status
        self.content = response.body
        self.text = response.body.decode("utf-8", "replace")
        self.headers = {name.title(): value for name, value in response.headers}


class _Exchange:
    """The requests of one notification: those that were answered, in order, and then the one that was not."""

    def __init__(self, answers: list[EgressResponse]) -> None:
        self._answers = iter(answers)

    def request(self, method: str, url: str, **how: Any) -> _Answer:
        answer = next(self._answers, None)
        if answer is not None:
            return _Answer(answer)
        if how.get("files"):
            raise StepFailedError("notification_failed", "Files are not sent.")
        data = how.get("data") or ""
        query = urlencode(how.get("params") or {}, doseq=True)
        headers = [(str(name), str(value)) for name, value in (how.get("headers") or {}).items()]
        body = data if isinstance(data, bytes) else str(data).encode()
        raise _Stopped(Sent(method.upper(), f"{url}?{query}" if query else url, headers, body))


_exchange: ContextVar[_Exchange] = ContextVar("exchange")


class _Requests:
    """Stands in for the module ``requests`` in a plugin, while it runs for a node and only then."""

    def __init__(self, module: Any) -> None:
        self._module = module

    def __getattr__(self, name: str) -> Any:
        return getattr(self._module, name)

    def request(self, method: str, url: str, **how: Any) -> Any:
        exchange = _exchange.get(None)
        return exchange.request(method, url, **how) if exchange else self._module.request(method, url, **how)

    def get(self, url: str, **how: Any) -> Any:
        return self.request("GET", url, **how)

    def post(self, url: str, **how: Any) -> Any:
        return self.request("POST", url, **how)


def run(notification: Notification, key: str, answers: list[EgressResponse]) -> Sent | bool:
    """Go on with a notification: the next request, or whether it succeeded. Runs in a thread.

    Args:
        notification: what is to be said, and to whom.
        key: equal in every attempt of the step.
        answers: to its requests so far.

    Raises:
        StepFailedError: ``invalid_data`` if the service cannot be told so.
    """
    token = _exchange.set(_Exchange(answers))
    try:
        plugin = _plugin(notification, key)
        plugin.throttle = lambda **_: None  # it would sleep; ``retry`` and the limits of hosts are there for that
        return bool(plugin.notify(notify_type=notification.severity, **_text(notification)))
    except _Stopped as stopped:
        return _addressed(stopped.sent, notification)
    except TypeError as error:  # what Apprise says of a token or a chat that is none
        raise StepFailedError("invalid_data", f"{notification.service} cannot be told: {error}") from None
    finally:
        _exchange.reset(token)


def _addressed(sent: Sent, notification: Notification) -> Sent:
    """The request to the address that the author wrote, if the service goes by one."""
    if notification.url is None:
        return sent
    return msgspec.structs.replace(sent, url=notification.url)


def _text(notification: Notification) -> dict[str, str]:
    """Title and message; Telegram reads both as HTML, and Apprise lets text through that looks like some."""
    title, body, kind = notification.title, notification.message, notification.format
    if notification.service == "telegram":
        title = escape(title, quote=False)
        body, kind = (escape(body, quote=False), "html") if kind == "text" else (body, kind)
    return {"title": title, "body": body, "body_format": kind}


def _plugin(notification: Notification, key: str) -> Any:
    kind, name, arguments = _SERVICES[notification.service]
    given = {"asset": _asset(), "include_image": False, "overflow": "split", **arguments(notification, key)}
    return getattr(_module(kind), name)(**given)


@cache
def _module(name: str) -> Any:
    """A plugin's module, with the stand-in in it, and its log, which shows tokens, silenced."""
    module = NOTIFY.load(f"plugins.{name}")
    logging.getLogger("apprise").disabled = True
    module.requests = _Requests(module.requests)
    return module


@cache
def _asset() -> Any:
    """How Apprise presents itself; it keeps nothing on disk."""
    return NOTIFY.load().AppriseAsset(app_id="Edgewise", app_desc="Edgewise", app_url="")


def _refuse(message: str) -> NoReturn:
    raise StepFailedError("invalid_data", message)


def _slack(notification: Notification, _: str) -> dict[str, Any]:
    if notification.url is not None:
        return {"token_a": _KEY, "token_b": _KEY, "token_c": "A" * 24, "include_footer": False}
    return {"access_token": notification.token, "targets": _targets(notification), "include_footer": False}


def _teams(*_: Any) -> dict[str, Any]:
    return {"host": _NOWHERE, "workflow": _KEY, "signature": _KEY}


def _discord(*_: Any) -> dict[str, Any]:
    return {"webhook_id": _KEY, "webhook_token": _KEY, "avatar": False}


def _telegram(notification: Notification, _: str) -> dict[str, Any]:
    return {"bot_token": notification.token, "targets": _targets(notification), "detect_owner": False}


def _pagerduty(notification: Notification, key: str) -> dict[str, Any]:
    return {
        "apikey": notification.token,  # its events take no other than the integration's
        "integrationkey": notification.token,
        "source": notification.source,
        "region_name": notification.region,
        "dedup": key,
    }


def _generic(*_: Any) -> dict[str, Any]:
    return {"host": _NOWHERE, "secure": True}


def _targets(notification: Notification) -> list[str]:
    to = notification.to
    names = to.split(",") if isinstance(to, str) else to
    return [name.strip() for name in names if name.strip()] or _refuse('"to" names nobody.')


Arguments = Callable[[Notification, str], dict[str, Any]]
#: The module and class of each service's plugin, and what it is made with.
_SERVICES: Final[Mapping[str, tuple[str, str, Arguments]]] = {
    "slack": ("slack", "NotifySlack", _slack),
    "teams": ("workflows", "NotifyWorkflows", _teams),
    "discord": ("discord", "NotifyDiscord", _discord),
    "telegram": ("telegram", "NotifyTelegram", _telegram),
    "pagerduty": ("pagerduty", "NotifyPagerDuty", _pagerduty),
    "generic": ("custom_json", "NotifyJSON", _generic),
}
