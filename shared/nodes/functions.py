"""The functions that the operator's own packages register for ``python_function`` nodes.

A package names them in the entry point group ``edgewise.functions``; what is called is code that the operator has
installed beside the api and the workers, never anything that stands in a workflow.
"""

import inspect
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Final

import msgspec

from shared.errors import StepFailedError
from shared.graph.suggest import Nearest, listed, shown

GROUP: Final = "edgewise.functions"
#: The parameter that is filled with a `Call`, if a function has it.
STEP: Final = "step"


class Call(msgspec.Struct, frozen=True):
    """Which step calls a function.

    Attributes:
        item: the path of the item inside iterators, ``-`` outside.
        attempt: 1 for the first.
        idempotency_key: ``<run>:<node>:<item>``, equal in every attempt.
    """

    run_id: str
    node_id: str
    item: str
    attempt: int
    idempotency_key: str


class Function(msgspec.Struct, frozen=True):
    """One registered function.

    Attributes:
        wants_step: whether it has a parameter called `STEP`.
    """

    call: Callable[..., Any]
    signature: inspect.Signature
    wants_step: bool

    def mismatch(self, names: Iterable[str]) -> str | None:
        """Why the function cannot be called with arguments of these names; None if it can."""
        given: dict[str, Any] = dict.fromkeys(names)
        if self.wants_step and STEP in given:
            return f'"{STEP}" is filled in by the engine'
        try:
            self.signature.bind(**given, **({STEP: None} if self.wants_step else {}))
        except TypeError as error:
            return str(error)
        return None


@cache
def function_of(name: str) -> Function:
    """The function that is registered under a name; its package is imported when it is first asked for.

    Raises:
        StepFailedError: ``unknown_function`` if none is, or several are; ``function_broken`` if it cannot be had.
    """
    found = [entry for entry in _registered() if entry.name == name]
    if len(found) != 1:
        raise StepFailedError("unknown_function", _unknown(name, found))
    try:
        loaded = found[0].load()
        signature = inspect.signature(loaded)
    except Exception as error:
        raise StepFailedError("function_broken", f"The function {name} cannot be had: {_told(error)}.") from error
    return Function(loaded, signature, STEP in signature.parameters)


def failure_of(name: str, error: BaseException) -> StepFailedError:
    """The step's error for what a function raised.

    A `ConnectionError` has the category ``network`` and a `TimeoutError` ``timeout``, so that ``retry.on`` can tell.
    """
    categories = {ConnectionError: "network", TimeoutError: "timeout"}
    category = next((word for kind, word in categories.items() if isinstance(error, kind)), "error")
    return StepFailedError("function_failed", f"The function {name} failed: {_told(error)}.", category=category)


def arguments_for(function: Function, arguments: Mapping[str, Any], call: Call) -> dict[str, Any]:
    """The keyword arguments of one call.

    Raises:
        StepFailedError: ``invalid_data`` if the function does not take them.
    """
    mismatch = function.mismatch(arguments)
    if mismatch is not None:
        raise StepFailedError("invalid_data", f"data.arguments: {mismatch}.")
    return {**arguments, **({STEP: call} if function.wants_step else {})}


def _registered() -> list[EntryPoint]:
    return sorted(entry_points(group=GROUP), key=lambda entry: (entry.name, entry.value))


def _unknown(name: str, found: list[EntryPoint]) -> str:
    if found:
        places = " and ".join(entry.value for entry in found)
        return f"Several functions are called {shown(name)}: {places}; rename all but one."
    legal = tuple(dict.fromkeys(entry.name for entry in _registered()))
    if not legal:
        return f"{shown(name)} is no function: no installed package has an entry point of the group {GROUP}."
    return f"{shown(name)} is no function; registered are {listed(legal)}{Nearest().hint(name, lambda: legal)}"


def _told(error: BaseException) -> str:
    text = str(error)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
