"""This module is where it is specified what time does to requests that wait: once, in time, whoever looks."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import select, text

from dataloaders.approvals import queue_summary
from models import ApprovalKind, ApprovalRequest, ApprovalStatus, Event, HitlMode, Priority, SlaState, utcnow
from models.database import Database
from models.ids import uuid7
from resolvers.approval_deadlines import ApprovalDeadlines
from tests.conftest import counted
from tests.patience import DEADLINE, promised
from tests.resolvers.deadlines import bring_forward
from tests.resolvers.people import Announced
from tests.world import make_tenant

TOLD_SECONDS = 3.0


async def waiting(database: Database, tenant: UUID, count: int = 1, **said: Any) -> list[UUID]:
    """So many requests that wait."""
    rows = []
    for _ in range(count):
        given = {"priority": Priority.URGENT, "hitl_mode": HitlMode.ESCALATE, "kind": ApprovalKind.ACTION} | said
        expires_in = given.pop("expires_in", None)
        row = ApprovalRequest(
            tenant_id=tenant,
            id=uuid7(),
            requester="key:x",
            original_query="?",
            required_approvals=1,
            approvals_given=0,
            escalations=0,
            **given,
        )
        row.begin(utcnow(), expires_in)
        rows.append(row)
    async with database.session(tenant) as session:
        session.add_all(rows)
        await session.commit()
    return [row.id for row in rows]


async def told(database: Database, tenant: UUID) -> list[Event]:
    """What the tenant's log tells of requests, oldest first."""
    async with database.session(tenant) as session:
        return list(await session.scalars(select(Event).where(Event.entity_type == "approval").order_by(Event.seq)))


async def rows(database: Database, tenant: UUID) -> list[ApprovalRequest]:
    """The tenant's requests."""
    async with database.session(tenant) as session:
        return list(await session.scalars(select(ApprovalRequest).order_by(ApprovalRequest.id)))


def deadlines(database: Database) -> ApprovalDeadlines:
    return ApprovalDeadlines(database, Announced(), utcnow)


async def test_what_is_not_due_is_left_alone(database: Database) -> None:
    tenant = await make_tenant(database)
    await waiting(database, tenant)
    await deadlines(database).run()
    assert await told(database, tenant) == []


async def test_a_request_comes_at_risk_escalates_and_is_told_each_once(database: Database) -> None:
    tenant = await make_tenant(database)
    await waiting(database, tenant)
    for hours in (0.8, 0.3, 5):
        await bring_forward(database, tenant, hours)
        for _ in range(2):
            await deadlines(database).run()
    events = await told(database, tenant)
    assert [one.kind for one in events] == ["approval.at_risk", "approval.escalated"]
    assert [(one.actor_id, one.payload["sla_state"]) for one in events] == [(None, "at_risk"), (None, "breached")]
    assert events[0].before is not None
    assert (events[0].before["sla_state"], events[0].after and events[0].after["sla_state"]) == ("on_track", "at_risk")
    (row,) = await rows(database, tenant)
    assert (row.sla_state, row.escalations, row.version) == (SlaState.BREACHED, 1, 2)
    assert row.escalated_at is not None
    async with database.session(tenant) as session:
        summary = await queue_summary(session)
    assert (summary.pending, summary.breached, summary.at_risk) == (1, 1, 0)


async def test_what_expires_is_over_and_waits_no_more(database: Database) -> None:
    tenant = await make_tenant(database)
    await waiting(database, tenant, expires_in=timedelta(hours=2))
    await bring_forward(database, tenant, 2)
    await deadlines(database).run()
    (row,) = await rows(database, tenant)
    assert (row.status, row.resolved_by, row.next_at) == (ApprovalStatus.EXPIRED, None, None)
    assert [one.kind for one in await told(database, tenant)] == ["approval.expired"]
    async with database.session(tenant) as session:
        assert (await queue_summary(session)).pending == 0


async def test_three_workers_that_race_do_each_once_and_in_time(database: Database) -> None:
    count = 30
    tenants = [await make_tenant(database) for _ in range(2)]
    for tenant in tenants:
        await waiting(database, tenant, count)
        await waiting(database, tenant, count, expires_in=timedelta(seconds=1), hitl_mode=HitlMode.DRAFT)
        await waiting(database, tenant, count, priority=Priority.HIGH)
        await bring_forward(database, tenant, 2)
    began = time.monotonic()
    workers = [deadlines(database) for _ in range(3)]
    # Until nothing is left: what one holds the others pass by.
    async with asyncio.timeout(DEADLINE):
        while any(await asyncio.gather(*(one.run() for one in workers))):
            pass
    took = time.monotonic() - began
    for tenant in tenants:
        events = await told(database, tenant)
        assert Counter(one.kind for one in events) == {"approval.escalated": count, "approval.expired": count}
        assert len({one.entity_id for one in events}) == 2 * count
    assert took < promised(TOLD_SECONDS)


async def test_a_batch_is_as_many_statements_as_one(database: Database) -> None:
    seen = []
    for count in (2, 40):
        tenant = await make_tenant(database)
        await waiting(database, tenant, count)
        await bring_forward(database, tenant, 2)
        with counted(database) as statements:
            await deadlines(database).run()
        assert len(await told(database, tenant)) == count
        seen.append([one.split()[:3] for one in statements])
    assert seen[0] == seen[1]


async def test_what_somebody_decides_just_now_is_left_to_them(database: Database) -> None:
    tenant = await make_tenant(database)
    (held,) = await waiting(database, tenant)
    (free,) = await waiting(database, tenant)
    await bring_forward(database, tenant, 2)
    async with database.session(tenant) as session:
        await session.execute(text("SELECT 1 FROM approval_requests WHERE id = :id FOR UPDATE"), {"id": held})
        async with asyncio.timeout(DEADLINE):
            await deadlines(database).run()
        assert [one.entity_id for one in await told(database, tenant)] == [free]
    await deadlines(database).run()
    assert [one.entity_id for one in await told(database, tenant)] == [free, held]
