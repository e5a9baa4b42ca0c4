"""This module is where a workspace's status changes by itself: by a beat, or by silence. Each change is one event.

Whoever comes first changes the row under its lock; everyone else finds it changed and tells nobody.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final
from uuid import UUID

from sqlalchemy import ColumnElement, func, select, update
from sqlalchemy.orm import defer

from models import Workspace, WorkspaceStatus
from resolvers.unit_of_work import UnitOfWork
from subscriptions.log import Envelope

AT_ONCE: Final = 500
"""Rows of one transaction, so the tenant's event counter is never held for long."""

_TOLD: Final = {
    WorkspaceStatus.ONLINE: ("workspace.came_online", "WORKSPACE_ONLINE"),
    WorkspaceStatus.DEGRADED: ("workspace.degraded", "WORKSPACE_DEGRADED"),
    WorkspaceStatus.OFFLINE: ("workspace.went_offline", "WORKSPACE_OFFLINE"),
}


async def locked_workspaces(
    work: UnitOfWork, ids: Iterable[UUID], *conditions: ColumnElement[bool]
) -> Sequence[Workspace]:
    """The rows among ``ids`` that meet ``conditions`` once locked, in the order of their ids.

    Conditions are checked again after the wait for a lock, so a row that was changed meanwhile stays out.
    """
    statement = (
        select(Workspace)
        .where(Workspace.tenant_id == work.tenant_id, Workspace.id == func.any(list(ids)), *conditions)
        .order_by(Workspace.id)
        .with_for_update(key_share=True)
        .options(defer(Workspace.agent_card), defer(Workspace.last_sample_error), defer(Workspace.current_task))
    )
    return (await work.session.scalars(statement)).all()


async def change_status(work: UnitOfWork, rows: Sequence[Workspace], status: WorkspaceStatus) -> None:
    """Move ``rows``, which must be locked by ``work``, to ``status`` and record one event for each."""
    if not rows:
        return
    kind, structure = _TOLD[status]
    await work.session.execute(
        update(Workspace)
        .where(Workspace.tenant_id == work.tenant_id, Workspace.id == func.any([row.id for row in rows]))
        # One statement for all rows; the mapper's own version check would make it one a row.
        .values(status=status, version=Workspace.version + 1, updated_at=work.now)
        .execution_options(synchronize_session=False)
    )
    for row in rows:
        work.record(_envelope(row, status, kind, structure))


def _envelope(row: Workspace, status: WorkspaceStatus, kind: str, structure: str) -> Envelope:
    before = row.facets()
    after: dict[str, Any] = {**before, "status": status.value}
    payload = {"status": status.value, "previous_status": row.status.value}
    return Envelope.of(row, kind, before, payload, after=after, structure=structure, audited=False)
