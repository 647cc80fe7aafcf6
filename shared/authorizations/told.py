"""What a run presents to APIs counts among its secrets before it is presented."""

from collections.abc import Awaitable, Callable
from typing import NamedTuple

from shared.nodes.base import Authorization, Grant


class Told(NamedTuple):
    """An authorization whose grants are told before they are given; implements `Authorization`.

    Attributes:
        uses_secret: see `shared.nodes.base.StepContext`; whoever hands a grant to another process has told it so, too.
    """

    authorization: Authorization
    uses_secret: Callable[[str], Awaitable[None]]

    async def grant(self, refused: Grant | None = None) -> Grant:
        """See `Authorization.grant`."""
        grant = await self.authorization.grant(refused)
        for secret in grant.secrets:
            await self.uses_secret(secret)
        return grant
