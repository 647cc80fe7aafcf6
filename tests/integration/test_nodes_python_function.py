"""The function node with a package that pip has really installed."""

import asyncio
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from shared.nodes import threads
from shared.nodes.functions import GROUP, function_of
from tests.engine import eventually
from tests.outward import RUN_ID, call, failed, fault_codes, step
from tests.packages import importable, install

SOURCE = '''
"""Functions of an operator."""
import asyncio, sys, threading
from dataclasses import dataclass
from datetime import date

gate = threading.Event()
running = []
cancelled = []

@dataclass
class Price:
    amount: int
    until: date

def quote_price(customer, *, discount=0):
    return Price(100 - discount, date(2025, 10, 31)) if customer == "ada" else None

async def greet(name):
    await asyncio.sleep(0)
    return f"Hello {name}"

def later(name):
    return greet(name)

async def leave():
    raise SystemExit(3)

def thread():
    return [threading.current_thread().daemon, threading.current_thread() is threading.main_thread()]

def keyed(step):
    return [step.run_id, step.node_id, step.item, step.attempt, step.idempotency_key]

def stuck(name):
    running.append(name)
    gate.wait()
    running.remove(name)

async def slow():
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        cancelled.append(1)
        raise

def odd():
    return object()

def fail(kind):
    raise {"value": ValueError("no such thing"), "key": KeyError("k"), "net": ConnectionResetError("gone"),
           "time": TimeoutError(), "exit": SystemExit(3), "stop": StopIteration(5), "keys": KeyboardInterrupt()}[kind]

def fail_as_step():
    from shared.errors import StepFailedError
    raise StepFailedError("card_declined", "The card was declined.", category="4xx", http_status=402)

not_a_function = 5
'''
NAMES = [
    *("quote_price", "greet", "later", "leave", "thread", "keyed", "stuck", "slow", "odd"),
    *("fail", "fail_as_step", "not_a_function", "gone"),
]
ENTRIES = {**{name: f"operator_functions:{name}" for name in NAMES}, "elsewhere": "no_such_module:f"}


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the package is installed in."""
    return install(tmp_path_factory.mktemp("operator"), "operator_functions", GROUP, ENTRIES, SOURCE)


@pytest.fixture(autouse=True)
def package(installed: Path) -> Iterator[None]:
    """The package beside the project, fresh for each test."""
    with importable(installed, "operator_functions"):
        function_of.cache_clear()
        yield
        if "operator_functions" in sys.modules:
            sys.modules["operator_functions"].gate.set()
    function_of.cache_clear()


async def result(function: str, **arguments: Any) -> Any:
    data = {"function": function, "arguments": arguments}
    return (await call("python_function", data, step())).output["result"]


async def test_calls_a_function() -> None:
    """Arguments go by name, with the types that templates give; what comes back is JSON."""
    data = {"function": "quote_price", "arguments": {"customer": "{{ n1.who }}", "discount": "{{ n1.discount }}"}}
    outcome = await call("python_function", data, step(), n1={"who": "ada", "discount": 30})
    assert outcome.output == {"result": {"amount": 70, "until": "2025-10-31"}}
    assert outcome.step_input == {"function": "quote_price", "arguments": {"customer": "ada", "discount": 30}}
    assert await result("quote_price", customer="bob") is None
    assert await result("greet", name="Ada") == "Hello Ada"
    assert await result("later", name="Bob") == "Hello Bob"


async def test_where_it_runs() -> None:
    """What is no coroutine runs in a thread that does not hold the process when it ends."""
    assert await result("thread") == [True, False]


async def test_it_may_know_its_step() -> None:
    """A parameter called step is filled in, with the key that is equal in every attempt."""
    assert await result("keyed") == [RUN_ID, "n2", "-", 1, f"{RUN_ID}:n2:-"]


@pytest.mark.parametrize(
    ("kind", "category", "told"),
    [
        ("value", "error", "The function fail failed: ValueError: no such thing."),
        ("key", "error", "The function fail failed: KeyError: 'k'."),
        ("net", "network", "The function fail failed: ConnectionResetError: gone."),
        ("time", "timeout", "The function fail failed: TimeoutError."),
        ("exit", "error", "The function fail failed: RuntimeError: it raised SystemExit."),
        ("keys", "error", "The function fail failed: RuntimeError: it raised KeyboardInterrupt."),
        ("stop", "error", "The function fail failed: RuntimeError: "),
    ],
)
async def test_failures(kind: str, category: str, told: str) -> None:
    """Whatever a function raises fails its step alone, in a category that a retry can name."""
    error = await failed("python_function", {"function": "fail", "arguments": {"kind": kind}}, step())
    assert (error.code, error.category) == ("function_failed", category)
    assert error.message.startswith(told)


async def test_a_coroutine_cannot_end_the_worker() -> None:
    """A coroutine that asks the program to end fails its step alone."""
    error = await failed("python_function", {"function": "leave"}, step())
    assert error.message == "The function leave failed: RuntimeError: it raised SystemExit."


async def test_a_failure_of_its_own() -> None:
    """A function may say code, category and status itself."""
    error = await failed("python_function", {"function": "fail_as_step"}, step())
    assert (error.code, error.category, error.http_status) == ("card_declined", "4xx", 402)


async def test_no_json() -> None:
    """A result without a JSON form fails the step."""
    assert (await failed("python_function", {"function": "odd"}, step())).code == "invalid_result"


async def test_a_coroutine_that_takes_too_long() -> None:
    """It is cancelled after the step's timeout."""
    error = await failed("python_function", {"function": "slow"}, step(timeout=0.1))
    assert (error.code, error.category) == ("timeout", "timeout")
    assert sys.modules["operator_functions"].cancelled == [1]


