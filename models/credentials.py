"""This module is where proof of identity is kept: sessions, keys, refresh and one-time tokens, all as hashes."""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final
from uuid import UUID

from sqlalchemy import BigInteger, Index, LargeBinary, text
from sqlalchemy.orm import Mapped, mapped_column

from models.activity import EventTopic
from models.base import Base, ImportedRow, TenantRow, TextEnum, belongs_to, one_of, tenant_key
from models.ids import uuid7
from models.scopes import Scope

SESSION_IDLE: Final = timedelta(days=14)
SESSION_LONGEST: Final = timedelta(days=30)


class Session(TenantRow):
    """One sign-in on one device; the family of its refresh tokens."""

    __tablename__ = "sessions"
    __typeid__ = "session"
    __topic__ = EventTopic.SECURITY
    __read_scope__ = Scope.USERS_READ
    __owner__ = "user_id"
    __table_args__ = (
        belongs_to("user_id", "users", ondelete="CASCADE"),
        Index("ix_sessions_user", "tenant_id", "user_id", text("started_at DESC"), text("id DESC")),
        Index("ix_sessions_newest", "tenant_id", text("started_at DESC"), text("id DESC")),
        Index("ix_sessions_last_seen", "tenant_id", text("last_seen_at DESC"), text("id DESC")),
        # Whether a person signed in from there lately, asked at each of their sign-ins.
        Index("ix_sessions_network", "tenant_id", "user_id", "network", "started_at"),
        # For what deletes the old ones. No B-tree: the planner would prefer it to the tenant's own order.
        Index("ix_sessions_started", "started_at", postgresql_using="brin"),
    )

    user_id: Mapped[UUID]
    started_at: Mapped[datetime]
    last_seen_at: Mapped[datetime]
    address: Mapped[str | None]
    network: Mapped[str | None]
    agent: Mapped[str | None]
    revoked_at: Mapped[datetime | None]

    @property
    def expires_at(self) -> datetime:
        """When it ends by itself, unless it is used again before."""
        return min(self.last_seen_at + SESSION_IDLE, self.started_at + SESSION_LONGEST)

    def facets(self) -> dict[str, Any]:
        """What filters and visibility may look at in an event's envelope."""
        return {"id": str(self.id), "user_id": str(self.user_id)}


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
    __topic__ = EventTopic.SECURITY
    __read_scope__ = Scope.KEYS_READ
    __place__ = "workspace_id"
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

    def facets(self) -> dict[str, Any]:
        """What filters and visibility may look at in an event's envelope."""
        return {
            "id": str(self.id),
            "workspace_id": str(self.workspace_id) if self.workspace_id else None,
            "revoked": self.revoked_at is not None,
        }


class OneTimePurpose(StrEnum):
    """What the holder of a one-time token may do, once."""

    PASSWORD_RESET = "password_reset"  # noqa: S105 - a word, not a secret
    EMAIL_VERIFICATION = "email_verification"
    INVITATION = "invitation"


class OneTimeToken(TenantRow):
    """What a mail carried to somebody; a used one stays until its time is over."""

    __tablename__ = "one_time_tokens"
    __typeid__ = "onetime"
    __table_args__ = (
        belongs_to("user_id", "users", ondelete="CASCADE"),
        one_of("purpose", OneTimePurpose),
        Index("ix_one_time_tokens_user", "tenant_id", "user_id", "purpose"),
        Index("ix_one_time_tokens_expires", "expires_at"),
    )

    user_id: Mapped[UUID]
    purpose: Mapped[OneTimePurpose] = mapped_column(TextEnum(OneTimePurpose))
    token_hash: Mapped[bytes] = mapped_column(LargeBinary)
    sent_to: Mapped[str]
    """The ``email_hash`` of the address it went to: it proves nothing of another one."""
    expires_at: Mapped[datetime]
    used_at: Mapped[datetime | None]


class MailKind(StrEnum):
    """What a mail is about."""

    PASSWORD_RESET = "password_reset"  # noqa: S105 - a word, not a secret
    EMAIL_VERIFICATION = "email_verification"
    INVITATION = "invitation"
    PASSWORD_CHANGED = "password_changed"  # noqa: S105 - a word, not a secret


class OutgoingMail(TenantRow):
    """A mail that was asked for and has not left yet; neither its text nor its token is kept.

    ``user_id`` is null where nobody has the address that was named: such a row is written and dropped all the same,
    or the time it takes would tell who has an account.
    """

    __tablename__ = "outgoing_mails"
    __typeid__ = "mail"
    __table_args__ = (
        tenant_key(),
        belongs_to("user_id", "users", ondelete="CASCADE"),
        one_of("kind", MailKind),
        Index("ix_outgoing_mails_user", "tenant_id", "user_id"),
        Index("ix_outgoing_mails_due", "due_at"),
    )

    kind: Mapped[MailKind] = mapped_column(TextEnum(MailKind))
    user_id: Mapped[UUID | None]
    due_at: Mapped[datetime]
    attempts: Mapped[int] = mapped_column(default=0)
    asked_at: Mapped[datetime]


class SignInFailure(Base):
    """One wrong password for one account, which need not exist: what is guessed at is counted like what is there."""

    __tablename__ = "sign_in_failures"
    __table_args__ = (
        tenant_key(),
        Index("ix_sign_in_failures_account", "tenant_id", "account", text("failed_at DESC")),
        Index("ix_sign_in_failures_failed", "failed_at"),
    )

    tenant_id: Mapped[UUID] = mapped_column(primary_key=True)
    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid7)
    account: Mapped[bytes] = mapped_column(LargeBinary)
    """A keyed hash of what was tried to sign in as."""
    network: Mapped[str]
    failed_at: Mapped[datetime]
    network_locked_until: Mapped[datetime | None]
    account_locked_until: Mapped[datetime | None]


class CredentialVersion(Base):
    """Another number after each change of what a tenant's sessions and keys are worth; triggers set it at commit."""

    __tablename__ = "credential_versions"
    __table_args__ = (tenant_key(),)

    tenant_id: Mapped[UUID] = mapped_column(primary_key=True)
    version: Mapped[int] = mapped_column(BigInteger)
