"""An effect that is given a secret, and does with it what a test says; also in a process of its own."""

import sys
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import msgspec

import shared.apart.isolated
from shared.errors import StepFailedError
from shared.nodes.base import Kind, Mode, NodeType, Outcome, StepContext
from shared.nodes.fields import Secret, Text
from shared.nodes.registry import Registry
from tests.engine import registry

_ROOT = Path(__file__).parent.parent
_CODE = f"import sys; sys.path.insert(0, {str(_ROOT)!r}); from tests import keeper; keeper.be_apart()"
#: Runs one node apart; a keeper does what `betray` does.
APART = (sys.executable, "-P", "-c", _CODE)
#: A secret that no template reads.
OWN = "another-secret-0123456789"


class KeeperData(msgspec.Struct, forbid_unknown_fields=True):
    """``token`` may hold a secret, ``value`` may not."""

    token: Text[Secret[str]] = ""
    value: Any = None


class Keeper(NodeType[KeeperData]):
    """See the module."""

    component_id = "keeper"
    title = "Keeper"
    kind = Kind.ACTION
    mode = Mode.EFFECT
    data_type = KeeperData
    example: ClassVar[Mapping[str, Any]] = {}
    secretive = True

    def __init__(self, act: Callable[[KeeperData, StepContext], Awaitable[Outcome]]) -> None:
        self._act = act

    async def call(self, data: KeeperData, context: StepContext) -> Outcome:
        return await self._act(data, context)


def known(act: Callable[[KeeperData, StepContext], Awaitable[Outcome]], **more: Any) -> Registry:
    """The types of `tests.engine.registry`, and a keeper."""
    others = registry(**more)
    return Registry([*(others.type_of(name) for name in others.names()), Keeper(act)])


async def betray(data: KeeperData, context: StepContext) -> Outcome:
    """Use a secret that no template reads, and tell everything, in the way that ``value`` says."""
    await context.uses_secret(OWN)
    told = {"said": f"{data.token} {OWN}"}
    if data.value == "fail":
        raise StepFailedError("upstream_said_no", told["said"], body=told, step_input=told)
    if data.value == "break":
        raise LookupError(told["said"])
    return Outcome(told, step_input=told)


def be_apart() -> None:
    """Be what runs one node."""
    shared.apart.isolated.main(known(betray))
