"""This module is where silent workers are specified: what they took is taken back once, whoever notices it first."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import select

from models import Alert, AlertSeverity, AnalysisStatus, Event, utcnow
from models.alert_analysis import Worker
from models.database import Database
from models.ids import uuid7
from resolvers.lost_analyses import LostAnalyses
from tests.resolvers.people import Announced
from tests.world import Tenants

HOUR = timedelta(hours=1)


async def taken(database: Database, tenant_id: UUID, count: int, lease: timedelta) -> list[UUID]:
    """Alerts whose analyses workers hold for ``lease`` from now."""
    now = utcnow()
    rows = [
        Alert(
            tenant_id=tenant_id,
            id=uuid7(),
            fingerprint=uuid7().hex,
            starts_at=now,
            alert_name="DiskFull",
            severity=AlertSeverity.ERROR,
        )
        for _ in range(count)
    ]
    async with database.session(tenant_id) as session:
        session.add_all(rows)
        await session.flush()
        for one in rows:
            one.queue_analysis(now)
            one.claim_analysis(Worker(uuid7(), "w"), now, now + lease)
        await session.commit()
    return [one.id for one in rows]


async def _all(database: Database, tenant_id: UUID, statement: Any) -> list[Any]:
    async with database.session(tenant_id) as session:
        return list(await session.scalars(statement))


async def statuses(database: Database, tenant_id: UUID) -> list[AnalysisStatus]:
    """Where the tenant's analyses stand."""
    return await _all(database, tenant_id, select(Alert.analysis_status).where(Alert.tenant_id == tenant_id))


async def test_each_lost_analysis_is_queued_again_once_however_many_notice_it_together(
    database: Database, tenants: Tenants
) -> None:
    lost = {one: await taken(database, one, 30, -HOUR) for one in (tenants.mine, tenants.other)}
    held = await taken(database, tenants.mine, 3, HOUR)
    announced = Announced()
    racers = [LostAnalyses(database, announced, utcnow) for _ in range(6)]
    await asyncio.gather(*(one.sweep() for one in racers), *(one.sweep() for one in racers))
    # Rows that another holds are passed by, so the last look is alone.
    await racers[0].sweep()
    for tenant, ids in lost.items():
        events = await _all(database, tenant, select(Event).where(Event.tenant_id == tenant))
        assert sorted(one.entity_id for one in events) == sorted(ids)
        assert {(one.kind, one.actor_id) for one in events} == {("alert.analysis_queued", None)}
    rows = await _all(database, tenants.mine, select(Alert).where(Alert.tenant_id == tenants.mine))
    running = {one.id for one in rows if one.analysis_status is AnalysisStatus.RUNNING}
    assert running == set(held)
    again = [one for one in rows if one.id not in running]
    assert {one.analysis_status for one in again} == {AnalysisStatus.QUEUED}
    assert {(one.analysis_claimed_by, one.analysis_worker, one.analysis_attempts) for one in again} == {(None, None, 1)}
    assert {tenant for tenant, _ in announced.heard} >= {tenants.mine, tenants.other}


async def test_a_tenant_that_cannot_be_served_keeps_no_other_waiting(
    database: Database, tenants: Tenants, monkeypatch: Any
) -> None:
    for one in (tenants.mine, tenants.other):
        await taken(database, one, 1, -HOUR)
    lost = LostAnalyses(database, Announced(), utcnow)
    take_back = lost.take_back

    async def broken(tenant_id: UUID, ids: Any) -> int:
        if tenant_id == tenants.other:
            raise TimeoutError
        return await take_back(tenant_id, ids)

    monkeypatch.setattr(lost, "take_back", broken)
    await lost.sweep()
    assert await statuses(database, tenants.mine) == [AnalysisStatus.QUEUED]
    assert await statuses(database, tenants.other) == [AnalysisStatus.RUNNING]
    monkeypatch.undo()
    await lost.sweep()
    assert await statuses(database, tenants.other) == [AnalysisStatus.QUEUED]
