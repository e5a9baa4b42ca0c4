"""This module is where alerts that nobody acknowledges in time are escalated: told once each, whoever notices first."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final
from uuid import UUID

from sqlalchemy import func

from dataloaders.alert_escalation import PAGE, DueAlert, due_alerts, lock_due
from dataloaders.alert_ingestion import store_changes
from models import Alert, AlertSeverity
from models.database import Database
from resolvers.due_work import DueWork
from resolvers.unit_of_work import Announces, unit_of_work

SETTING: Final = "alert_escalation_seconds"
"""The tenant's own times, by severity; null is never."""

ESCALATE_AFTER_SECONDS: Final[Mapping[AlertSeverity, int | None]] = {
    AlertSeverity.CRITICAL: 900,
    AlertSeverity.ERROR: 1_800,
    AlertSeverity.WARNING: 7_200,
    AlertSeverity.INFO: None,
    AlertSeverity.UNKNOWN: 7_200,
}
"""Where a tenant says nothing."""


def escalation_due(settings: Mapping[str, Any], severity: AlertSeverity, since: datetime) -> datetime | None:
    """When an alert that nobody has looked after ``since`` is escalated; None for never."""
    own = settings.get(SETTING)
    seconds: Any = ESCALATE_AFTER_SECONDS[severity]
    if isinstance(own, dict) and severity.value in own:
        seconds = own[severity.value]
    # Settings may stem from an import: what is no number of seconds is none.
    return since + timedelta(seconds=seconds) if type(seconds) is int and seconds > 0 else None


class Escalation:
    """Escalates what is due, on the database's clock, in every worker at once."""

    def __init__(self, database: Database, announcer: Announces, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._announcer = announcer
        self._clock = clock
        self._work = DueWork("escalation", PAGE, partial(due_alerts, database), self._attend)

    async def sweep(self) -> int:
        """Escalate every alert that is due; how many this call did. Commits, one tenant at a time.

        What another worker holds is left to it. A tenant that cannot be served now is logged and left to the next
        sweep. Raises Unavailable, TimeoutError.
        """
        return await self._work.run()

    async def escalate(self, tenant_id: UUID, ids: list[UUID]) -> int:
        """Escalate those of ``ids`` that are due still and that nobody else holds; how many. Commits."""
        async with unit_of_work(self._database, self._announcer, self._clock, tenant_id, None) as work:
            alerts = await lock_due(work.session, ids, Alert.escalate_at <= func.now())
            for alert in alerts:
                before = alert.facets()
                alert.escalate(work.now)
                payload = {"severity": alert.severity.value, "status": alert.status.value}
                work.tell(alert, "alert.escalated", before, payload, audited=False)
            await store_changes(work.session, alerts, work.now)
        return len(alerts)

    async def _attend(self, tenant_id: UUID, due: list[DueAlert]) -> int:
        return await self.escalate(tenant_id, [one.id for one in due])
