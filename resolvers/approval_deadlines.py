"""This module is where time decides what people left undone: requests come at risk, escalate and expire, each once.

Found across tenants by ids and times alone; done tenant by tenant under the row's lock, so however many workers look,
one does it and the others pass on.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import Any
from uuid import UUID

from dataloaders.agents import places_of
from dataloaders.approvals import PAGE, DueApproval, due_approvals, locked_due, write_passed
from models import ApprovalRequest
from models.database import Database
from resolvers.due_work import DueWork
from resolvers.unit_of_work import Announces, UnitOfWork, unit_of_work


class ApprovalDeadlines:
    """Does what the times of requests demand, once the database's clock says that they are there."""

    def __init__(self, database: Database, announcer: Announces, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._announcer = announcer
        self._clock = clock
        self._work = DueWork("approvals", PAGE, partial(due_approvals, database), self._pass)

    async def run(self) -> int:
        """Everything that is due in all tenants; how many this call did. Commits, one tenant and page at a time.

        A tenant that cannot be served now is logged and left to the next run. Raises Unavailable, TimeoutError.
        """
        return await self._work.run()

    async def _pass(self, tenant_id: UUID, due: list[DueApproval]) -> int:
        database, announcer = self._database, self._announcer
        async with unit_of_work(database, announcer, self._clock, tenant_id, None) as work:
            rows = await locked_due(work.session, [one.id for one in due])
            # No session holds them from here on: all are written by one statement, not one by one.
            for row in rows:
                work.session.expunge(row)
            return await _move(work, list(rows))


async def _move(work: UnitOfWork, rows: list[ApprovalRequest]) -> int:
    moved: list[tuple[ApprovalRequest, str, dict[str, Any]]] = []
    for row in rows:
        before = row.facets()
        kind = row.pass_time(work.now)
        if kind is not None:
            moved.append((row, kind, before))
    await write_passed(work.session, [row for row, _, _ in moved], work.now)
    places = await places_of(work.session, {row.agent_id for row, _, _ in moved if row.agent_id is not None})
    for row, kind, before in moved:
        said = {"status": row.status.value, "kind": row.kind.value, "version": row.version}
        said |= {"sla_state": row.sla_state.value, "escalations": row.escalations}
        place = places.get(row.agent_id) if row.agent_id is not None else None
        work.tell(row, kind, before, said, workspace_id=place)
    return len(moved)
