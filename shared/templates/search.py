"""JMESPath with limits: no expression may run long or make much out of little.

The language has no loops, yet ``[@,@]|[@,@]|...`` doubles what it is given with every stage, and a literal inside a
projection repeats itself for each item. So every step of an evaluation is counted, results are measured before they are
made, and nothing leaves here that is larger than a render may write.
"""

import math
import time
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any, Final

from jmespath import exceptions, functions, parser, visitor  # type: ignore[import-untyped]

from shared import jsontext
from shared.templates import allowance, limits

#: Characters of an expression; its parser and its literals are bounded by it.
LONGEST: Final = 4_096
#: What one evaluation may visit and make: nodes of the expression, items of lists, and characters, all together.
_BUDGET: Final = 6 * limits.OUTPUT
#: What a list, an object or a number counts besides what is in it: about the characters that its text has.
_VALUE: Final = 4
#: The clock is read at every 256th node visited.
_WATCHED: Final = 256
#: And at every 4,096th value that is counted.
_COUNTED: Final = 4_096


class PathError(ValueError):
    """An expression that is none, or that cannot be evaluated on this value; the text says why."""


class Search:
    """A parsed expression. It holds no state of an evaluation and may be shared."""

    __slots__ = ("_tree",)

    def __init__(self, tree: dict[str, Any]) -> None:
        self._tree = tree

    def __call__(self, value: Any, seconds: float | None = None) -> Any:
        """What the expression gives for a value made of JSON types; null where nothing is there.

        Args:
            value: what it is evaluated on.
            seconds: of processor time that it may take; by default what `allowance` has left.

        Raises:
            PathError: if a function does not take what it is given, or a limit is passed.
        """
        interpreter = _Interpreter(allowance.left() if seconds is None else seconds)
        try:
            found = interpreter.visit(self._tree, value)
            interpreter.spend(_weight(found, limits.OUTPUT, interpreter.deadline))
        except exceptions.JMESPathTypeError as error:
            expected = ", ".join(error.expected_types)
            raise PathError(f"{error.function_name}() takes {expected}, not {error.actual_type}") from error
        except exceptions.JMESPathError as error:
            raise PathError(str(error)) from error
        except RecursionError as error:
            raise PathError("the expression or the value nests too deep") from error
        except (TypeError, ValueError, OverflowError, AttributeError) as error:
            if isinstance(error, PathError):
                raise
            raise PathError(f"the expression cannot be evaluated on this value: {error}") from error
        return found


@lru_cache(maxsize=512)
def compiled(expression: str) -> Search:
    """The search of an expression, parsed once and kept.

    Raises:
        PathError: if it is too long, is no JMESPath, or calls functions that do not exist or take other arguments.
    """
    if len(expression) > LONGEST:
        raise PathError(f"an expression has at most {LONGEST} characters, not {len(expression)}")
    try:
        tree = parser.Parser().parse(expression).parsed
        _check_functions(tree)
    except exceptions.JMESPathError as error:
        raise PathError(_told(error)) from error
    except RecursionError as error:
        raise PathError("the expression nests too deep") from error
    except ValueError as error:
        if isinstance(error, PathError):
            raise
        raise PathError(f"the expression cannot be read: {error}") from error
    return Search(tree)


def _told(error: Exception) -> str:
    """The reason without the drawing of the expression that follows it."""
    if isinstance(error, exceptions.EmptyExpressionError):
        return "the expression is empty"
    if isinstance(error, exceptions.ParseError):
        return f"{error.msg} at column {error.lex_position + 1}, near {str(error.token_value)[:40]!r}"
    return str(error).partition("\n")[0][:200]


def _check_functions(tree: dict[str, Any]) -> None:
    for node in _nodes(tree):
        if node["type"] != "function_expression":
            continue
        known = _Functions.FUNCTION_TABLE.get(node["value"])
        if known is None:
            legal = ", ".join(sorted(_Functions.FUNCTION_TABLE))
            raise PathError(f"there is no function {str(node['value'])[:40]}(); legal: {legal}")
        _check_arity(node["value"], known["signature"], len(node["children"]))


def _check_arity(name: str, signature: Sequence[dict[str, Any]], given: int) -> None:
    least = len(signature)
    if given < least or (given > least and not signature[-1].get("variadic")):
        raise PathError(f"{name}() takes {least} argument{'s' if least > 1 else ''}, not {given}")


def _nodes(tree: Any) -> Iterator[dict[str, Any]]:
    pending = [tree]
    for node in pending:
        if isinstance(node, dict) and "type" in node:
            yield node
            pending.extend(node.get("children", ()))


