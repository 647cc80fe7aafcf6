"""The tags that write values, told to write them through the buffer; and ranges, told to stay small."""

from typing import Any, TextIO, cast

from liquid import RenderContext
from liquid.builtin.expressions.primitive import RangeLiteral
from liquid.builtin.output import Output, OutputNode
from liquid.builtin.tags.capture_tag import CaptureNode, CaptureTag
from liquid.builtin.tags.cycle_tag import CycleNode, CycleTag
from liquid.builtin.tags.echo_tag import EchoNode, EchoTag
from liquid.builtin.tags.ifchanged_tag import IfChangedNode, IfChangedTag
from liquid.exceptions import LoopIterationLimitError

from shared.templates import limits
from shared.templates.buffers import TextBuffer


class ValueNode(OutputNode):
    """``{{ expression }}``."""

    __slots__ = ()

    def render_to_output(self, context: RenderContext, buffer: TextIO) -> int:
        return cast(TextBuffer, buffer).write_value(self.expression.evaluate(context))


class ValueOutput(Output):
    """Parses ``{{ expression }}``."""

    node_class = ValueNode


class EchoValueNode(EchoNode):
    """``{% echo expression %}``."""

    __slots__ = ()

    def render_to_output(self, context: RenderContext, buffer: TextIO) -> int:
        return cast(TextBuffer, buffer).write_value(self.expression.evaluate(context))


class Echo(EchoTag):
    """Parses ``{% echo %}``."""

    node_class = EchoValueNode


class CycleValueNode(CycleNode):
    """``{% cycle a, b %}``: its items may be expressions, so they are written as values."""

    __slots__ = ()

    def render_to_output(self, context: RenderContext, buffer: TextIO) -> int:
        group = str(self.group.evaluate(context)) if self.group else ""
        items = [argument.evaluate(context) for argument in self.args]
        index = context.cycle(group or repr([str(argument) for argument in self.args]), len(items))
        return cast(TextBuffer, buffer).write_value(items[index]) if index < len(items) else 0


class Cycle(CycleTag):
    """Parses ``{% cycle %}``."""

    node_class = CycleValueNode


class PlainCaptureNode(CaptureNode):
    """``{% capture name %}``: what it holds is a value, escaped where it is written and not before."""

    __slots__ = ()

    def render_to_output(self, context: RenderContext, _: TextIO) -> int:
        held = TextBuffer(limits.OUTPUT)
        self.block.render(context, held)
        context.assign(self.name, held.getvalue())
        return 0


class Capture(CaptureTag):
    """Parses ``{% capture %}``."""

    node_class = PlainCaptureNode


class PlacedIfChangedNode(IfChangedNode):
    """``{% ifchanged %}``: its block is rendered as if in place, so its values are escaped as they are there."""

    __slots__ = ()

    def render_to_output(self, context: RenderContext, buffer: TextIO) -> int:
        part = buffer.sibling() if isinstance(buffer, TextBuffer) else TextBuffer(limits.OUTPUT)
        self.block.render(context, part)
        text = part.getvalue()
        return buffer.write(text) if context.ifchanged(text) else 0


class IfChanged(IfChangedTag):
    """Parses ``{% ifchanged %}``."""

    node_class = PlacedIfChangedNode


class SmallRange(RangeLiteral):
    """``(1..n)``, refused when it is long: filters and ``reversed`` would make a list of it."""

    __slots__ = ()

    def _make_range(self, start: Any, stop: Any) -> range:
        made = super()._make_range(start, stop)
        if made.stop - made.start > limits.ITERATIONS:
            raise LoopIterationLimitError(f"a range may have {limits.ITERATIONS} items", token=self.token)
        return made
