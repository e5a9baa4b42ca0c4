"""This module is where escalation is specified: once for each alert that nobody acknowledged, however many workers."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from uuid import UUID

from sqlalchemy import select, update

from models import Alert, AlertStatus, utcnow
from models.database import Database
from resolvers.alert_escalation import Escalation
from resolvers.alert_ingestion import AlertIntake
from tests.resolvers.people import Announced
from tests.resolvers.test_alert_ingestion import intake_of, sent, stored, told
from tests.world import Tenants


def worker(database: Database) -> Escalation:
    """A worker of its own."""
    return Escalation(database, Announced(), utcnow)


async def make_due(database: Database, tenant_id: UUID, *fingerprints: str) -> None:
    """Let the time of these alerts have passed."""
    async with database.session(tenant_id) as session:
        await session.execute(
            update(Alert)
            .where(Alert.tenant_id == tenant_id, Alert.fingerprint.in_(fingerprints))
            .values(escalate_at=utcnow() - timedelta(seconds=1))
        )
        await session.commit()


async def test_what_nobody_acknowledges_is_told_once_by_however_many_workers(
    database: Database, tenants: Tenants
) -> None:
    intake: AlertIntake = intake_of(database)
    await intake.receive(tenants.mine, [sent(f"{n}") for n in range(30)])
    await intake.receive(tenants.other, [sent("theirs")])
    await make_due(database, tenants.mine, *(f"{n}" for n in range(20)))
    await make_due(database, tenants.other, "theirs")
    workers = [worker(database) for _ in range(4)]
    await asyncio.gather(*(one.sweep() for one in workers))
    await worker(database).sweep()
    assert (await told(database, tenants.mine)).count("alert.escalated") == 20
    assert (await told(database, tenants.other)).count("alert.escalated") == 1
    rows = {one.fingerprint: one for one in await stored(database, tenants.mine)}
    assert all((rows[f"{n}"].escalated_at is not None) is (n < 20) for n in range(30))
    assert rows["0"].escalate_at is None
    assert (rows["0"].version, rows["0"].status) == (2, AlertStatus.FIRING)


async def test_one_that_was_acknowledged_meanwhile_is_left_alone(database: Database, tenants: Tenants) -> None:
    await intake_of(database).receive(tenants.mine, [sent()])
    (row,) = await stored(database, tenants.mine)
    assert await worker(database).escalate(tenants.mine, [row.id]) == 0
    await make_due(database, tenants.mine, "5f3a")
    async with database.session(tenants.mine) as session:
        statement = select(Alert).where(Alert.tenant_id == tenants.mine, Alert.id == row.id)
        held = (await session.scalars(statement.with_for_update())).one()
        # Somebody is at it: it is not waited for.
        assert await worker(database).escalate(tenants.mine, [row.id]) == 0
        held.acknowledge(by=None, now=utcnow())
        await session.commit()
    assert await worker(database).sweep() >= 0
    assert "alert.escalated" not in await told(database, tenants.mine)


async def test_another_tenants_alert_is_not_escalated_by_its_id(database: Database, tenants: Tenants) -> None:
    await intake_of(database).receive(tenants.other, [sent()])
    await make_due(database, tenants.other, "5f3a")
    (row,) = await stored(database, tenants.other)
    assert await worker(database).escalate(tenants.mine, [row.id]) == 0
    assert (await stored(database, tenants.other))[0].escalated_at is None