async def test_a_thread_that_takes_too_long() -> None:
    """The step fails after its timeout; the function runs on to its end, unheard."""
    stuck = {"function": "stuck", "arguments": {"name": "a"}}
    error = await failed("python_function", stuck, step(timeout=0.1))
    assert (error.code, error.category) == ("timeout", "timeout")
    module = sys.modules["operator_functions"]
    await eventually(lambda: module.running == ["a"])
    module.gate.set()
    await eventually(lambda: module.running == [])


async def test_stuck_functions_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """When every thread is taken, another step waits for one, and times out if none comes free."""
    before = threading.active_count()
    stuck = [{"function": "stuck", "arguments": {"name": str(number)}} for number in range(threads.LIMIT)]
    calls = [asyncio.create_task(call("python_function", data, step())) for data in stuck]
    module = function_of("stuck") and sys.modules["operator_functions"]
    await eventually(lambda: len(module.running) == threads.LIMIT)
    one_more = {"function": "quote_price", "arguments": {"customer": "ada"}}
    assert (await failed("python_function", one_more, step(timeout=0.1))).code == "timeout"
    assert threading.active_count() <= before + threads.LIMIT
    module.gate.set()
    assert [outcome.output for outcome in await asyncio.gather(*calls)] == [{"result": None}] * threads.LIMIT
    assert (await call("python_function", one_more, step())).output["result"]["amount"] == 100


@pytest.mark.parametrize(
    ("data", "path", "told"),
    [
        ({"function": "quote_prize"}, "function", 'did you mean "quote_price"?'),
        ({"function": "os.system"}, "function", "is no function; registered are "),
        ({"function": "operator_functions:gate"}, "function", "is no function; registered are "),
        ({"function": "__import__('os')"}, "function", "is no function; registered are "),
        ({"function": "gone"}, "function", "The function gone cannot be had: AttributeError"),
        ({"function": "elsewhere"}, "function", "The function elsewhere cannot be had: ModuleNotFoundError"),
        ({"function": "not_a_function"}, "function", "The function not_a_function cannot be had: TypeError"),
        ({"function": "quote_price"}, "arguments", "missing a required argument: 'customer'"),
        ({"function": "greet", "arguments": {"name": 1, "x": 2}}, "arguments", "unexpected keyword argument 'x'"),
        ({"function": "keyed", "arguments": {"step": 1}}, "arguments", '"step" is filled in by the engine'),
        ({"function": "quote_price", "arguments": "{{ n1.all }}"}, "", ""),
        ({"function": "greet", "arguments": {"name": "{{ n1.name }}"}}, "", ""),
    ],
)
async def test_faults(data: dict[str, Any], path: str, told: str) -> None:
    """A function that is not registered, and arguments that it does not take, are refused when saved, and when run."""
    assert fault_codes("python_function", data) == ([(f"data.{path}", "invalid_value")] if path else [])
    if path:
        error = await failed("python_function", data, step())
        assert told in error.message
        assert error.code in {"unknown_function", "function_broken", "invalid_data"}


async def test_arguments_from_a_template() -> None:
    """Arguments that a template gives are held to the function when it is called."""
    data = {"function": "greet", "arguments": "{{ n1.all }}"}
    assert (await call("python_function", data, step(), n1={"all": {"name": "B"}})).output == {"result": "Hello B"}
    error = await failed("python_function", data, step(), n1={"all": {"nam": "B"}})
    assert error.code == "invalid_data"


async def test_no_package(installed: Path) -> None:
    """Without any package the message names the group of entry points."""
    sys.path.remove(str(installed))
    try:
        error = await failed("python_function", {"function": "greet"}, step())
    finally:
        sys.path.append(str(installed))
    assert (error.code, GROUP in error.message) == ("unknown_function", True)


async def test_two_packages_with_one_name(tmp_path: Path) -> None:
    """A name that two packages register is refused, and the places are named."""
    other = install(tmp_path, "other_functions", GROUP, {"greet": "other_functions:greet"}, "def greet(): return 1")
    with importable(other, "other_functions"):
        error = await failed("python_function", {"function": "greet"}, step())
    assert "operator_functions:greet and other_functions:greet" in error.message
