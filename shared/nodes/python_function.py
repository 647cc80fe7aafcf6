"""``python_function``: calls a function that the operator's own package registers."""

import asyncio
import inspect
from collections.abc import Mapping
from functools import partial
from typing import Any, ClassVar

import msgspec

from shared.errors import StepFailedError
from shared.nodes.base import Kind, Mode, NodeType, Outcome, StepContext
from shared.nodes.fields import Plain
from shared.nodes.functions import Call, Function, arguments_for, failure_of, function_of
from shared.nodes.threads import in_thread


class Data(msgspec.Struct, forbid_unknown_fields=True):
    """Configuration.

    Attributes:
        function: the name of an entry point of the group ``edgewise.functions``.
        arguments: given to it by name.
    """

    function: Plain[str]
    arguments: dict[str, Any] = {}


class PythonFunction(NodeType[Data]):
    """Calls a function of a package that the operator has installed; output ``{result}``, whatever has a JSON form.

    A coroutine function runs on the worker's event loop, any other in a thread. When the step's ``timeout`` is over, a
    coroutine is cancelled; a thread cannot be stopped, so its function runs on to its end and its result is dropped.
    A function with a parameter called ``step`` is told run, node, item, attempt and idempotency key there.
    """

    component_id = "python_function"
    title = "Python function"
    kind = Kind.ACTION
    mode = Mode.EFFECT
    data_type = Data
    example: ClassVar[Mapping[str, Any]] = {"function": "quote_price", "arguments": {"customer": "{{ n1.customer }}"}}
    example_context: ClassVar[Mapping[str, Any]] = {"n1": {"customer": "ada"}}

    def check(self, data: Mapping[str, Any]) -> list[tuple[str, str]]:
        """See `NodeType.check`."""
        try:
            function = function_of(data["function"])
        except StepFailedError as error:
            return [("function", error.message)]
        arguments = data.get("arguments", {})
        mismatch = function.mismatch(arguments) if isinstance(arguments, dict) else None
        return [("arguments", f"{data['function']} cannot be called like this: {mismatch}.")] if mismatch else []

    async def call(self, data: Data, context: StepContext) -> Outcome:
        """Call the function.

        Raises:
            StepFailedError: ``unknown_function``, ``function_broken``, ``invalid_data``, ``function_failed`` with what
                it raised, ``timeout``, ``invalid_result`` if what it returns has no JSON form, or the one it raised.
        """
        function = function_of(data.function)
        call = Call(context.run_id, context.node_id, context.item, context.attempt, context.idempotency_key)
        arguments = arguments_for(function, data.arguments, call)
        result = await _returned(data.function, function, arguments, context.timeout)
        return Outcome({"result": _json_form(data.function, result)}, step_input=msgspec.to_builtins(data))


async def _returned(name: str, function: Function, arguments: Mapping[str, Any], seconds: float) -> Any:
    clock = asyncio.timeout(seconds)
    try:
        async with clock:
            return await _called(function, arguments)
    except StepFailedError:
        raise  # its own words
    except Exception as error:
        if clock.expired():
            message = f"The function {name} took longer than its {seconds:g} s."
            raise StepFailedError("timeout", message, category="timeout") from None
        raise failure_of(name, error) from error


async def _called(function: Function, arguments: Mapping[str, Any]) -> Any:
    """What it returns; what would end a program ends only the step."""
    call = partial(function.call, **arguments)
    try:
        result = call() if inspect.iscoroutinefunction(function.call) else await in_thread(call)
        return await result if inspect.isawaitable(result) else result
    except (SystemExit, KeyboardInterrupt) as error:
        raise RuntimeError(f"it raised {type(error).__name__}") from error


def _json_form(name: str, result: Any) -> Any:
    try:
        return msgspec.to_builtins(result, str_keys=True)
    except (TypeError, ValueError, RecursionError) as error:
        raise StepFailedError("invalid_result", f"What {name} returned has no JSON form: {error}.") from error
