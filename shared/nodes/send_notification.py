"""``send_notification``: a message to a chat, an on-call service or any address that takes JSON."""

import time
from collections.abc import Mapping
from functools import partial
from typing import Annotated, Any, ClassVar, Final, Literal

import msgspec

from shared.egress.interface import EgressResponse
from shared.errors import StepFailedError
from shared.nodes.base import Kind, Mode, NodeType, Outcome, StepContext
from shared.nodes.fields import Plain, Secret, Text
from shared.nodes.http_faults import header_faults, url_faults
from shared.nodes.http_request import headers_of
from shared.nodes.http_response import SHOWN, failure, succeeded
from shared.nodes.notifiers import NOTIFY, Sent, run
from shared.nodes.threads import in_thread
from shared.nodes.webhook import Pairs

#: Characters; services take a few thousand, and what is longer is sent in several messages.
MAX_MESSAGE: Final = 100_000
#: Of one notification: one for each of who it goes to and each part of it.
MAX_REQUESTS: Final = 50
MAX_TARGETS: Final = 20
#: Of processor time for what Apprise makes of one notification. 100,000 characters of Markdown take it 12 s, which are
#: three messages in Slack; text that is written to take long takes 100 s and more.
_SECONDS: Final = 15.0
_MAX_ANSWER: Final = 256 * 1024
#: Services that go by the address of a webhook alone.
_BY_URL: Final = ("teams", "discord", "generic")


Targets = str | Annotated[list[str], msgspec.Meta(max_length=MAX_TARGETS)]


class Data(msgspec.Struct, forbid_unknown_fields=True):
    """Configuration.

    Attributes:
        service: ``slack`` (and what takes its webhooks), ``teams`` (a workflow's webhook), ``discord``, ``telegram``,
            ``pagerduty`` (an event of its Events API v2), or ``generic`` (a POST of ``{title, message, type}``).
        message: at most 100,000 characters; what is too long for the service goes out in parts.
        title: where the service has a place for it, else the message's first line.
        severity: for colours, and for PagerDuty's severity.
        format: of ``message``; it is turned into what the service takes, and as ``text`` it is shown as it is.
        url: of the webhook, for ``teams``, ``discord``, ``generic`` and ``slack``.
        token: of the bot for ``telegram``, and for ``slack`` without a webhook; for ``pagerduty`` the key of the
            integration.
        to: chats of ``telegram``, channels of a Slack bot (``#ops``): a list, or text with commas.
        headers: for ``generic``: a list of ``{key, value}`` or an object.
        source: for ``pagerduty``: what is affected.
        region: of the PagerDuty account.
    """

    service: Plain[Literal["slack", "teams", "discord", "telegram", "pagerduty", "generic"]]
    message: Text[Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_MESSAGE)]]
    title: Text[str] = ""
    severity: Literal["info", "success", "warning", "failure"] = "info"
    format: Plain[Literal["text", "markdown", "html"]] = "text"
    url: Text[Secret[str | None]] = None
    token: Text[Secret[str | None]] = None
    to: Text[Targets] = []
    headers: Text[Secret[Pairs]] = []
    source: Text[str] = "Edgewise"
    region: Plain[Literal["us", "eu"]] = "us"


class SendNotification(NodeType[Data]):
    """Tells a service; output ``{service, requests}``. What the service refuses fails the step."""

    component_id = "send_notification"
    title = "Send a notification"
    kind = Kind.ACTION
    mode = Mode.EFFECT
    data_type = Data
    example: ClassVar[Mapping[str, Any]] = {
        "service": "generic",
        "url": "https://example.com/notify",
        "title": "Site {{ n1.site }}",
        "message": "It answers again.",
        "severity": "success",
    }
    example_context: ClassVar[Mapping[str, Any]] = {"n1": {"site": "Cape"}}
    extras = (NOTIFY,)

    def check(self, data: Mapping[str, Any]) -> list[tuple[str, str]]:
        """See `NodeType.check`."""
        return [
            *(url_faults(data["url"]) if data.get("url") else ()),
            *header_faults(data.get("headers", [])),
            *_place_faults(data),
        ]

    async def call(self, data: Data, context: StepContext) -> Outcome:
        """Send what Apprise makes of the message.

        Raises:
            StepFailedError: what `Egress.request` raises, ``invalid_data``, ``too_slow`` if the message takes too long
                to make into what the service takes, ``notification_failed`` with the status
                and the first 2 KB of the answer.
        """
        logged = {"service": data.service, "title": data.title, "message": data.message[:SHOWN]}
        try:
            _check(data)
            return Outcome(await _told(data, context), step_input=logged)
        except StepFailedError as error:
            error.step_input = logged
            raise


