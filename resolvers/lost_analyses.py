"""This module is where an analysis whose worker fell silent is queued again, once, whoever notices it first."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial
from uuid import UUID

from dataloaders.alert_analysis import PAGE, LostAnalysis, locked_lost, lost_analyses
from models.database import Database
from resolvers.due_work import DueWork
from resolvers.unit_of_work import Announces, unit_of_work


class LostAnalyses:
    """Takes analyses back from workers whose lease ran out, on the database's clock."""

    def __init__(self, database: Database, announcer: Announces, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._announcer = announcer
        self._clock = clock
        self._work = DueWork("lost_analyses", PAGE, partial(lost_analyses, database), self._attend)

    async def sweep(self) -> int:
        """Queue every analysis again whose worker fell silent, or give it up; how many. Commits tenant by tenant.

        A tenant that cannot be served now is logged and left to the next sweep. Raises Unavailable, TimeoutError.
        """
        return await self._work.run()

    async def take_back(self, tenant_id: UUID, ids: Sequence[UUID]) -> int:
        """Take back those of ``ids`` whose lease has run out still; how many. Commits."""
        async with unit_of_work(self._database, self._announcer, self._clock, tenant_id, None) as work:
            rows = await locked_lost(work.session, ids)
            for alert in rows:
                before, attempt = alert.facets(), {"attempt": alert.analysis_attempts, "reason": "lease_lost"}
                kind = "alert.analysis_queued" if alert.lose_lease() else "alert.analysis_failed"
                work.tell(alert, kind, before, attempt)
        return len(rows)

    async def _attend(self, tenant_id: UUID, lost: list[LostAnalysis]) -> int:
        return await self.take_back(tenant_id, [one.id for one in lost])
