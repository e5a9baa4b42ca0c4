"""This module is where an analysis whose worker fell silent is queued again, once, whoever notices it first."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

import structlog

from dataloaders.alert_analysis import PAGE, LostAnalysis, locked_lost, lost_analyses
from models.database import Database
from models.errors import Unavailable
from resolvers.unit_of_work import Announces, unit_of_work

_TENANTS_AT_ONCE: Final = 4
_PATIENCE_SECONDS: Final = 8.0
_log = structlog.get_logger(__name__)


class LostAnalyses:
    """Takes analyses back from workers whose lease ran out, on the database's clock."""

    def __init__(self, database: Database, announcer: Announces, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._announcer = announcer
        self._clock = clock
        self._places = asyncio.Semaphore(_TENANTS_AT_ONCE)

    async def sweep(self) -> int:
        """Queue every analysis again whose worker fell silent, or give it up; how many. Commits tenant by tenant.

        A tenant that cannot be served now is logged and left to the next sweep. Raises Unavailable, TimeoutError.
        """
        after: LostAnalysis | None = None
        count = 0
        while True:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                page = await lost_analyses(self._database, after)
            tenants: dict[UUID, list[UUID]] = {}
            for one in page:
                tenants.setdefault(one.tenant_id, []).append(one.id)
            count += sum(await asyncio.gather(*(self._attend(tenant, ids) for tenant, ids in tenants.items())))
            if len(page) < PAGE:
                return count
            after = page[-1]

    async def take_back(self, tenant_id: UUID, ids: Sequence[UUID]) -> int:
        """Take back those of ``ids`` whose lease has run out still; how many. Commits."""
        async with unit_of_work(self._database, self._announcer, self._clock, tenant_id, None) as work:
            rows = await locked_lost(work.session, ids)
            for alert in rows:
                before, attempt = alert.facets(), {"attempt": alert.analysis_attempts, "reason": "lease_lost"}
                kind = "alert.analysis_queued" if alert.lose_lease() else "alert.analysis_failed"
                work.tell(alert, kind, before, attempt)
        return len(rows)

    async def _attend(self, tenant_id: UUID, ids: Sequence[UUID]) -> int:
        async with self._places:
            try:
                async with asyncio.timeout(_PATIENCE_SECONDS):
                    return await self.take_back(tenant_id, ids)
            except Exception as error:
                _log.error(
                    "lost_analyses.tenant_put_off",
                    tenant_id=str(tenant_id),
                    alerts=len(ids),
                    exc_info=not isinstance(error, Unavailable | TimeoutError),
                )
                return 0
