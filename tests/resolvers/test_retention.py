"""This module is where forgetting is specified: what is too old goes, in small bites, and the floor goes with it."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from uuid import UUID

import pytest
from sqlalchemy import text

from models import IdempotencyKey, StreamFloor, StructureEvent, Workspace, utcnow
from models.database import Database, TenantSession
from models.ids import uuid7
from resolvers.retention import RetentionRules, delete_activity, delete_keys, trim_logs
from tests.world import Tenants

RULES = RetentionRules()
DAY = timedelta(days=1)


async def always() -> bool:
    return True


async def write_events(database: Database, tenant_id: UUID, ages: list[timedelta]) -> None:
    """A log whose events have these ages, the first one first; each with its structure event."""
    insert = text(
        "INSERT INTO events (tenant_id, seq, id, topic, kind, entity_type, entity_id, required_scope, payload, "
        "occurred_at) SELECT :tenant, n, gen_random_uuid(), 'registry', 'x.y', 'workspace', :tenant, 'x', '{}', "
        "now() - age FROM unnest(CAST(:ages AS interval[])) WITH ORDINALITY a (age, n)"
    )
    async with database.session(tenant_id) as session:
        await session.execute(insert, {"tenant": tenant_id, "ages": ages})
        await session.execute(text("UPDATE tenant_streams SET seq = :head"), {"head": len(ages)})
        session.add(StructureEvent(tenant_id=tenant_id, id=uuid7(), seq=1, event_type="WORKSPACE_ONLINE"))
        await session.commit()


async def log_of(database: Database, tenant_id: UUID) -> tuple[int, list[int]]:
    """The floor, and the seqs that are left."""
    async with database.session(tenant_id) as session:
        return await _log(session)


async def _log(session: TenantSession) -> tuple[int, list[int]]:
    seqs = (await session.execute(text("SELECT seq FROM events ORDER BY seq"))).scalars().all()
    floor = (await session.execute(text("SELECT low_water FROM stream_floors"))).scalar_one()
    return floor, list(seqs)


async def test_events_past_their_age_go_and_the_floor_tells_how_far(database: Database, tenants: Tenants) -> None:
    await write_events(database, tenants.mine, [9 * DAY, 8 * DAY, 6 * DAY, DAY])
    await write_events(database, tenants.other, [6 * DAY])
    # The job takes every tenant; how many it deletes depends on what other tests left.
    assert await trim_logs(database, RULES, always) >= 2
    assert await log_of(database, tenants.mine) == (2, [3, 4])
    assert await log_of(database, tenants.other) == (0, [1])
    assert await trim_logs(database, RULES, always) == 0


async def test_an_old_event_behind_a_young_one_waits_for_it(database: Database, tenants: Tenants) -> None:
    await write_events(database, tenants.mine, [9 * DAY, DAY, 9 * DAY, DAY])
    await trim_logs(database, RULES, always)
    assert await log_of(database, tenants.mine) == (1, [2, 3, 4])


async def test_events_beyond_the_number_kept_go_whatever_their_age(database: Database, tenants: Tenants) -> None:
    await write_events(database, tenants.mine, [DAY] * 10)
    await trim_logs(database, RetentionRules(most_events=4), always)
    assert await log_of(database, tenants.mine) == (6, [7, 8, 9, 10])


async def test_a_log_may_be_emptied_and_its_floor_stands_at_the_head(database: Database, tenants: Tenants) -> None:
    await write_events(database, tenants.mine, [8 * DAY] * 3)
    await trim_logs(database, RULES, always)
    assert await log_of(database, tenants.mine) == (3, [])
    assert await trim_logs(database, RULES, always) == 0


async def test_structure_events_stay_for_ever(database: Database, tenants: Tenants) -> None:
    await write_events(database, tenants.mine, [400 * DAY])
    await trim_logs(database, RULES, always)
    async with database.session(tenants.mine) as session:
        assert (await session.execute(text("SELECT count(*) FROM structure_events"))).scalar_one() == 1


async def test_a_thousand_rows_are_one_transaction_and_the_floor_moves_in_it(
    database: Database, tenants: Tenants
) -> None:
    await write_events(database, tenants.mine, [8 * DAY] * 2500)
    seen: list[tuple[int, int]] = []

    async def look() -> bool:
        floor, seqs = await log_of(database, tenants.mine)
        assert seqs[0] == floor + 1
        seen.append((floor, len(seqs)))
        return True

    assert await trim_logs(database, RULES, look) == 2500
    assert seen == [(0, 2500), (1000, 1500), (2000, 500)]


async def test_whoever_leads_no_more_stops_before_the_next_thousand(database: Database, tenants: Tenants) -> None:
    await write_events(database, tenants.mine, [8 * DAY] * 2500)
    leads = [True, False]

    async def still_leads() -> bool:
        return leads.pop(0)

    assert await trim_logs(database, RULES, still_leads) == 1000
    assert (await log_of(database, tenants.mine))[0] == 1000
    await trim_logs(database, RULES, always)


async def test_two_that_trim_together_delete_each_event_once_and_leave_no_hole(
    database: Database, tenants: Tenants
) -> None:
    await write_events(database, tenants.mine, [8 * DAY] * 3000 + [DAY] * 5)
    counts = await asyncio.gather(*(trim_logs(database, RULES, always) for _ in range(3)))
    assert sum(counts) == 3000
    assert await log_of(database, tenants.mine) == (3000, [3001, 3002, 3003, 3004, 3005])


async def test_a_log_without_a_floor_of_its_own_is_left_alone(database: Database, tenants: Tenants) -> None:
    await write_events(database, tenants.mine, [8 * DAY])
    async with database.session(tenants.mine) as session:
        assert (await session.get(StreamFloor, tenants.mine)) is not None
        await session.execute(text("UPDATE stream_floors SET low_water = 1"))
        await session.commit()
    assert await trim_logs(database, RULES, always) == 0


@pytest.mark.parametrize("count", [3, 1500])
async def test_keys_past_a_day_go_and_younger_ones_stay(database: Database, tenants: Tenants, count: int) -> None:
    await delete_keys(database, RULES, always)  # what other tests left
    for tenant_id in (tenants.mine, tenants.other):
        async with database.session(tenant_id) as session:
            for age, number in ((25, count), (23, 2)):
                session.add_all(
                    IdempotencyKey(
                        tenant_id=tenant_id,
                        principal="user:x",
                        mutation="createAgent",
                        key=f"{age}-{n}",
                        body_hash=b"",
                        created_at=utcnow() - timedelta(hours=age),
                    )
                    for n in range(number)
                )
            await session.commit()
    assert await delete_keys(database, RULES, always) == 2 * count
    for tenant_id in (tenants.mine, tenants.other):
        async with database.session(tenant_id) as session:
            left = (await session.execute(text("SELECT key FROM idempotency_keys ORDER BY key"))).scalars().all()
            assert left == ["23-0", "23-1"]


async def write_activity(database: Database, tenant_id: UUID, ages: list[timedelta]) -> None:
    """What one workspace did, so long ago."""
    place = Workspace(tenant_id=tenant_id, id=uuid7(), name="place")
    insert = text(
        "INSERT INTO activity_logs (tenant_id, id, workspace_id, activity_type, status, created_at) "
        "SELECT :tenant, gen_random_uuid(), :place, 'agent_log', 'ok', now() - age "
        "FROM unnest(CAST(:ages AS interval[])) AS age"
    )
    async with database.session(tenant_id) as session:
        session.add(place)
        await session.flush()
        await session.execute(insert, {"tenant": tenant_id, "place": place.id, "ages": ages})
        await session.commit()


async def activity_of(database: Database, tenant_id: UUID) -> int:
    async with database.session(tenant_id) as session:
        return int((await session.execute(text("SELECT count(*) FROM activity_logs"))).scalar_one())


async def test_what_workspaces_did_is_kept_for_seven_days(database: Database, tenants: Tenants) -> None:
    almost = 7 * DAY - timedelta(minutes=1)
    await write_activity(database, tenants.mine, [8 * DAY, 7 * DAY + timedelta(minutes=1), almost, DAY])
    await write_activity(database, tenants.other, [almost])
    assert await delete_activity(database, RULES, always) >= 2
    assert await activity_of(database, tenants.mine) == 2
    assert await activity_of(database, tenants.other) == 1
    longer = RetentionRules(activity_age=timedelta(hours=12))
    assert await delete_activity(database, longer, always) >= 3
    assert await activity_of(database, tenants.mine) == await activity_of(database, tenants.other) == 0


async def test_old_activity_goes_a_thousand_at_a_time_while_this_process_leads(
    database: Database, tenants: Tenants
) -> None:
    await delete_activity(database, RULES, always)  # what other tests left
    await write_activity(database, tenants.mine, [8 * DAY] * 2500 + [DAY])
    leads = [True, True, False]
    assert await delete_activity(database, RULES, lambda: _next(leads)) == 2000
    assert await activity_of(database, tenants.mine) == 501
    assert await delete_activity(database, RULES, always) == 500
    assert await activity_of(database, tenants.mine) == 1


async def _next(leads: list[bool]) -> bool:
    return leads.pop(0)
