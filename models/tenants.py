"""This module is where tenants live: the customers, and the reserved tenant that is the platform itself."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any, Final
from uuid import UUID

from sqlalchemy import CheckConstraint, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from models.base import Base, TextEnum, one_of, utcnow
from models.ids import encode, uuid7

PLATFORM_TENANT_ID: Final = UUID("00000000-0000-7000-8000-000000000001")
PLATFORM_SLUG: Final = "platform"


class TenantPlan(StrEnum):
    """What the tenant pays for."""

    FREE = "free"
    PRO = "pro"
    ENTERPRISE = "enterprise"


class TenantStatus(StrEnum):
    """Whether the tenant is served."""

    ACTIVE = "active"
    SUSPENDED = "suspended"
    CANCELLED = "cancelled"


class Tenant(Base):
    """A customer. Its key is its own id: it is what every other key leads with."""

    __tablename__ = "tenants"
    __typeid__ = "tenant"
    __table_args__ = (
        one_of("plan", TenantPlan),
        one_of("status", TenantStatus),
        CheckConstraint("slug ~ '^[a-z0-9](-?[a-z0-9])*$' AND length(slug) <= 63", name="slug"),
        Index("uq_tenants_slug", "slug", unique=True, postgresql_where=text("deleted_at IS NULL")),
        Index("ix_tenants_newest", text("created_at DESC"), text("id DESC")),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid7)
    name: Mapped[str]
    slug: Mapped[str]
    contact_email: Mapped[str | None]
    plan: Mapped[TenantPlan] = mapped_column(TextEnum(TenantPlan), default=TenantPlan.FREE)
    status: Mapped[TenantStatus] = mapped_column(TextEnum(TenantStatus), default=TenantStatus.ACTIVE)
    settings: Mapped[dict[str, Any]] = mapped_column(default=dict)
    limits: Mapped[dict[str, Any]] = mapped_column(default=dict)
    source_ref: Mapped[str | None] = mapped_column(unique=True)
    created_at: Mapped[datetime] = mapped_column(default=utcnow)
    updated_at: Mapped[datetime] = mapped_column(default=utcnow, onupdate=utcnow)
    deleted_at: Mapped[datetime | None]

    @property
    def tenant_id(self) -> UUID:
        """A tenant belongs to itself."""
        return self.id

    @property
    def typeid(self) -> str:
        """The id as the outside sees it."""
        return encode(self.__typeid__, self.id)
