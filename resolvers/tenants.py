"""This module is where tenants are managed: created by the platform, shaped by their own admins.

Security boundary: what a tenant pays for, may use, and whether it is served at all is the platform's to say.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final, TypedDict, Unpack
from uuid import UUID

from sqlalchemy import select, text

from dataloaders.tenants import SLUG_LIMIT, is_slug
from models import PLATFORM_TENANT_ID, Scope, Tenant, TenantPlan, TenantStatus
from models.errors import Refusal, RefusalCode, invalid, not_found
from models.ids import uuid7
from resolvers import shapes
from resolvers.call import Call
from resolvers.changing import refuse_cleared, take_over
from resolvers.idempotency import Replay, replayed_id
from resolvers.uniqueness import flush_unique
from resolvers.unit_of_work import UnitOfWork
from resolvers.users import email_address
from resolvers.validation import line
from subscriptions.log import OPEN_STREAM

NAME_LIMIT: Final = 200
PLATFORM_ONLY: Final = frozenset({"plan", "status", "limits"})

_TAKEN: Final = {"uq_tenants_slug": ("slug", "There is a tenant with this slug already.")}
_BIND: Final = text("SELECT set_config('app.tenant_id', :tenant, true)")


class TenantChanges(TypedDict, total=False):
    """What an update may say; absent stays, None clears."""

    name: str
    contact_email: str | None
    plan: TenantPlan
    status: TenantStatus
    settings: dict[str, Any] | None
    limits: dict[str, Any] | None


async def create_tenant(
    call: Call,
    *,
    name: str,
    slug: str,
    contact_email: str | None = None,
    plan: TenantPlan | None = None,
    settings: dict[str, Any] | None = None,
    limits: dict[str, Any] | None = None,
) -> Tenant:
    """A new tenant with an empty event log. Raises FORBIDDEN, INVALID, ALREADY_EXISTS. Commits.

    Told in the platform's log; the new tenant has nobody yet who could read its own.
    """
    call.require(Scope.PLATFORM_ADMIN)
    if not is_slug(slug):
        raise invalid(f"A slug has 1 to {SLUG_LIMIT} lower-case letters, digits and single hyphens.", "input", "slug")
    said = TenantChanges(name=name, contact_email=contact_email, settings=settings, limits=limits)
    tenant = Tenant(id=uuid7(), slug=slug, plan=plan or TenantPlan.FREE, status=TenantStatus.ACTIVE, **_cleaned(said))
    try:
        async with call.work(PLATFORM_TENANT_ID) as work:
            async with _bound_to(work, tenant.id):
                work.session.add(tenant)
                await flush_unique(work, _TAKEN)
                await work.session.execute(OPEN_STREAM, {"tenant": tenant.id})
            work.tell(tenant, "tenant.created", None, required_scope=Scope.PLATFORM_ADMIN)
    except Replay as replay:
        # Read here: the caller's own tenant cannot see what the first try made.
        async with call.services.database.session(replayed_id(replay)) as session:
            return (await session.scalars(select(Tenant).where(Tenant.id == session.tenant_id))).one()
    return tenant


async def update_tenant(call: Call, *, id: UUID, **changes: Unpack[TenantChanges]) -> Tenant:
    """Change a tenant: its own admins its name, contact and settings, platform administrators everything of any.

    Raises FORBIDDEN, NOT_FOUND, INVALID, IMMUTABLE. Commits; a tenant that is not ACTIVE is refused from then on.
    """
    call.require(Scope.TENANTS_WRITE)
    platform = call.allows(Scope.PLATFORM_ADMIN)
    if not platform and PLATFORM_ONLY.intersection(changes):
        call.require(Scope.PLATFORM_ADMIN)
    if not platform and id != call.tenant_id:
        raise not_found("tenant", "input", "id")
    if id == PLATFORM_TENANT_ID and PLATFORM_ONLY.intersection(changes):
        raise Refusal(RefusalCode.IMMUTABLE, "The platform's own tenant stays as it is.", field=("input", "id"))
    cleaned = _cleaned(changes)
    async with call.work(id) as work:
        tenant = await _locked(work, id)
        before = tenant.facets()
        changed = take_over(tenant, cleaned)
        if "status" in changed:
            # From then on it has its time to think again, and to fetch its export, before it is deleted.
            tenant.cancelled_at = work.now if tenant.status is TenantStatus.CANCELLED else None
        if changed:
            await work.session.flush()
            work.tell(tenant, "tenant.updated", before, {"changed": changed})
    call.services.accounts.forget(id)
    return tenant


@asynccontextmanager
async def _bound_to(work: UnitOfWork, tenant_id: UUID) -> AsyncIterator[None]:
    """Statements inside are another tenant's, in the same transaction; an error must end the unit of work."""
    await work.session.execute(_BIND, {"tenant": str(tenant_id)})
    yield
    # Not in a finally: after an error the transaction is lost, and with it the binding.
    await work.session.execute(_BIND, {"tenant": str(work.tenant_id)})


async def _locked(work: UnitOfWork, tenant_id: UUID) -> Tenant:
    tenant: Tenant | None = await work.session.scalar(
        select(Tenant).where(Tenant.id == tenant_id, Tenant.deleted_at.is_(None)).with_for_update(key_share=True)
    )
    if tenant is None:
        raise not_found("tenant", "input", "id")
    return tenant


def _cleaned(changes: TenantChanges) -> dict[str, Any]:
    cleaned: dict[str, Any] = dict(changes)
    if "name" in cleaned:
        cleaned["name"] = line(cleaned["name"] or "", NAME_LIMIT, "name")
    if cleaned.get("contact_email") is not None:
        cleaned["contact_email"] = email_address(cleaned["contact_email"], "contactEmail")
    refuse_cleared(cleaned, "plan", "status")
    for name, shaped in (("settings", shapes.tenant_settings), ("limits", shapes.limits)):
        if name in cleaned:
            cleaned[name] = shaped(cleaned[name] or {})
    return cleaned
