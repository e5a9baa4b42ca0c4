"""This module is where a tenant's identity provider is fetched."""

from __future__ import annotations

from sqlalchemy import select

from models import IdentityProvider
from models.database import TenantSession


async def identity_provider_of(session: TenantSession) -> IdentityProvider | None:
    """The tenant's provider; None where it has none."""
    found: IdentityProvider | None = await session.scalar(
        select(IdentityProvider).where(IdentityProvider.tenant_id == session.tenant_id)
    )
    return found
