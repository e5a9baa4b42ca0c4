"""This module is where silent workspaces are found, across tenants: ids and due times, nothing else.

Security boundary: the statement runs as signalbox_platform, which cannot read more than that.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

from sqlalchemy import TextClause, text

from models.database import Database

PAGE: Final = 500

_DUE: Final[TextClause] = text(
    """
SELECT w.tenant_id, w.id, w.heartbeat_due_at, l.acquired_at
FROM leases l, workspaces w
WHERE l.name = :lease AND l.expires_at > now()
  AND w.status IN ('online', 'degraded') AND w.heartbeat_due_at < now()
  AND (w.heartbeat_due_at, w.id) > (CAST(:due AS timestamptz), CAST(:id AS uuid))
ORDER BY w.heartbeat_due_at, w.id
LIMIT :page
"""
)


@dataclass(frozen=True, slots=True)
class DueWorkspace:
    """A workspace whose time has run out; ``taken_since`` is when beats began to be taken without a break."""

    tenant_id: UUID
    id: UUID
    due_at: datetime
    taken_since: datetime


async def due_workspaces(database: Database, lease: str, after: DueWorkspace | None) -> list[DueWorkspace]:
    """The next page of overdue workspaces, longest overdue first; none while nobody holds ``lease``.

    Only a finding: whoever acts on it checks again under the row's lock. Raises Unavailable.
    """
    start = (after.due_at, after.id) if after else (datetime.min.replace(tzinfo=UTC), UUID(int=0))
    values = {"lease": lease, "due": start[0], "id": start[1], "page": PAGE}
    async with database.connection(database.platform) as connection:
        alone = await connection.execution_options(isolation_level="AUTOCOMMIT")
        rows = (await alone.execute(_DUE, values)).all()
    return [DueWorkspace(*row) for row in rows]
