"""What a template sees while it is rendered: the scope, its own variables, and how much it has used."""

import time
from collections.abc import Callable, Mapping
from io import StringIO
from typing import Any, Final, TextIO

from liquid import BoundTemplate, RenderContext, Token
from liquid.exceptions import LoopIterationLimitError, ResourceLimitError
from liquid.undefined import UNDEFINED
from liquid.utils import ReadOnlyChainMap

from shared.templates import allowance, limits
from shared.templates.buffers import TextBuffer

_WATCHED: Final = 16


class Context(RenderContext):
    """One render.

    Liquid's ``now`` and ``today`` are not in scope: a step that is run again must write the same. Loops are counted
    over the whole render, and everything under a skipped ancestor, which is nil, is nil.

    Attributes:
        exposed: where texts go that values of the vault were written out as; None if nobody asks.
    """

    __slots__ = ("_deadline", "_iterations", "_unwatched", "exposed")

    def __init__(self, template: BoundTemplate, scope: Mapping[str, object], exposed: list[str] | None = None) -> None:
        super().__init__(template, globals=scope)
        self.exposed = exposed
        self.scope = ReadOnlyChainMap(self.locals, scope, self.counters)
        self._iterations = 0
        self._unwatched = 0
        self._deadline = 0.0

    def get(self, path: list[object], *, token: Token | None, default: object = UNDEFINED) -> object:
        """See `RenderContext.get`. Members of objects are followed here; what is not found so is left to Liquid."""
        self._watch()
        try:
            return self._follow(path)
        except (LookupError, TypeError):
            return None if self._is_skipped(path) else super().get(path, token=token, default=default)

    def _follow(self, path: list[Any]) -> Any:
        found: Any = self.scope
        for name in path:
            if type(found) is not dict and found is not self.scope:
                raise LookupError(name)
            found = found[name]
        return found

    def filter(self, name: str, token: Token | None) -> Callable[..., object]:
        """See `RenderContext.filter`."""
        self._watch()
        return super().filter(name, token)

    def _watch(self) -> None:
        """Stop a render that takes long; the clock is read at every 16th look-up, so short renders never pay for it."""
        self._unwatched += 1
        if self._unwatched % _WATCHED:
            return
        self.remaining()

    def remaining(self) -> float:
        """Seconds of processor time that the render has left; they begin with the first call.

        While an allowance is open (`shared.templates.allowance`) it is what all renders have left together.

        Raises:
            ResourceLimitError: if none are left.
        """
        self._deadline = allowance.deadline(self._deadline)
        left = self._deadline - time.thread_time()
        if left < 0:
            raise ResourceLimitError(f"the template takes more than {limits.SECONDS:g} s", token=None)
        return left

    def _is_skipped(self, path: list[object]) -> bool:
        """Whether a path leads through a skipped ancestor: ``n1.x`` or ``nodes["n1"].x``."""
        root = path[0]
        found: Any = self.scope.get(root, UNDEFINED) if isinstance(root, str) else UNDEFINED
        if root == "nodes" and len(path) > 1 and isinstance(found, Mapping) and isinstance(path[1], str):
            found = found.get(path[1], UNDEFINED)
        return found is None

    def raise_for_loop_limit(self, length: int = 1) -> None:
        """Count the iterations of a loop that begins."""
        self._iterations += length
        if self._iterations > limits.ITERATIONS:
            raise LoopIterationLimitError(f"loops may run {limits.ITERATIONS} times in all", token=None)

    def get_buffer(self, buf: TextIO | None = None) -> StringIO:
        """A buffer for a part of the output."""
        return buf.sibling() if isinstance(buf, TextBuffer) else TextBuffer(limits.OUTPUT)
