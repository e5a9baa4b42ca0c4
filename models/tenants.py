"""This module is where tenants live: the customers with what their plans allow, and the platform's own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from datetime import datetime
from enum import StrEnum
from typing import Any, Final
from uuid import UUID

from sqlalchemy import CheckConstraint, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from models.activity import EventTopic
from models.base import Base, ImportedRow, TextEnum, one_of, utcnow
from models.ids import encode, uuid7
from models.scopes import Scope

PLATFORM_TENANT_ID: Final = UUID("00000000-0000-7000-8000-000000000001")
PLATFORM_SLUG: Final = "platform"


class TenantPlan(StrEnum):
    """What the tenant pays for."""

    FREE = "free"
    PRO = "pro"
    ENTERPRISE = "enterprise"


@dataclass(frozen=True, slots=True)
class TenantLimits:
    """How much a tenant may have at once, and ask for in a minute; None is no limit."""

    agents: int | None = None
    workspaces: int | None = None
    subscriptions: int | None = None
    requests_per_minute: int | None = None

    @classmethod
    def of(cls, plan: TenantPlan, said: Mapping[str, Any]) -> TenantLimits:
        """The plan's limits, where ``said`` (a tenant's ``limits``) names none of its own; null lifts the plan's."""
        named = {one.name: said[one.name] for one in fields(cls) if one.name in said and _is_limit(said[one.name])}
        return replace(PLAN_LIMITS[plan], **named)


def _is_limit(value: object) -> bool:
    # Rows may stem from an import: what is no limit leaves the plan's in force.
    return value is None or (type(value) is int and value >= 0)


UNLIMITED: Final = TenantLimits()

PLAN_LIMITS: Final = {
    TenantPlan.FREE: TenantLimits(agents=1_000, workspaces=1_000, subscriptions=500, requests_per_minute=60_000),
    TenantPlan.PRO: TenantLimits(agents=10_000, workspaces=10_000, subscriptions=5_000, requests_per_minute=300_000),
    TenantPlan.ENTERPRISE: UNLIMITED,
}
"""What a plan allows where the tenant's own limits say nothing."""


class TenantStatus(StrEnum):
    """Whether the tenant is served."""

    ACTIVE = "active"
    SUSPENDED = "suspended"
    CANCELLED = "cancelled"


class Tenant(Base):
    """A customer. Its key is its own id: it is what every other key leads with."""

    __tablename__ = "tenants"
    __typeid__ = "tenant"
    __topic__ = EventTopic.TENANCY
    __read_scope__ = Scope.TENANTS_READ
    __table_args__ = (
        one_of("plan", TenantPlan),
        one_of("status", TenantStatus),
        CheckConstraint("slug ~ '^[a-z0-9](-?[a-z0-9])*$' AND length(slug) <= 63", name="slug"),
        Index("uq_tenants_slug", "slug", unique=True, postgresql_where=text("deleted_at IS NULL")),
        Index("ix_tenants_newest", text("created_at DESC"), text("id DESC")),
        Index("ix_tenants_name", "name", "id"),
        Index("ix_tenants_status", "status"),
        Index("ix_tenants_plan", "plan"),
        Index("ix_tenants_cancelled", "cancelled_at", postgresql_where=text("deleted_at IS NULL")),
        Index("ix_tenants_to_purge", "deleted_at", postgresql_where=text("purged_at IS NULL")),
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
    cancelled_at: Mapped[datetime | None]
    deleted_at: Mapped[datetime | None]
    purged_at: Mapped[datetime | None]

    @property
    def tenant_id(self) -> UUID:
        """A tenant belongs to itself."""
        return self.id

    @property
    def typeid(self) -> str:
        """The id as the outside sees it."""
        return encode(self.__typeid__, self.id)

    def facets(self) -> dict[str, Any]:
        """What filters and visibility may look at in an event's envelope."""
        return {"id": str(self.id), "status": self.status.value, "plan": self.plan.value}


def tenant_limits(tenant: Tenant) -> TenantLimits:
    """What the tenant's plan and its own limits allow together."""
    return TenantLimits.of(tenant.plan, tenant.limits)


class SharedRow(ImportedRow):
    """A row that every tenant sees when it is the platform's, and nobody else's otherwise.

    Loaders and lists read both kinds of such a model by themselves; only the tenant it belongs to writes a row.
    """

    __abstract__ = True

    @property
    def is_shared(self) -> bool:
        """Whether it is the platform's."""
        return self.tenant_id == PLATFORM_TENANT_ID
