"""This module is where analyses are found: the oldest that waits, and those whose worker fell silent.

Security boundary: what is found across tenants is read as signalbox_platform, which sees ids and due times only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

from sqlalchemy import TextClause, func, select, text

from models import Alert
from models.database import Database, TenantSession

PAGE: Final = 500

_LOST: Final[TextClause] = text(
    """
SELECT tenant_id, id, analysis_lease_expires_at
FROM alerts
WHERE analysis_lease_expires_at < now()
  AND (analysis_lease_expires_at, id) > (CAST(:due AS timestamptz), CAST(:id AS uuid))
ORDER BY analysis_lease_expires_at, id
LIMIT :page
"""
)


@dataclass(frozen=True, slots=True)
class LostAnalysis:
    """An analysis whose lease has run out."""

    tenant_id: UUID
    id: UUID
    due_at: datetime


async def lost_analyses(database: Database, after: LostAnalysis | None) -> list[LostAnalysis]:
    """The next page of lapsed leases of all tenants, the longest lapsed first.

    Only a finding: whoever acts on it checks again under the row's lock. Raises Unavailable.
    """
    start = (after.due_at, after.id) if after else (datetime.min.replace(tzinfo=UTC), UUID(int=0))
    values = {"due": start[0], "id": start[1], "page": PAGE}
    async with database.connection(database.platform) as connection:
        alone = await connection.execution_options(isolation_level="AUTOCOMMIT")
        rows = (await alone.execute(_LOST, values)).all()
    return [LostAnalysis(*row) for row in rows]


async def oldest_queued(session: TenantSession) -> Alert | None:
    """The tenant's analysis that waits longest and that nobody else is taking, locked until COMMIT."""
    found: Alert | None = await session.scalar(
        select(Alert)
        # In words: a statement that is prepared with the status as a value would not reach the partial index.
        .where(Alert.tenant_id == session.tenant_id, text("analysis_status = 'queued'"))
        .order_by(Alert.analysis_queued_at, Alert.id)
        .limit(1)
        .with_for_update(key_share=True, skip_locked=True)
        .execution_options(populate_existing=True)
    )
    return found


async def locked_lost(session: TenantSession, ids: Sequence[UUID]) -> list[Alert]:
    """Those of ``ids`` whose lease has run out still, locked until COMMIT; whom somebody else holds are left out."""
    rows = await session.scalars(
        select(Alert)
        .where(
            Alert.tenant_id == session.tenant_id,
            Alert.id == func.any(list(ids)),
            Alert.analysis_lease_expires_at < func.now(),
        )
        .order_by(Alert.id)
        .limit(len(ids))
        .with_for_update(key_share=True, skip_locked=True)
        .execution_options(populate_existing=True)
    )
    return list(rows)
