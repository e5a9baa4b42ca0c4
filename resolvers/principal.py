"""This module is where the caller is known: which tenant, which person or machine, which scopes."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from models import PLATFORM_TENANT_ID, UNLIMITED, Role, Scope, TenantLimits
from models.errors import Forbidden, Unauthenticated


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """Who a verified credential belongs to: ``user_id`` or ``api_key_id``; neither is the operator at the machine."""

    tenant_id: UUID
    scopes: frozenset[Scope]
    roles: frozenset[Role] = field(default_factory=frozenset)
    user_id: UUID | None = None
    api_key_id: UUID | None = None
    workspace_id: UUID | None = None
    session_id: UUID | None = None
    authorization_version: int = 0
    expires_at: datetime | None = None
    is_platform_admin: bool = False
    limits: TenantLimits = UNLIMITED
    """What the caller's own tenant may have and ask for."""

    def __hash__(self) -> int:
        # Thousands of connections are sorted by it twice a second, and these two tell nearly all apart.
        return hash((self.session_id, self.api_key_id))

    def allows(self, scope: Scope) -> bool:
        """Whether the credential holds ``scope``."""
        return scope is Scope.PUBLIC or scope is Scope.SIGNED_IN or scope in self.scopes

    @property
    def home_tenant_id(self) -> UUID:
        """Where the caller's own row is: a platform administrator stays the platform's in every tenant."""
        return PLATFORM_TENANT_ID if self.is_platform_admin else self.tenant_id

    @property
    def member_id(self) -> UUID | None:
        """The caller's row among this tenant's users, for columns that refer to one; None for a guest or a machine."""
        return self.user_id if self.home_tenant_id == self.tenant_id else None

    @property
    def key(self) -> str:
        """A name for this caller that survives new tokens: one user, one API key."""
        return f"user:{self.user_id}" if self.user_id else f"key:{self.api_key_id}"

    @property
    def actor(self) -> tuple[str, UUID] | None:
        """TypeID prefix and id of who acts: a machine token acts as its workspace, None is the gateway itself."""
        if self.user_id is not None:
            return "user", self.user_id
        if self.workspace_id is not None:
            return "workspace", self.workspace_id
        return ("key", self.api_key_id) if self.api_key_id is not None else None


def require(principal: Principal | None, scope: Scope) -> None:
    """Refuse unless ``scope`` is held: UNAUTHENTICATED without credentials, FORBIDDEN with too few."""
    if scope is Scope.PUBLIC:
        return
    if principal is None:
        raise Unauthenticated
    if not principal.allows(scope):
        raise Forbidden(f"This needs the scope {scope.value}.")
