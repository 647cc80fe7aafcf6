"""The gates of hosts: places handed on in order, breakers that open, try and close, and memory that is bounded."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from shared.egress.hosts import Change, Hosts, Key, Limits
from shared.errors import StepFailedError

HOST: Key = ("w", "a.test", 443)


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def changes() -> list[Change]:
    return []


@pytest.fixture
def make(clock: Clock, changes: list[Change]) -> Callable[..., Hosts]:
    def made(at_once: int = 2, failures: int = 3, seconds: float = 15.0, most: int = 1) -> Hosts:
        return Hosts(Limits(at_once, failures, seconds), most=most, clock=clock, on_change=changes.append)

    return made


@asynccontextmanager
async def inside(hosts: Hosts, key: Key = HOST) -> AsyncIterator[None]:
    caller = object()
    gate = await hosts.enter(key, caller)
    try:
        yield
    finally:
        hosts.leave(gate, caller)


async def call(hosts: Hosts, key: Key = HOST, *, answered: bool | None = True) -> None:
    """One call that was answered, or not, or ended before either."""
    caller = object()
    gate = await hosts.enter(key, caller)
    if answered:
        hosts.succeeded(gate)
    elif answered is False:
        hosts.failed(gate, "no connection")
    hosts.leave(gate, caller)


async def refusal(hosts: Hosts, key: Key = HOST) -> StepFailedError:
    with pytest.raises(StepFailedError) as caught:
        await call(hosts, key)
    return caught.value


async def settled() -> None:
    """Let every task run until it waits."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_places_are_handed_on_in_order(make: Callable[..., Hosts], changes: list[Change]) -> None:
    """No more calls are inside than there are places; who came first goes first, and who comes late passes nobody."""
    hosts, order, now, most = make(at_once=2), [], 0, 0
    go = asyncio.Semaphore(0)

    async def one(number: int) -> None:
        nonlocal now, most
        async with inside(hosts):
            now += 1
            most = max(most, now)
            order.append(number)
            await go.acquire()
            now -= 1

    tasks = [asyncio.ensure_future(one(number)) for number in range(10)]
    await settled()
    assert order == [0, 1]
    for number in range(10):
        go.release()
        tasks.append(asyncio.ensure_future(one(10 + number)))
        await settled()
    for _ in range(10):
        go.release()
    await asyncio.gather(*tasks)
    assert order == list(range(20))
    assert most == 2
    assert changes.count("queued") == 18


async def test_a_call_that_gives_up_waiting_leaves_no_trace(make: Callable[..., Hosts]) -> None:
    """Neither in the queue nor as a place that is gone, also when the place came with the cancellation."""
    hosts, caller = make(at_once=1), object()
    gate = await hosts.enter(HOST, caller)
    first, second, third = (asyncio.ensure_future(call(hosts)) for _ in range(3))
    await settled()
    assert len(gate.waiting) == 3
    second.cancel()
    await settled()
    assert len(gate.waiting) == 2
    hosts.leave(gate, caller)  # hands the place to the first ...
    first.cancel()  # ... which is ended before it could take it
    await third
    assert (gate.in_use, len(gate.waiting)) == (0, 0)
    assert first.cancelled()
    assert second.cancelled()


async def test_hosts_ports_and_workspaces_are_apart(make: Callable[..., Hosts]) -> None:
    """What fills or fails one gate is nothing to another."""
    hosts = make(at_once=1, failures=1)
    async with inside(hosts), inside(hosts, ("w", "a.test", 80)), inside(hosts, ("v", "a.test", 443)):
        pass
    await call(hosts, answered=False)
    assert (await refusal(hosts)).code == "circuit_open"
    await call(hosts, ("v", "a.test", 443))
    await call(hosts, ("w", "a.test", 80))


