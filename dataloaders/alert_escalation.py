"""This module is where alerts are found that nobody acknowledged in time, across tenants: ids and due times, no more.

Security boundary: the search runs as signalbox_platform, which cannot read more than that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

from sqlalchemy import ColumnElement, TextClause, func, select, text
from sqlalchemy.orm import defer

from models import Alert
from models.database import Database, TenantSession

PAGE: Final = 500

_DUE: Final[TextClause] = text(
    """
SELECT a.tenant_id, a.id, a.escalate_at FROM alerts a
WHERE a.escalate_at <= now() AND (a.escalate_at, a.id) > (CAST(:due AS timestamptz), CAST(:id AS uuid))
ORDER BY a.escalate_at, a.id
LIMIT :page
"""
)


@dataclass(frozen=True, slots=True)
class DueAlert:
    """An alert that nobody acknowledged until ``due_at``."""

    tenant_id: UUID
    id: UUID
    due_at: datetime


async def due_alerts(database: Database, after: DueAlert | None) -> list[DueAlert]:
    """The next page of due alerts, longest overdue first.

    Only a finding: whoever acts on it checks again under the row's lock. Raises Unavailable.
    """
    start = (after.due_at, after.id) if after else (datetime.min.replace(tzinfo=UTC), UUID(int=0))
    async with database.connection(database.platform) as connection:
        alone = await connection.execution_options(isolation_level="AUTOCOMMIT")
        rows = (await alone.execute(_DUE, {"due": start[0], "id": start[1], "page": PAGE})).all()
    return [DueAlert(*row) for row in rows]


async def lock_due(session: TenantSession, ids: Sequence[UUID], condition: ColumnElement[bool]) -> list[Alert]:
    """Those of ``ids`` that meet ``condition`` and that nobody holds, locked; they belong to no session."""
    statement = (
        select(Alert)
        .where(Alert.tenant_id == session.tenant_id, Alert.id == func.any(list(ids)), condition)
        .order_by(Alert.id)
        .with_for_update(key_share=True, skip_locked=True)
        .options(defer(Alert.labels), defer(Alert.annotations), defer(Alert.raw_payload), defer(Alert.ai_analysis))
    )
    rows = list(await session.scalars(statement))
    for row in rows:
        session.expunge(row)
    return rows
