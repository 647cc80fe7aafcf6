"""What a template sees while it is rendered: the scope, its own variables, and how much it has used."""

from collections.abc import Mapping
from io import StringIO
from typing import Any, TextIO

from liquid import BoundTemplate, RenderContext, Token
from liquid.exceptions import LoopIterationLimitError
from liquid.undefined import UNDEFINED
from liquid.utils import ReadOnlyChainMap

from shared.templates import limits
from shared.templates.buffers import TextBuffer


class Context(RenderContext):
    """One render.

    Liquid's ``now`` and ``today`` are not in scope: a step that is run again must write the same. Loops are counted
    over the whole render, and everything under a skipped ancestor, which is nil, is nil.
    """

    __slots__ = ("_iterations",)

    def __init__(self, template: BoundTemplate, scope: Mapping[str, object]) -> None:
        super().__init__(template, globals=scope)
        self.scope = ReadOnlyChainMap(self.locals, scope, self.counters)
        self._iterations = 0

    def get(self, path: list[object], *, token: Token | None, default: object = UNDEFINED) -> object:
        """See `RenderContext.get`."""
        if len(path) > 1 and self._is_skipped(path):
            return None
        return super().get(path, token=token, default=default)

    def _is_skipped(self, path: list[object]) -> bool:
        """Whether a path leads through a skipped ancestor: ``n1.x`` or ``nodes["n1"].x``."""
        root = path[0]
        found: Any = self.scope.get(root, UNDEFINED) if isinstance(root, str) else UNDEFINED
        if root != "nodes" or len(path) == 2:
            return found is None
        return isinstance(found, Mapping) and found.get(path[1], UNDEFINED) is None

    def raise_for_loop_limit(self, length: int = 1) -> None:
        """Count the iterations of a loop that begins."""
        self._iterations += length
        if self._iterations > limits.ITERATIONS:
            raise LoopIterationLimitError(f"loops may run {limits.ITERATIONS} times in all", token=None)

    def get_buffer(self, buf: TextIO | None = None) -> StringIO:
        """A buffer for a part of the output."""
        return buf.sibling() if isinstance(buf, TextBuffer) else TextBuffer(limits.OUTPUT)
