"""This module is where tenants are fetched: by slug before anyone is known, and as the platform's list."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Final
from uuid import UUID

from sqlalchemy import Select, select, text

from dataloaders.pages import Listing, Order, any_of
from models import PLATFORM_TENANT_ID, Tenant, TenantStatus
from models.database import Database

tenants: Final = Listing(
    Tenant,
    filters={"status": any_of(Tenant.status), "plan": any_of(Tenant.plan)},
    orders={"created_at": Order(Tenant.created_at), "name": Order(Tenant.name)},
    always=lambda _: [Tenant.deleted_at.is_(None), Tenant.id != PLATFORM_TENANT_ID],
    across_tenants=True,
)
"""Every customer; the reserved tenant is hidden. Read as the platform role, for platform administrators only."""

SLUG: Final = re.compile(r"[a-z0-9](-?[a-z0-9])*", re.ASCII)
SLUG_LIMIT: Final = 63
_SOME: Final = 100
_BY_SLUG: Final = text("SELECT id, status FROM tenant_by_slug(:slug)")


def is_slug(text: str) -> bool:
    """Whether ``text`` can be a tenant's slug at all."""
    return len(text) <= SLUG_LIMIT and SLUG.fullmatch(text) is not None


async def tenant_by_slug(database: Database, slug: str) -> tuple[UUID, TenantStatus] | None:
    """Id and status, the only things an unknown caller's sign-in may look up; None for an unknown slug."""
    if not is_slug(slug):
        return None
    # Some tenant has to be bound; the function sees all of them whichever it is.
    async with database.session(PLATFORM_TENANT_ID) as session:
        row = (await session.execute(_BY_SLUG, {"slug": slug})).one_or_none()
    return (row.id, TenantStatus(row.status)) if row is not None else None


async def tenant_exists(database: Database, tenant_id: UUID) -> bool:
    """Whether there is such a tenant."""
    async with database.session(tenant_id) as session:
        found = await session.scalar(select(Tenant.id).where(Tenant.id == tenant_id, Tenant.deleted_at.is_(None)))
    return found is not None


async def tenants_cancelled_before(database: Database, moment: datetime) -> list[UUID]:
    """Tenants that were cancelled by then and are not deleted yet, oldest first; some, when there are many."""
    statement = (
        select(Tenant.id)
        .where(Tenant.status == TenantStatus.CANCELLED, Tenant.deleted_at.is_(None), Tenant.cancelled_at <= moment)
        .order_by(Tenant.cancelled_at)
        .limit(_SOME)
    )
    return await _across(database, statement)


async def tenants_to_purge(database: Database) -> list[UUID]:
    """Tenants that are deleted and may still have rows, oldest first; some, when there are many."""
    statement = (
        select(Tenant.id)
        .where(Tenant.deleted_at.is_not(None), Tenant.purged_at.is_(None))
        .order_by(Tenant.deleted_at)
        .limit(_SOME)
    )
    return await _across(database, statement)


async def _across(database: Database, statement: Select[UUID]) -> list[UUID]:
    async with database.connection(database.platform) as connection:
        return list((await connection.execute(statement)).scalars())
