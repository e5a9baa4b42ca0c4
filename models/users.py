"""This module is where people live, with what they consented to."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, Computed, Index, text
from sqlalchemy.dialects.postgresql import TSVECTOR
from sqlalchemy.orm import Mapped, mapped_column

from models.activity import EventTopic
from models.base import ImportedRow, TextEnum, belongs_to, never_null, one_of, tenant_key
from models.scopes import Role, Scope
from models.search import search_vector


class UserStatus(StrEnum):
    """Whether the person may sign in."""

    PENDING = "pending"
    ACTIVE = "active"
    SUSPENDED = "suspended"
    DELETED = "deleted"


def email_key(email: str) -> str:
    """What two spellings of one address share; compared instead of ``lower(email)`` (see RLS and indexes)."""
    return email.strip().casefold()


class User(ImportedRow):
    """A person. Platform administrators belong to the reserved tenant ``platform``."""

    __tablename__ = "users"
    __typeid__ = "user"
    __topic__ = EventTopic.TENANCY
    __read_scope__ = Scope.USERS_READ
    __owner__ = "id"

    username: Mapped[str | None]
    email: Mapped[str | None]
    email_key: Mapped[str | None]
    email_hash: Mapped[str | None]
    password_hash: Mapped[str | None]
    display_name: Mapped[str | None]
    avatar_url: Mapped[str | None]
    department: Mapped[str | None]
    roles: Mapped[list[str]] = mapped_column(default=list)
    is_platform_admin: Mapped[bool] = mapped_column(default=False)
    status: Mapped[UserStatus] = mapped_column(TextEnum(UserStatus), default=UserStatus.PENDING)
    email_verified: Mapped[bool] = mapped_column(default=False)
    failed_login_attempts: Mapped[int] = mapped_column(default=0)
    locked_until: Mapped[datetime | None]
    preferences: Mapped[dict[str, Any]] = mapped_column(default=dict)
    default_llm_provider_id: Mapped[UUID | None]
    authorization_version: Mapped[int] = mapped_column(default=1)
    identity_provider_id: Mapped[UUID | None]
    external_subject: Mapped[str | None]
    last_login_at: Mapped[datetime | None]
    deleted_at: Mapped[datetime | None]
    search: Mapped[str] = mapped_column(
        TSVECTOR, Computed(search_vector("username", "email", "display_name"), persisted=True), deferred=True
    )

    @classmethod
    def constraints(cls) -> tuple[Any, ...]:
        return (
            *super().constraints(),
            tenant_key(),
            one_of("status", UserStatus),
            # An address without its key would be one that nobody finds and everybody can have.
            CheckConstraint("(email IS NULL) = (email_key IS NULL)", name="email_key"),
            Index(
                "uq_users_email_key",
                "tenant_id",
                "email_key",
                unique=True,
                postgresql_where=text("deleted_at IS NULL"),
            ),
            Index(
                "uq_users_username",
                "tenant_id",
                "username",
                unique=True,
                postgresql_where=text("deleted_at IS NULL"),
            ),
            belongs_to("identity_provider_id", "identity_providers", ondelete="SET NULL"),
            # A provider's key is a secret, and who set a secret is a person.
            belongs_to("default_llm_provider_id", "llm_providers", ondelete="SET NULL", is_late=True),
            # Whoever is signed in elsewhere has no password here, whichever code forgets that.
            CheckConstraint("identity_provider_id IS NULL OR password_hash IS NULL", name="password_elsewhere"),
            Index("uq_users_identity", "tenant_id", "identity_provider_id", "external_subject", unique=True),
            Index("ix_users_newest", "tenant_id", text("created_at DESC"), text("id DESC")),
            Index("ix_users_email_key", "tenant_id", "email_key", "id"),
            Index(
                "ix_users_last_login",
                "tenant_id",
                text(f"{never_null('last_login_at', '-infinity')} DESC"),
                text("id DESC"),
            ),
            Index(
                "ix_users_last_login_oldest",
                "tenant_id",
                text(never_null("last_login_at", "infinity")),
                "id",
            ),
            Index("ix_users_default_llm_provider", "tenant_id", "default_llm_provider_id"),
            Index("ix_users_status", "tenant_id", "status"),
            Index("ix_users_department", "tenant_id", "department"),
            Index("ix_users_search", "search", postgresql_using="gin"),
        )

    @property
    def shown_name(self) -> str:
        """displayName as the API promises it: name, then username, then the address up to the @."""
        return self.display_name or self.username or (self.email or "").partition("@")[0] or "unknown"

    @property
    def signs_in_elsewhere(self) -> bool:
        """Whether the tenant's identity provider signs the person in."""
        return self.identity_provider_id is not None

    @property
    def granted_roles(self) -> list[Role]:
        """The roles that are still known; an unknown word in the column grants nothing."""
        return [role for role in Role if role.value in self.roles]

    def facets(self) -> dict[str, Any]:
        """What filters and visibility may look at in an event's envelope; nothing that erasure has to find again."""
        return {
            "id": str(self.id),
            "status": self.status.value,
            "roles": sorted(self.roles),
        }


class UserConsent(ImportedRow):
    """One consent given or withdrawn."""

    __tablename__ = "user_consents"
    __typeid__ = "consent"
    __topic__ = EventTopic.SECURITY
    __read_scope__ = Scope.USERS_READ
    __owner__ = "user_id"

    user_id: Mapped[UUID]
    consent_type: Mapped[str]
    granted: Mapped[bool]
    granted_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]

    @classmethod
    def constraints(cls) -> tuple[Any, ...]:
        return (
            *super().constraints(),
            belongs_to("user_id", "users", ondelete="CASCADE"),
            Index("ix_user_consents_user", "tenant_id", "user_id", "consent_type"),
            Index("ix_user_consents_type", "tenant_id", "consent_type"),
            Index("ix_user_consents_newest", "tenant_id", text("created_at DESC"), text("id DESC")),
        )

    def facets(self) -> dict[str, Any]:
        """What filters and visibility may look at in an event's envelope."""
        return {"id": str(self.id), "consent_type": self.consent_type, "granted": self.granted}
