"""This module is where alerts' hours are added up: from the counts that are kept, never from the alerts themselves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, func, select, tuple_

from models import AlertInstanceRollup, AlertRollup, AlertSeverity
from models.database import TenantSession

MOST_HOURS: Final = 24 * 32
MOST_INSTANCES: Final = 10


@dataclass(frozen=True, slots=True)
class Tally:
    """What became of the alerts that started in one hour, or of those of one severity. Ignored ones stand apart."""

    hour: datetime | None
    severity: AlertSeverity | None
    firing: int
    acknowledged: int
    resolved: int
    ignored: int
    acknowledgements: int
    acknowledge_seconds: float
    resolutions: int
    resolve_seconds: float

    @property
    def total(self) -> int:
        """All that are not ignored."""
        return self.firing + self.acknowledged + self.resolved


_SUMS: Final = tuple(
    func.sum(column)
    for column in (
        AlertRollup.firing,
        AlertRollup.acknowledged,
        AlertRollup.resolved,
        AlertRollup.ignored,
        AlertRollup.acknowledgements,
        AlertRollup.acknowledge_seconds,
        AlertRollup.resolutions,
        AlertRollup.resolve_seconds,
    )
)


async def tallies(session: TenantSession, since: datetime, until: datetime) -> list[Tally]:
    """What became of the alerts that started from ``since`` until before ``until``: by hour and by severity.

    Both are whole hours of UTC. One statement; a tally has either an hour or a severity, never both.
    """
    sets = func.grouping_sets(tuple_(AlertRollup.hour), tuple_(AlertRollup.severity))
    statement = (
        select(AlertRollup.hour, AlertRollup.severity, *_SUMS)
        .where(*_within(AlertRollup, session, since, until))
        .group_by(sets)
        .limit(MOST_HOURS + len(AlertSeverity))
    )
    return [_tally(row) for row in await session.execute(statement)]


async def top_instances(session: TenantSession, since: datetime, until: datetime) -> Sequence[tuple[str, int]]:
    """The ten instances with the most alerts in these hours, most first; one statement."""
    count = func.sum(AlertInstanceRollup.alerts)
    statement = (
        select(AlertInstanceRollup.instance, count)
        .where(*_within(AlertInstanceRollup, session, since, until), AlertInstanceRollup.alerts > 0)
        .group_by(AlertInstanceRollup.instance)
        .order_by(count.desc(), AlertInstanceRollup.instance)
        .limit(MOST_INSTANCES)
    )
    return [(str(name), int(number)) for name, number in await session.execute(statement)]


def _within(model: Any, session: TenantSession, since: datetime, until: datetime) -> list[ColumnElement[bool]]:
    return [model.tenant_id == session.tenant_id, model.hour >= since, model.hour < until]


def _tally(row: Any) -> Tally:
    hour, severity, *sums = row
    firing, acknowledged, resolved, ignored, acknowledgements, to_acknowledge, resolutions, to_resolve = sums
    return Tally(
        hour,
        severity,
        int(firing),
        int(acknowledged),
        int(resolved),
        int(ignored),
        int(acknowledgements),
        float(to_acknowledge),
        int(resolutions),
        float(to_resolve),
    )
