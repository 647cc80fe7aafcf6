"""Who is calling and what they may do: the scopes, and what each route asks for."""

from enum import StrEnum
from typing import Final, Literal, NamedTuple, TypeAlias
from uuid import UUID

from shared.errors import PermissionDeniedError


class Scope(StrEnum):
    """The scopes a token may carry; ``admin`` is all of them."""

    WORKFLOWS_READ = "workflows:read"
    WORKFLOWS_WRITE = "workflows:write"
    WORKFLOWS_EXECUTE = "workflows:execute"
    VAULT_READ = "vault:read"
    VAULT_WRITE = "vault:write"
    ADMIN = "admin"


#: The marker of a route that needs no token.
PUBLIC: Final = "public"

Access: TypeAlias = Scope | Literal["public"]


class Principal(NamedTuple):
    """Who is calling.

    Attributes:
        subject: ``sub`` of the token; the name of an API key, which begins with ``api-key:``.
    """

    subject: str
    workspace_id: UUID
    scopes: frozenset[str]

    def require(self, needed: Scope) -> None:
        """Refuse whom the scopes are not enough.

        Raises:
            PermissionDeniedError: ``scope_missing``.
        """
        if not self.may(needed):
            held = ", ".join(sorted(self.scopes)) or "none"
            raise PermissionDeniedError(
                "scope_missing", f"This needs a token with the scope {needed}, or admin; it has: {held[:300]}."
            )

    def may(self, needed: Scope) -> bool:
        """Whether the scopes are enough."""
        return needed in self.scopes or Scope.ADMIN in self.scopes