def _weight(value: Any, most: int, deadline: float = math.inf) -> int:
    """About the characters of a value's JSON text; what it holds more than once counts each time.

    Raises:
        PathError: if it is more than ``most``, or counting takes until the deadline (of `time.thread_time`).
    """
    visits = 0
    total = 0
    pending = [value]
    while pending:
        each = pending.pop()
        visits += 1
        if not visits % _COUNTED and time.thread_time() > deadline:
            raise PathError("it takes too long")
        kind = type(each)  # of JSON alone: `isinstance` takes twice as long
        total += _VALUE + (len(each) if kind is list or kind is str else 0)
        if total > most:
            raise PathError(f"it would make more than {most} characters")
        if kind is list:
            pending.extend(each)
        elif kind is dict:
            total += sum(map(len, each))
            pending.extend(each.values())
        elif kind is float and not math.isfinite(each):
            raise PathError(f"it gives {each}, which is no JSON number")
    return total


class _Functions(functions.Functions):  # type: ignore[misc] # the library has no types
    """JMESPath's functions, told to measure what they would make."""

    @functions.signature({"types": ["string"]}, {"types": ["array-string"]})  # type: ignore[untyped-decorator]
    def _func_join(self, separator: str, array: list[str]) -> str:
        size = sum(map(len, array)) + len(separator) * len(array)
        if size > limits.OUTPUT:
            raise PathError(f"join() would make more than {limits.OUTPUT} characters")
        return separator.join(array)

    @functions.signature({"types": []})  # type: ignore[untyped-decorator]
    def _func_to_string(self, arg: Any) -> str:
        _weight(arg, limits.OUTPUT)
        return arg if isinstance(arg, str) else jsontext.encode(arg)

    @functions.signature({"types": ["array", "string"]}, {"types": []})  # type: ignore[untyped-decorator]
    def _func_contains(self, subject: Any, search: Any) -> bool:
        if isinstance(search, (list, dict)):
            _weight(subject, limits.OUTPUT)
        return search in subject


class _Interpreter(visitor.TreeInterpreter):  # type: ignore[misc] # the library has no types
    """One evaluation, with what is left of its budget."""

    def __init__(self, seconds: float) -> None:
        super().__init__(visitor.Options(custom_functions=_Functions()))
        self._left = _BUDGET
        self._visits = 0
        self.deadline = time.thread_time() + seconds

    def spend(self, amount: int) -> None:
        """Take from the budget.

        Raises:
            PathError: if it is spent.
        """
        self._left -= amount
        if self._left < 0:
            raise PathError(f"it visits or makes more than {_BUDGET} items and characters")

    def visit(self, node: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        """See the library's; counted here."""
        self._visits += 1
        if self._visits % _WATCHED == 0 and time.thread_time() > self.deadline:
            raise PathError("it takes too long")
        result = super().visit(node, *args, **kwargs)
        self.spend(1 + (len(result) if type(result) is list else 0))
        return result

    def visit_function_expression(self, node: dict[str, Any], value: Any) -> Any:
        """Text that a function makes counts with its characters."""
        made = super().visit_function_expression(node, value)
        self.spend(len(made) if isinstance(made, str) else 0)
        return made

    def visit_comparator(self, node: dict[str, Any], value: Any) -> Any:
        """Large values that are held many times are not compared."""
        sides = [self.visit(child, value) for child in node["children"]]
        for side in sides:
            if isinstance(side, (list, dict)):
                self.spend(_weight(side, limits.OUTPUT, self.deadline))
        literals = [{"type": "literal", "value": side, "children": []} for side in sides]
        return super().visit_comparator({**node, "children": literals}, value)

    def visit_flatten(self, node: dict[str, Any], value: Any) -> Any:
        """A flat list is measured before it is made."""
        base = self.visit(node["children"][0], value)
        if not isinstance(base, list):
            return None
        self.spend(sum(len(item) if isinstance(item, list) else 1 for item in base))
        return [part for item in base for part in (item if isinstance(item, list) else (item,))]

    def visit_multi_select_list(self, node: dict[str, Any], value: Any) -> Any:
        """What is put together is measured with all that is in it."""
        return self._measured(super().visit_multi_select_list(node, value))

    def visit_multi_select_dict(self, node: dict[str, Any], value: Any) -> Any:
        """See `visit_multi_select_list`."""
        return self._measured(super().visit_multi_select_dict(node, value))

    def _measured(self, made: Any) -> Any:
        self.spend(_weight(made, limits.OUTPUT, self.deadline))
        return made
