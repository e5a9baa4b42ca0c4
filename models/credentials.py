"""This module is where proof of identity is kept: sessions, refresh tokens and API keys, all as hashes."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, Index, LargeBinary, text
from sqlalchemy.orm import Mapped, mapped_column

from models.base import Base, ImportedRow, TenantRow, belongs_to, tenant_key


class Session(TenantRow):
    """One sign-in on one device; the family of its refresh tokens."""

    __tablename__ = "sessions"
    __typeid__ = "session"
    __table_args__ = (
        belongs_to("user_id", "users", ondelete="CASCADE"),
        Index("ix_sessions_user", "tenant_id", "user_id", text("created_at DESC")),
    )

    user_id: Mapped[UUID]
    started_at: Mapped[datetime]
    last_seen_at: Mapped[datetime]
    address: Mapped[str | None]
    agent: Mapped[str | None]
    revoked_at: Mapped[datetime | None]


class RefreshToken(ImportedRow):
    """One refresh token; a used one stays, because its reuse is how theft shows."""

    __tablename__ = "refresh_tokens"
    __typeid__ = "refresh"

    user_id: Mapped[UUID]
    family_id: Mapped[UUID]
    parent_id: Mapped[UUID | None]
    token_hash: Mapped[bytes] = mapped_column(LargeBinary)
    expires_at: Mapped[datetime]
    absolute_expires_at: Mapped[datetime]
    used_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]

    @classmethod
    def constraints(cls) -> tuple[Any, ...]:
        return (
            *super().constraints(),
            belongs_to("user_id", "users", ondelete="CASCADE"),
            belongs_to("family_id", "sessions", ondelete="CASCADE"),
            Index("uq_refresh_tokens_hash", "tenant_id", "token_hash", unique=True),
            Index("ix_refresh_tokens_family", "tenant_id", "family_id"),
            Index("ix_refresh_tokens_user", "tenant_id", "user_id"),
        )


class ApiKey(TenantRow):
    """A machine's credential. Bound to a workspace it is that workspace's machine token."""

    __tablename__ = "api_keys"
    __typeid__ = "key"
    __table_args__ = (
        tenant_key(),
        belongs_to("workspace_id", "workspaces", ondelete="CASCADE"),
        belongs_to("created_by", "users", ondelete="SET NULL"),
        Index("ix_api_keys_newest", "tenant_id", text("created_at DESC"), text("id DESC")),
        Index("ix_api_keys_workspace", "tenant_id", "workspace_id"),
        Index("ix_api_keys_created_by", "tenant_id", "created_by"),
    )

    name: Mapped[str]
    prefix: Mapped[str]
    secret_hash: Mapped[bytes] = mapped_column(LargeBinary)
    scopes: Mapped[list[str]] = mapped_column(default=list)
    workspace_id: Mapped[UUID | None]
    created_by: Mapped[UUID | None]
    expires_at: Mapped[datetime | None]
    last_used_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]


class CredentialVersion(Base):
    """Another number after each change of what a tenant's sessions and keys are worth; triggers set it at commit."""

    __tablename__ = "credential_versions"
    __table_args__ = (tenant_key(),)

    tenant_id: Mapped[UUID] = mapped_column(primary_key=True)
    version: Mapped[int] = mapped_column(BigInteger)
