"""Calls in processes of their own: grants that are asked for, and what starts the processes being replaced."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest

from shared.apart import processes
from shared.apart.forker import NotStartedError
from shared.apart.isolated import GRANT_WANTED, Request
from shared.apart.processes import Processes, fields_of
from shared.errors import StepFailedError
from shared.nodes.base import Grant, Outcome, StepContext
from tests import killers
from tests.engine import eventually

_REQUEST = Request("n", "text_transform", {"template": "x"}, "run", scope={})


class _Static:
    """An authorization that gives the same again and again; or nothing, ever."""

    def __init__(self, *, silent: bool = False) -> None:
        self.asked = 0
        self._silent = silent

    async def grant(self, refused: Grant | None = None) -> Grant:
        self.asked += 1
        if self._silent:
            await asyncio.Event().wait()
        return Grant("https://a.test", ("Authorization", "Bearer x"), ("x",))


def context(authorization: _Static | None = None) -> StepContext:
    """Of a step that presents what this authorization gives."""
    return StepContext(
        run_id="r",
        node_id="n",
        item="-",
        attempt=1,
        idempotency_key="r:n:-",
        now=datetime(2026, 1, 1, tzinfo=UTC),
        timeout=60.0,
        egress=None,  # type: ignore[arg-type] # a child has one of its own
        authorization=authorization,
    )


@pytest.fixture
async def children() -> AsyncIterator[Processes]:
    """What runs the effects of `tests.killers`."""
    children = Processes(killers.APART)
    yield children
    children.close()


@pytest.fixture
def refusing(monkeypatch: pytest.MonkeyPatch) -> list[Grant | None]:
    """Calls, by what they were given, of a node that is content with nothing."""
    calls: list[Grant | None] = []

    async def perform(_: Processes, request: Request, *__: Any) -> Outcome:
        calls.append(request.grant)
        raise StepFailedError(GRANT_WANTED, "another one")

    monkeypatch.setattr(Processes, "_perform", perform)
    return calls


async def test_a_node_that_refuses_every_grant_fails(children: Processes, refusing: list[Grant | None]) -> None:
    """It is called without one, with one, and with another; then it has failed, instead of going on for ever."""
    with pytest.raises(StepFailedError) as caught:
        await children.perform(_REQUEST, 60.0, context(_Static()))
    assert caught.value.code == "authorization_refused"
    assert [grant is None for grant in refusing] == [True, False, False]


async def test_a_grant_has_the_time_of_the_step(children: Processes, refusing: list[Grant | None]) -> None:
    """An authorization that does not answer fails the step as its timeout would."""
    authorization = _Static(silent=True)
    with pytest.raises(StepFailedError) as caught:
        await children.perform(_REQUEST, 0.01, context(authorization))
    assert (caught.value.code, caught.value.category) == ("timeout", "timeout")
    assert (len(refusing), authorization.asked) == (1, 1)


async def test_a_node_without_authorization_says_so(children: Processes, refusing: list[Grant | None]) -> None:
    """Nothing is asked for where there is nothing to ask."""
    with pytest.raises(StepFailedError) as caught:
        await children.perform(_REQUEST, 60.0, context())
    assert caught.value.code == GRANT_WANTED
    assert len(refusing) == 1


async def test_a_call_that_did_not_start_ends_no_other(
    children: Processes, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    """The next call is started by another process; those under way go on, and the old process ends with the last."""
    notes, gate = tmp_path / "notes", tmp_path / "gate"
    monkeypatch.setenv("KILLERS", str(notes))

    def probe(name: str) -> Request:
        return Request("n", "probe", {"name": name, "value": 1}, "call", scope={}, context=fields_of(context()))

    held = asyncio.create_task(children.perform(probe(f"until:{gate}"), 60.0, context()))
    await eventually(notes.exists)
    first = children._forker
    assert first is not None
    with monkeypatch.context() as broken:
        broken.setattr(processes, "_started", _not_started)
        with pytest.raises(NotStartedError):
            await children.perform(probe("x"), 60.0, context())
    assert (await children.perform(probe("x"), 60.0, context())).output["apart"]
    assert children._forker is not first
    assert not first.is_gone
    gate.touch()
    assert (await held).output["apart"]
    assert first.is_gone
    await eventually(lambda: first._process.returncode is not None)


async def test_closing_ends_what_was_replaced_too(children: Processes, monkeypatch: pytest.MonkeyPatch) -> None:
    """No process stays behind, whatever was under way in it."""
    forker = await children._forked()
    with forker.in_use():
        children._retire(forker)
        assert not forker.is_gone
        children.close()
        assert forker.is_gone
    await eventually(lambda: forker._process.returncode is not None)


async def _not_started(*_: Any) -> int:
    raise NotStartedError("it ended before")
