"""Node types whose library is not part of the plain installation: looked for when saved, imported when first used."""

from importlib import import_module
from importlib.util import find_spec
from typing import Any

import msgspec

from shared.errors import StepFailedError


class Extra(msgspec.Struct, frozen=True):
    """An extra of this distribution and the module that it brings.

    A node type names it in `NodeType.extras`, so that a graph that cannot run here is not saved, and takes the module
    from `load`, so that a process that never runs such a node pays neither memory nor start for it.

    Attributes:
        name: as in ``pip install "edgewise[name]"``.
        module: what is imported, a top-level name.
    """

    name: str
    module: str

    def faults(self) -> list[tuple[str, str]]:
        """The fault of a node whose module is not installed, in the form of `NodeType.check`; empty if it is."""
        return [] if self.is_installed else [("componentId", self._message())]

    @property
    def command(self) -> str:
        """What brings it."""
        return f'pip install "edgewise[{self.name}]"'

    @property
    def is_installed(self) -> bool:
        """Whether the module is there; it is not imported for that."""
        # None in sys.modules is how a module is blocked, and find_spec says that with a ValueError.
        try:
            return find_spec(self.module) is not None
        except ValueError:
            return False

    def load(self, submodule: str = "") -> Any:
        """The module, or the dotted ``submodule`` below it.

        Raises:
            StepFailedError: ``extra_missing`` if it is not installed.
        """
        try:
            return import_module(f"{self.module}.{submodule}" if submodule else self.module)
        except ImportError as error:
            raise StepFailedError("extra_missing", self._message()) from error

    def _message(self) -> str:
        return (
            f'This node type needs the extra "{self.name}" ({self.module}), which is not installed here; '
            f"install it with {self.command} beside the api and every worker."
        )
