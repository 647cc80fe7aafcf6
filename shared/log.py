"""Logging: one pipeline for structlog and for the standard library (aiohttp, dramatiq, apscheduler) alike.

JSON lines, or colours on a terminal, on standard error. Every finished line, by whomever, passes `scrubbed`: no webhook
token, API key or password in a URL is ever written, an access log's or a traceback's included; nor is any secret of the
run whose step is being carried (`shared.redaction`). Events that repeat
themselves without end are counted instead of written (`shared.floods`), unless somebody is looking closely.
"""

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any

import msgspec
import structlog
from structlog.typing import Processor

from shared.config import Config
from shared.floods import Floods, tell_suppressed
from shared.redaction import of_current

_SECRETS = re.compile(
    r"""\b(whsec_|wfk_)[\w-]+|(?<=://)([^\s:@/"']*):[^\s@/"']+(?=@)|\b([Bb]earer )[\w.~+/=-]+""",
)

#: Loggers that speak for every request or message; worth their cost only when somebody is looking closely.
_CHATTY = ("aiohttp.access", "apscheduler", "dramatiq", "asyncio")


def configure(config: Config, service: str) -> None:
    """Set up logging for this process; call it once, before anything logs.

    Args:
        config: whose ``log_format`` and ``log_level`` are used.
        service: the name of this process in every line: ``api``, ``scheduler``, ``worker``.
    """
    colours = config.log_format == "console" or (config.log_format == "auto" and sys.stderr.isatty())
    shared = _shared_processors(service)
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(config.log_level),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=_rendering(colours=colours))
    )
    if config.log_level != "debug":
        handler.addFilter(Floods())
    logging.basicConfig(handlers=[handler], level=config.log_level.upper(), force=True)
    quiet = logging.DEBUG if config.log_level == "debug" else logging.WARNING
    for name in _CHATTY:
        logging.getLogger(name).setLevel(quiet)
    logging.captureWarnings(capture=True)


def get(name: str) -> Any:
    """The logger of a module; log events as a sentence and keyword arguments."""
    return structlog.get_logger(name)


def scrubbed(text: str) -> str:
    """A text with webhook tokens, API keys, bearer tokens and passwords in URLs blanked."""
    return _SECRETS.sub(_blank, text)


def _blank(match: re.Match[str]) -> str:
    prefix, user, scheme = match.groups()
    if user is not None:
        return f"{user}:***"
    return f"{prefix or scheme}***"


def _shared_processors(service: str) -> list[Processor]:
    """What every event passes, wherever it comes from."""

    def with_service(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        event["service"] = service
        return event

    return [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        with_service,
    ]


def _rendering(*, colours: bool) -> list[Processor]:
    """From an event to its line."""
    render: list[Processor] = [structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)]
    if not colours:
        render = [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(serializer=_json)]
    return [tell_suppressed, structlog.stdlib.ProcessorFormatter.remove_processors_meta, *render, _scrub_line]


def _scrub_line(_logger: Any, _method: str, line: Any) -> str:
    return scrubbed(of_current(line))


def _json(event: Any, **_options: Any) -> str:
    return msgspec.json.encode(event, enc_hook=repr).decode()