async def test_a_breaker_opens_tries_and_closes(
    make: Callable[..., Hosts], clock: Clock, changes: list[Change]
) -> None:
    """After failures in a row nobody is let out; when the time is over one is, and its answer lets all out again."""
    hosts = make(failures=3, seconds=15.0)
    for answered in (False, False, True, False, False, None, False):  # an answer starts the count anew
        await call(hosts, answered=answered)
    assert changes == ["opened"]
    clock.now += 5.0
    error = await refusal(hosts)
    assert (error.code, error.category, error.retry_in) == ("circuit_open", "network", 10.0)
    assert error.message == (
        "a.test:443 failed 3 times in a row and is not called for now; it is tried again in 10 s. "
        "The last failure: no connection"
    )
    clock.now += 10.0
    async with inside(hosts):
        assert (await refusal(hosts)).retry_in == 15.0  # one is out already
    await call(hosts)  # the first came back without having learnt anything, so another may look
    assert changes == ["opened", "closed"]
    await asyncio.gather(*(call(hosts) for _ in range(5)))


async def test_a_try_that_fails_opens_it_again(make: Callable[..., Hosts], clock: Clock, changes: list[Change]) -> None:
    """For as long as before; what comes back late from before does not keep it open for longer."""
    hosts, late = make(failures=1, seconds=15.0, at_once=5), object()
    old = await hosts.enter(HOST, late)
    await call(hosts, answered=False)
    clock.now += 14.0
    hosts.failed(old, "late")
    hosts.leave(old, late)
    clock.now += 1.0
    await call(hosts, answered=False)
    assert (await refusal(hosts)).retry_in == 15.0
    assert changes == ["opened", "opened"]


async def test_who_waits_fails_with_the_breaker(make: Callable[..., Hosts]) -> None:
    """Calls that wait for a place of a host that has stopped answering do not wait out their timeouts."""
    hosts, caller = make(at_once=1, failures=1), object()
    gate = await hosts.enter(HOST, caller)
    waiting = [asyncio.ensure_future(call(hosts)) for _ in range(3)]
    await settled()
    waiting[1].cancel()
    hosts.failed(gate, "silence")
    hosts.leave(gate, caller)
    ends = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(end) for end in ends] == [StepFailedError, asyncio.CancelledError, StepFailedError]
    assert (gate.in_use, len(gate.waiting)) == (0, 0)


async def test_nobody_tries_while_every_place_hangs(make: Callable[..., Hosts], clock: Clock) -> None:
    """A host that holds all the calls it may have gets no further one to hold."""
    hosts, callers = make(at_once=2, failures=1), [object(), object()]
    gates = [await hosts.enter(HOST, caller) for caller in callers]
    hosts.failed(gates[0], "silence")
    clock.now += 60.0
    assert (await refusal(hosts)).code == "circuit_open"
    hosts.leave(gates[0], callers[0])
    await call(hosts)


async def test_no_breaker(make: Callable[..., Hosts]) -> None:
    """With 0 a host may fail for ever."""
    hosts = make(failures=0)
    for _ in range(100):
        await call(hosts, answered=False)
    await call(hosts)


async def test_memory_is_bounded(make: Callable[..., Hosts]) -> None:
    """Hosts that nobody calls any more are forgotten, those that failed last; who is inside stays."""
    hosts = make(at_once=1, failures=1)
    async with inside(hosts, ("w", "kept.test", 443)):
        await call(hosts, ("w", "bad.test", 443), answered=False)
        for number in range(6_000):
            await call(hosts, ("w", f"{number}.test", 443))
        assert len(hosts) <= 4096
        assert (await refusal(hosts, ("w", "bad.test", 443))).code == "circuit_open"
        waiting = asyncio.ensure_future(call(hosts, ("w", "kept.test", 443)))
        await settled()
        assert not waiting.done()
        for number in range(6_000):
            await call(hosts, ("w", f"{number}.bad.test", 443), answered=False)
        assert len(hosts) <= 4096
    await waiting