async def _told(data: Data, context: StepContext) -> dict[str, Any]:
    answers: list[EgressResponse] = []
    left = _SECONDS
    while True:
        work = partial(_run, data, context.idempotency_key, list(answers))
        step, spent = await in_thread(work, seconds=left)
        left = max(left - spent, 0.0)
        if not isinstance(step, Sent):
            break
        if len(answers) >= MAX_REQUESTS:
            raise StepFailedError("notification_failed", f"It takes more than {MAX_REQUESTS} requests.")
        answers.append(await _sent(step, data, context))
        if not succeeded(answers[-1].status, None):  # the plugin would go on, to others or once more
            raise failure(answers[-1], context.now, code="notification_failed", what="Notification")
    if not step or not answers:
        raise _refused(data, answers)
    return {"service": data.service, "requests": len(answers)}


def _run(data: Data, key: str, answers: list[EgressResponse]) -> tuple[Sent | bool, float]:
    """What `run` gives, and the processor time that it took. Runs in a thread."""
    began = time.thread_time()
    return run(data, key, answers), time.thread_time() - began


async def _sent(request: Sent, data: Data, context: StepContext) -> EgressResponse:
    own = [(name, value) for _, name, value in headers_of(data.headers)]
    given = {name.lower() for name, _ in own}
    if data.service == "pagerduty":
        given.add("authorization")  # the key stands in the event
    defaults = [*request.headers, ("Idempotency-Key", context.idempotency_key)]
    return await context.egress.request(
        request.method,
        request.url,
        headers=[*own, *((name, value) for name, value in defaults if name.lower() not in given)],
        body=request.body,
        timeout=context.timeout,
        max_bytes=_MAX_ANSWER,
    )


def _refused(data: Data, answers: list[EgressResponse]) -> StepFailedError:
    if not answers:
        return StepFailedError("invalid_data", f"There is nothing to send to {data.service}.")
    last = answers[-1]
    return StepFailedError(
        "notification_failed",
        f"Notification failed: {data.service} answered {last.status} and did not take it.",
        category="4xx",
        http_status=last.status,
        body=last.body[:SHOWN].decode("utf-8", "replace"),
    )


def _check(data: Data) -> None:
    """What a template may have made of it."""
    for path, message in _place_faults(msgspec.to_builtins(data)):
        raise StepFailedError("invalid_data", f"data.{path}: {message}")


def _place_faults(data: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What says where the message goes is there, and nothing that would not be used."""
    service = data["service"]
    wants_url = service in _BY_URL or (service == "slack" and not data.get("token"))
    wants_to = service == "telegram" or (service == "slack" and not wants_url)
    rules = (
        ("url", wants_url, f"{service} wants the URL of a webhook.", f"{service} takes no URL."),
        ("token", not wants_url, f"{service} wants a token.", f"{service} takes no token beside a URL."),
        ("to", wants_to, f"{service} wants somebody to tell.", f"{service} tells who its address or key stands for."),
    )
    faults = [(name, missing) for name, wanted, missing, _ in rules if wanted and not data.get(name)]
    faults += [(name, extra) for name, wanted, _, extra in rules if not wanted and data.get(name)]
    if data.get("headers") and service != "generic":
        faults.append(("headers", f"Only generic takes header fields, {service} has its own."))
    return faults
