"""This module is where a tenant's own identity provider stands: whose word it takes for who somebody is."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Index, LargeBinary, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from models.activity import EventTopic
from models.base import TenantRow, tenant_key
from models.scopes import Role, Scope


class IdentityProvider(TenantRow):
    """An OpenID Connect issuer whose ID tokens sign the tenant's people in; a tenant has at most one."""

    __tablename__ = "identity_providers"
    __typeid__ = "issuer"
    __topic__ = EventTopic.SECURITY
    __read_scope__ = Scope.TENANTS_WRITE
    __table_args__ = (tenant_key(), UniqueConstraint("tenant_id"))

    issuer: Mapped[str]
    client_id: Mapped[str]
    jwks_uri: Mapped[str | None]
    email_claim: Mapped[str] = mapped_column(default="email")
    name_claim: Mapped[str] = mapped_column(default="name")
    roles_claim: Mapped[str | None]
    role_mapping: Mapped[dict[str, Any]] = mapped_column(default=dict)
    default_roles: Mapped[list[str]] = mapped_column(default=list)
    creates_users: Mapped[bool] = mapped_column(default=True)
    links_by_email: Mapped[bool] = mapped_column(default=False)
    trusts_emails: Mapped[bool] = mapped_column(default=False)
    is_enabled: Mapped[bool] = mapped_column(default=True)

    def roles_for(self, values: list[str]) -> list[Role]:
        """What somebody gets whose roles claim holds ``values``, in the order of the roles."""
        words = {word for value in values for word in self.role_mapping.get(value, ())} | set(self.default_roles)
        return [role for role in Role if role.value in words]

    @property
    def granted_default_roles(self) -> list[Role]:
        """The default roles that are still known."""
        return [role for role in Role if role.value in self.default_roles]

    @property
    def mappings(self) -> list[dict[str, Any]]:
        """What each claim value gives, by the value."""
        return [
            {"claim_value": value, "roles": [role for role in Role if role.value in words]}
            for value, words in sorted(self.role_mapping.items())
        ]

    def facets(self) -> dict[str, Any]:
        """What visibility may look at in an event's envelope."""
        return {"id": str(self.id), "is_enabled": self.is_enabled}


class SpentIdToken(TenantRow):
    """An ID token that has signed somebody in: it does so once. Kept until it has expired."""

    __tablename__ = "spent_id_tokens"
    __typeid__ = "spent"
    __table_args__ = (
        tenant_key(),
        Index("uq_spent_id_tokens_hash", "tenant_id", "token_hash", unique=True),
        Index("ix_spent_id_tokens_expires", "tenant_id", "expires_at"),
    )

    token_hash: Mapped[bytes] = mapped_column(LargeBinary)
    expires_at: Mapped[datetime]
