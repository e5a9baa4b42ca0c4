"""This module is where silence is specified: one offline event, in time, and none for an outage of our own."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import text, update

from models import Workspace, utcnow
from models import WorkspaceStatus as Status
from models.database import Database
from models.ids import uuid7
from resolvers.liveness import Liveness
from tests.patience import DEADLINE
from tests.resolvers.fleets import BeatingFleet, counted_statements, set_lease
from tests.resolvers.people import Announced

HOUR = 3600.0


@pytest.fixture
async def fleet(database: Database) -> BeatingFleet:
    """A fleet whose beats were taken for an hour without a break."""
    await set_lease(database, taken_ago=HOUR, lapses_in=HOUR)
    return await BeatingFleet.start(database)


@pytest.fixture
def announced() -> Announced:
    return Announced()


@pytest.fixture
def liveness(database: Database, announced: Announced) -> Liveness:
    return Liveness(database, announced, utcnow)


@pytest.mark.parametrize("status", [Status.ONLINE, Status.DEGRADED])
async def test_a_silent_workspace_goes_offline_and_it_is_told_once(
    fleet: BeatingFleet, liveness: Liveness, announced: Announced, status: Status
) -> None:
    (workspace_id,) = await fleet.add(status, name="Marketing", last_error_rate=0.9)
    await fleet.make_overdue()
    before = (await fleet.row(workspace_id)).version
    await liveness.sweep()
    await liveness.sweep()
    row = await fleet.row(workspace_id)
    assert (row.status, row.version) == (Status.OFFLINE, before + 1)
    (event,) = await fleet.events()
    assert (event.kind, event.entity_id, event.actor_id) == ("workspace.went_offline", workspace_id, None)
    assert event.before is not None
    assert event.before["status"] == status.value
    assert event.after == event.before | {"status": "offline"}
    assert await fleet.structure() == [("WORKSPACE_OFFLINE", workspace_id, event.seq)]
    assert (fleet.tenant_id, 1) in announced.heard


@pytest.mark.parametrize("status", sorted(frozenset(Status) - {Status.ONLINE, Status.DEGRADED}))
async def test_silence_means_nothing_for_a_workspace_that_need_not_beat(
    fleet: BeatingFleet, liveness: Liveness, status: Status
) -> None:
    (workspace_id,) = await fleet.add(status)
    await fleet.make_overdue()
    await liveness.sweep()
    assert (await fleet.row(workspace_id)).status is status
    assert await fleet.events() == []


async def test_a_workspace_whose_time_has_not_run_out_stays_online(fleet: BeatingFleet, liveness: Liveness) -> None:
    await fleet.add()
    await fleet.make_overdue(-30)
    await fleet.add()  # registered without any due time
    await liveness.sweep()
    assert set((await fleet.statuses()).values()) == {Status.ONLINE}


async def test_each_silence_is_told_once_however_many_notice_it_together(
    database: Database, fleet: BeatingFleet
) -> None:
    other = await BeatingFleet.start(database)
    for one in (fleet, other):
        await one.add(count=30)
        await one.make_overdue()
    racers = [Liveness(database, Announced(), utcnow) for _ in range(8)]
    for racer in racers[::2]:
        racer.hurry()
    # Each sweeps twice, so a late one meets what an early one has left.
    await asyncio.gather(*(racer.sweep() for racer in racers), *(racer.sweep() for racer in racers))
    assert sum(racer.taken_offline for racer in racers) >= 60
    for one in (fleet, other):
        assert sorted(event.entity_id for event in await one.events()) == sorted(await one.statuses())
        assert set((await one.statuses()).values()) == {Status.OFFLINE}
        assert await one.head() == 30


async def test_a_beat_that_comes_between_the_finding_and_the_lock_saves_its_workspace(
    fleet: BeatingFleet, liveness: Liveness
) -> None:
    (workspace_id,) = await fleet.add()
    await fleet.make_overdue()
    async with fleet.holding(workspace_id) as beating:
        sweep = asyncio.create_task(liveness.sweep())
        await until_blocked(fleet.database)
        later = text("now() + interval '60 seconds'")
        await beating.execute(update(Workspace).where(Workspace.id == workspace_id).values(heartbeat_due_at=later))
        await beating.commit()
    await sweep
    assert (await fleet.row(workspace_id)).status is Status.ONLINE
    assert await fleet.events() == []


async def until_blocked(database: Database) -> None:
    """Returns once somebody waits for a lock."""
    waits = text("SELECT count(*) FROM pg_locks WHERE NOT granted")
    async with asyncio.timeout(DEADLINE), database.app.connect() as connection:
        while not await connection.scalar(waits):  # noqa: ASYNC110 - a lock has no event to wait for
            await asyncio.sleep(0.01)


async def test_while_nobody_takes_beats_nobody_goes_offline(fleet: BeatingFleet, liveness: Liveness) -> None:
    await fleet.add()
    await fleet.make_overdue()
    await set_lease(fleet.database, taken_ago=HOUR, lapses_in=-0.01)
    await liveness.sweep()
    assert await fleet.events() == []


async def test_without_any_lease_nobody_goes_offline(fleet: BeatingFleet, liveness: Liveness) -> None:
    await fleet.add()
    await fleet.make_overdue()
    async with fleet.database.platform.begin() as connection:
        await connection.execute(text("DELETE FROM leases"))
    await liveness.sweep()
    assert await fleet.events() == []


async def test_after_an_outage_of_ours_every_workspace_has_its_own_ttl_to_beat_again(
    fleet: BeatingFleet, liveness: Liveness
) -> None:
    (patient,) = await fleet.add(heartbeat_ttl_seconds=60)
    (brief,) = await fleet.add(heartbeat_ttl_seconds=5)
    await fleet.make_overdue(HOUR)
    await set_lease(fleet.database, taken_ago=10, lapses_in=5)
    await liveness.sweep()
    assert await fleet.statuses() == {patient: Status.ONLINE, brief: Status.OFFLINE}
    await set_lease(fleet.database, taken_ago=61, lapses_in=5)
    await liveness.sweep()
    assert await fleet.statuses() == {patient: Status.OFFLINE, brief: Status.OFFLINE}


async def test_those_who_may_wait_do_not_stand_before_those_who_may_not(
    fleet: BeatingFleet, liveness: Liveness
) -> None:
    """A page full of workspaces with a long TTL, overdue for longest, and one behind them."""
    await fleet.add(count=510, heartbeat_ttl_seconds=86400)
    await fleet.make_overdue(HOUR)
    (silent,) = await fleet.add(heartbeat_ttl_seconds=5)
    overdue = text("now() - interval '1 second'")
    await fleet.set(silent, heartbeat_due_at=overdue)
    await liveness.sweep()
    assert [event.entity_id for event in await fleet.events()] == [silent]


async def test_a_large_fleet_that_dies_at_once_goes_offline_in_few_statements(
    database: Database, fleet: BeatingFleet, liveness: Liveness
) -> None:
    await liveness.sweep()  # whatever other tests left overdue
    await fleet.add(count=600)
    await fleet.make_overdue()
    with counted_statements(database, "app", "platform") as statements:
        await liveness.sweep()
    assert set((await fleet.statuses()).values()) == {Status.OFFLINE}
    assert await fleet.head() == 600
    # Two pages and two transactions of six statements; what other tests' workspaces lapse meanwhile comes on top.
    assert len(statements) <= 60


async def test_a_tenant_whose_rows_are_held_keeps_nobody_else_waiting(
    database: Database, fleet: BeatingFleet, liveness: Liveness
) -> None:
    other = await BeatingFleet.start(database)
    (held,), (free,) = await fleet.add(), await other.add()
    await fleet.make_overdue(2)
    await other.make_overdue()
    async with fleet.holding(held):
        sweep = asyncio.create_task(liveness.sweep())
        async with asyncio.timeout(DEADLINE):
            while (await other.row(free)).status is Status.ONLINE:  # noqa: ASYNC110 - nor has a row
                await asyncio.sleep(0.01)
        assert not sweep.done()
        await sweep  # the lock's own time-out ends the wait
    assert await fleet.events() == []
    await liveness.sweep()
    assert await fleet.kinds() == ["workspace.went_offline"]


async def test_taking_offline_reaches_no_other_tenant(database: Database, fleet: BeatingFleet) -> None:
    other = await BeatingFleet.start(database)
    (theirs,) = await other.add()
    await other.make_overdue()
    liveness = Liveness(database, Announced(), utcnow)
    assert await liveness.take_offline(fleet.tenant_id, [theirs, uuid7()], utcnow().replace(year=2020)) == 0
    assert (await other.row(theirs)).status is Status.ONLINE
    await liveness.sweep()


async def test_a_hint_ends_the_rest_and_its_absence_does_not_prolong_it(liveness: Liveness) -> None:
    loop = asyncio.get_running_loop()
    began_at = loop.time()
    await liveness.rest(0.3)
    assert loop.time() - began_at >= 0.29
    resting = asyncio.create_task(liveness.rest(HOUR))
    await asyncio.sleep(0)
    liveness.hurry()
    async with asyncio.timeout(DEADLINE):
        await resting


async def test_what_the_platform_role_sees_is_ids_and_due_times(database: Database) -> None:
    readable = text(
        "SELECT attname FROM pg_attribute WHERE attrelid = 'workspaces'::regclass AND attnum > 0 "
        "AND has_column_privilege('signalbox_platform', attrelid, attnum, 'SELECT') ORDER BY attname"
    )
    async with database.platform.connect() as connection:
        columns = (await connection.execute(readable)).scalars().all()
    assert columns == ["heartbeat_due_at", "id", "status", "tenant_id"]
