"""How much a template may use. What is over a limit fails the step and harms nothing else."""

from typing import Final

#: Characters of one template's source.
SOURCE: Final = 256 * 1024
#: Characters within the tags and expressions of all templates of a workflow: parsing them takes some 6 us each.
MARKUP: Final = 256 * 1024
#: Bytes of UTF-8 that one render may write, and characters or items that one filter may return.
OUTPUT: Final = 1024 * 1024
#: Loop iterations of one render, all loops together.
ITERATIONS: Final = 100_000
#: Blocks inside blocks.
NESTING: Final = 30
#: Bytes of the values that ``assign`` and ``capture`` hold, as `sys.getsizeof` counts them.
LOCALS: Final = 4 * 1024 * 1024
#: Bits of an integer that a filter may return.
INTEGER_BITS: Final = 1024
#: Seconds of processor time of one render, and of all that a node does with its data in process: its templates and
#: its own work together. The other limits bind first in all but hostile templates; this one keeps a loop over large
#: values from holding up the worker's other steps.
SECONDS: Final = 0.75
#: Levels of objects and lists inside each other in a node's data.
DEPTH: Final = 100
#: Comparisons of the ``uniq`` filter, which are quadratic in the items: this many items at most.
UNIQUE_ITEMS: Final = 2_000
