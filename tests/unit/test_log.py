"""Logging: one pipeline, and no credential in any line of it."""

import json
import logging
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
import structlog

from shared import log
from shared.config import Config
from shared.floods import Floods
from shared.redaction import BLANK, CURRENT, Redactor


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    """Logging as it was before."""
    root = logging.getLogger()
    handlers, level, configuration = root.handlers[:], root.level, structlog.get_config()
    yield
    structlog.configure(**configuration)
    logging.captureWarnings(capture=False)
    root.handlers[:] = handlers
    root.setLevel(level)


def _config(**changes: Any) -> Config:
    least: dict[str, Any] = {"database_url": "", "broker_url": "", "jwt_secret": "", "vault_keys": ""}
    return Config(**(least | changes))


def _log_exception(text: str) -> None:
    try:
        int(text)
    except ValueError:
        log.get("x").exception("broken")


def _lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def test_ours_and_libraries_lines_look_alike(capsys: pytest.CaptureFixture[str]) -> None:
    """An event of ours and one of the standard library become JSON lines of the same form."""
    log.configure(_config(), "api")
    log.get("api.main").info("started", port=8080)
    logging.getLogger("somewhere").warning("slow by %d ms", 12)
    ours, theirs = _lines(capsys)
    assert ours["event"] == "started"
    assert ours["port"] == 8080
    assert theirs["event"] == "slow by 12 ms"
    assert {ours["service"], theirs["service"]} == {"api"}
    assert {*ours} - {"port"} == {*theirs}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ('"POST /workflows/webhooks/whsec_abc-DEF_123?x=1 HTTP/1.1" 202', "/workflows/webhooks/whsec_***?x=1"),
        ("connecting to postgresql://edgewise:hunter22@db:5432/edgewise", "postgresql://edgewise:***@db:5432"),
        ("Authorization: Bearer abc.def-ghi", "Bearer ***"),
        ("key wfk_0123456789", "wfk_***"),
    ],
)
def test_credentials_are_blanked(capsys: pytest.CaptureFixture[str], text: str, shown: str) -> None:
    """A token, key or password does not reach the line, wherever it stands: message, value, nested value, traceback."""
    log.configure(_config(), "api")
    logging.getLogger("aiohttp.access").warning(text)
    log.get("x").info("value", value=text, nested={"deep": [text]})
    _log_exception(text)
    written = capsys.readouterr().err
    for secret in ("abc-DEF_123", "hunter22", "abc.def-ghi", "wfk_0123456789"):
        assert secret not in written
    assert written.count(shown) == 4


def test_colours_pass_the_same_blanking(capsys: pytest.CaptureFixture[str]) -> None:
    """The form for terminals, tracebacks included, blanks too."""
    log.configure(_config(log_format="console"), "api")
    _log_exception("whsec_abcdef")
    written = capsys.readouterr().err
    assert "whsec_***" in written
    assert "abcdef" not in written


@pytest.mark.parametrize(("level", "seen"), [("info", False), ("debug", True)])
def test_a_line_per_request_is_for_debugging(level: str, seen: bool) -> None:
    """The access log costs nothing unless the level is debug."""
    log.configure(_config(log_level=level), "api")
    assert logging.getLogger("aiohttp.access").isEnabledFor(logging.INFO) is seen


def test_levels_below_the_configured_one_are_dropped(capsys: pytest.CaptureFixture[str]) -> None:
    """At `warning`, information is not written."""
    log.configure(_config(log_level="warning"), "api")
    log.get("x").info("quiet")
    log.get("x").warning("loud")
    assert [line["event"] for line in _lines(capsys)] == ["loud"]


def test_a_flood_is_counted_and_not_written(capsys: pytest.CaptureFixture[str]) -> None:
    """Of ours and of a library's, whatever their fields and arguments, ten equal events are written."""
    log.configure(_config(), "api")
    for number in range(50):
        log.get("x").info("again", number=number)
        logging.getLogger("dramatiq.worker").critical("no connection: %s", number)
    events = [line["event"] for line in _lines(capsys)]
    assert events.count("again") == 10
    assert len(events) == 20


def test_whoever_looks_closely_sees_everything(capsys: pytest.CaptureFixture[str]) -> None:
    """At `debug` nothing is left out."""
    log.configure(_config(log_level="debug"), "api")
    for _ in range(50):
        log.get("x").info("again")
    assert len(_lines(capsys)) == 50


@pytest.mark.parametrize("ours", [True, False])
def test_the_number_of_those_left_out_is_told(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, ours: bool
) -> None:
    """The next line that passes says how many did not; lines before it say nothing of the kind."""
    clock = [0.0]
    monkeypatch.setattr(log, "Floods", lambda: Floods(now=lambda: clock[0]))
    log.configure(_config(), "api")
    tell = log.get("x").warning if ours else logging.getLogger("x").warning
    for _ in range(13):
        tell("again")
    clock[0] = 10.0
    tell("again")
    lines = _lines(capsys)
    assert [line.get("suppressed") for line in lines] == [None] * 10 + [3]


def test_secrets_of_the_run_are_blanked_in_every_line(capsys: pytest.CaptureFixture[str]) -> None:
    """Of the task that carries a step: in events of ours, of libraries and in tracebacks; and of no other task."""
    log.configure(_config(), "worker")
    secret = 'a "secret" of the run'
    held = CURRENT.set(Redactor([secret]))
    try:
        log.get("x").info("sent", headers={"token": secret})
        logging.getLogger("library").warning("refused: %s", quote(secret))
        _log_exception(secret)
    finally:
        CURRENT.reset(held)
    written = capsys.readouterr().err
    assert written.count(BLANK) >= 3
    assert "secret" not in written.replace("_secret", "").replace(__file__, "")
    log.get("x").info("sent", told=secret)
    assert "secret" in capsys.readouterr().err
