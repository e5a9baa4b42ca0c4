"""This module is where tests let time pass for requests that wait."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

from sqlalchemy import text

from models.database import Database

_EARLIER = text(
    """
UPDATE approval_requests SET created_at = created_at - CAST(:age AS interval),
  at_risk_at = at_risk_at - CAST(:age AS interval), sla_due_at = sla_due_at - CAST(:age AS interval),
  expires_at = expires_at - CAST(:age AS interval), next_at = next_at - CAST(:age AS interval)
WHERE tenant_id = :tenant AND status = 'pending'
"""
)


async def bring_forward(database: Database, tenant_id: UUID, hours: float) -> None:
    """All that waits in the tenant was asked so much earlier."""
    async with database.session(tenant_id) as session:
        await session.execute(_EARLIER, {"tenant": tenant_id, "age": timedelta(hours=hours)})
        await session.commit()
