"""This module is where past alerts are read for rules to be tried on: what rules look at, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import select

from models import Alert, AlertAction
from models.database import Database


@dataclass(frozen=True, slots=True)
class PastAlert:
    """What rules look at in one alert, as its labels said it, and what was done with it."""

    id: UUID
    alert_name: str
    severity: str | None
    instance: str | None
    job: str | None
    action_taken: AlertAction


async def past_alerts(database: Database, tenant_id: UUID, since: datetime, limit: int) -> Sequence[PastAlert]:
    """The newest alerts that started ``since``, ignored ones included, newest first. Raises Unavailable."""
    parts = []
    # Ignored ones and others are two lists in the index, each in its order.
    for ignored in (False, True):
        parts.append(
            select(
                Alert.id,
                Alert.alert_name,
                Alert.labels["severity"].astext,
                Alert.instance,
                Alert.job,
                Alert.action_taken,
                Alert.starts_at,
            )
            .where(Alert.tenant_id == tenant_id, Alert.is_ignored.is_(ignored), Alert.starts_at >= since)
            .order_by(Alert.starts_at.desc(), Alert.id.desc())
            .limit(limit)
        )
    async with database.session(tenant_id) as session:
        rows = [row for part in parts for row in await session.execute(part)]
    rows.sort(key=lambda row: (row[6], row[0]), reverse=True)
    return [PastAlert(*row[:6]) for row in rows[:limit]]
