"""The channel on which an api process hears that runs have answered."""

import asyncio
from collections.abc import AsyncIterator
from uuid import UUID, uuid4

import pytest
import redis.asyncio as redis

from api.answer_bells import AnswerBells
from shared.announcer import ANSWERS_CHANNEL, Announcer
from tests.engine import eventually


@pytest.fixture
async def rung() -> set[UUID]:
    """What was heard."""
    return set()


@pytest.fixture
async def bells(broker_url: str, rung: set[UUID]) -> AsyncIterator[AnswerBells]:
    """Bells that listen."""
    bells = AnswerBells(broker_url, rung.update)
    await bells.listen()
    yield bells
    await bells.close()


@pytest.fixture
async def broker(broker_url: str) -> AsyncIterator["redis.Redis"]:
    """A client of the broker."""
    async with redis.Redis.from_url(broker_url) as client:
        yield client


async def test_what_a_worker_announces_is_heard(bells: AnswerBells, rung: set[UUID], broker_url: str) -> None:
    """Any number of runs at once, between messages for workers."""
    ids = {uuid4() for _ in range(500)}
    announcer = Announcer(broker_url)
    announcer.answered(list(ids))
    await eventually(lambda: rung == ids)
    await asyncio.to_thread(announcer.close)


@pytest.mark.usefixtures("bells")
async def test_other_words_on_the_channel_are_passed_over(rung: set[UUID], broker: "redis.Redis") -> None:
    """What is no list of ids rings nothing, and ends nothing."""
    run_id = uuid4()
    for words in (b"hello", b"", b"x" * 17, run_id.bytes):
        await broker.publish(ANSWERS_CHANNEL, words)
    await eventually(lambda: rung == {run_id})


@pytest.mark.usefixtures("bells")
async def test_it_listens_again_after_the_connection_broke(rung: set[UUID], broker: "redis.Redis") -> None:
    """A connection that the server ends is made anew."""
    assert await broker.client_kill_filter(_type="pubsub") == 1
    run_id = uuid4()

    async def heard() -> bool:
        await broker.publish(ANSWERS_CHANNEL, run_id.bytes)
        return run_id in rung

    await eventually(heard)


async def test_a_server_that_says_nothing_is_asked_and_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection on which nothing comes, not even an answer to a ping, is closed and made anew."""
    monkeypatch.setattr("api.answer_bells._QUIET", 0.05)
    monkeypatch.setattr("api.answer_bells._RETRY", 0.01)
    connections = 0

    async def mute(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        while await reader.read(4096):
            pass
        writer.close()

    server = await asyncio.start_server(mute, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    bells = AnswerBells(f"redis://127.0.0.1:{port}/0?protocol=2", lambda _: None)
    listening = asyncio.create_task(bells.listen())
    try:
        await eventually(lambda: connections > 1)
    finally:
        await listening
        await bells.close()
        server.close()
