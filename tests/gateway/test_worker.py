"""This module is where a worker is specified: it notices silence, one of many leads, and no failure ends it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

import pytest
from sqlalchemy import select, text
from structlog.testing import capture_logs

from gateway import leadership
from gateway import worker as worker_module
from gateway.embedded import EmbeddedValkey
from gateway.leadership import LEADER_LEASE, Leadership
from gateway.worker import Worker
from models import AnalysisStatus, Tenant, TenantStatus, User, UserStatus, utcnow
from models import WorkspaceStatus as Status
from models.database import Database, DatabaseUrls, PoolOptions
from models.ids import uuid7
from resolvers.heartbeats import HeartbeatIntake
from subscriptions.bus import Bus
from subscriptions.keyspace import expired_keys
from tests.patience import DEADLINE, promised
from tests.resolvers.fleets import BeatingFleet, lease, set_lease
from tests.resolvers.people import Announced
from tests.resolvers.test_lost_analyses import statuses, taken
from tests.world import Tenants

HOUR = 3600.0


@dataclass
class Means:
    """What a worker works with, and nothing else of a gateway."""

    database: Database
    bus: Bus
    announcer: Announced
    clock: Callable[[], datetime] = utcnow


@asynccontextmanager
async def working(database: Database, url: str = "memory://", **options: float) -> AsyncIterator[Worker]:
    bus = Bus.from_url(url)
    await bus.start()
    worker = Worker(Means(database, bus, Announced()), **options)  # type: ignore[arg-type]
    worker.start()
    try:
        yield worker
    finally:
        await worker.stop()
        await bus.stop()


async def until(is_so: Callable[[], Awaitable[bool] | bool], seconds: float = DEADLINE) -> None:
    async with asyncio.timeout(seconds):
        while True:
            answer = is_so()
            if answer if isinstance(answer, bool) else await answer:
                return
            await asyncio.sleep(0.01)


@pytest.fixture
async def fleet(database: Database) -> BeatingFleet:
    await set_lease(database, taken_ago=HOUR, lapses_in=HOUR)
    await set_lease(database, taken_ago=HOUR, lapses_in=-1, name=LEADER_LEASE)
    return await BeatingFleet.start(database)


def worker_tasks() -> list[str]:
    return [task.get_name() for task in asyncio.all_tasks() if task.get_name().startswith("worker-")]


async def test_silence_is_told_once_by_the_sweep_alone(database: Database, fleet: BeatingFleet) -> None:
    await fleet.add()
    await fleet.make_overdue()
    # Nobody hints: the memory broker of this worker holds no keys.
    async with working(database), working(database):
        await until(lambda: _has(fleet, "workspace.went_offline"))
    assert await fleet.kinds() == ["workspace.went_offline"]


async def test_what_a_silent_analyst_held_is_taken_back(database: Database, tenants: Tenants) -> None:
    await taken(database, tenants.mine, 3, -timedelta(hours=1))

    async def is_back() -> bool:
        return set(await statuses(database, tenants.mine)) == {AnalysisStatus.QUEUED}

    async with working(database), working(database):
        await until(is_back)


async def test_a_key_that_expires_lets_the_sweep_come_at_once(
    database: Database, fleet: BeatingFleet, valkey: EmbeddedValkey
) -> None:
    (workspace_id,) = await fleet.add(Status.OFFLINE, heartbeat_ttl_seconds=1)
    bus = Bus.from_url(valkey.url)
    await bus.start()
    intake = HeartbeatIntake(database, bus, Announced(), utcnow)
    intake.start()
    async with working(database, valkey.url, sweep_seconds=HOUR) as worker:
        await until(lambda: worker.states["liveness"].runs > 0)
        await intake.report(fleet.beat(workspace_id))
        # The next sweep is an hour away, so only the hint can bring it; TTL 1 s + 5 s is what was promised.
        await until(lambda: _has(fleet, "workspace.went_offline"), 6)
    assert await fleet.kinds() == ["workspace.came_online", "workspace.went_offline"]
    await intake.stop()
    await bus.stop()


async def test_a_forged_hint_takes_nobody_offline(
    database: Database, fleet: BeatingFleet, valkey: EmbeddedValkey
) -> None:
    (workspace_id,) = await fleet.add()
    await fleet.make_overdue(-60)
    async with working(database, valkey.url, sweep_seconds=HOUR) as worker:
        await until(lambda: worker.states["liveness"].runs > 0)
        runs = worker.states["liveness"].runs
        bus = worker._means.bus
        await until(lambda: bus.publish(bus.expiry_channel, b"signalbox:ws:" + b"0" * 26))
        await until(lambda: worker.states["liveness"].runs > runs)
        assert (await fleet.row(workspace_id)).status is Status.ONLINE


async def _has(fleet: BeatingFleet, kind: str) -> bool:
    return kind in await fleet.kinds()


async def test_one_of_many_leads_and_another_follows_when_it_stops(
    database: Database, fleet: BeatingFleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with working(database) as one:
        await until(lambda: one.leadership.is_leader)
        async with working(database) as two:
            await until(lambda: two.states["leadership"].runs > 0)
            assert (one.leadership.is_leader, two.leadership.is_leader) == (True, False)
            first = one.leadership.epoch
            await one.stop()
            # At once, not when the lease would have lapsed: two tries at renewal at most.
            await until(lambda: two.leadership.is_leader, 4)
            assert first is not None
            assert two.leadership.epoch == first + 1


async def test_a_leader_that_slept_too_long_holds_its_epoch_no_more(database: Database, fleet: BeatingFleet) -> None:
    sleeper, next_one = Leadership(database), Leadership(database)
    await sleeper.renew()
    epoch = sleeper.epoch
    assert epoch is not None
    assert await sleeper.holds(epoch)
    await next_one.renew()
    assert next_one.epoch is None
    await _let_lapse(database)
    assert not await sleeper.holds(epoch)
    await next_one.renew()
    assert next_one.epoch == epoch + 1
    assert not await sleeper.holds(epoch)
    # It comes back after the other, and even then under a new epoch: work begun under the old one stays refused.
    await _let_lapse(database)
    await sleeper.renew()
    assert not await sleeper.holds(epoch)
    assert sleeper.epoch == epoch + 2


async def _let_lapse(database: Database) -> None:
    async with database.platform.begin() as connection:
        await connection.execute(
            text("UPDATE leases SET expires_at = now() - interval '1 ms' WHERE name = :name"), {"name": LEADER_LEASE}
        )


async def test_of_many_that_try_at_once_one_leads(database: Database, fleet: BeatingFleet) -> None:
    candidates = [Leadership(database) for _ in range(12)]
    await asyncio.gather(*(one.renew() for one in candidates))
    assert [one.is_leader for one in candidates].count(True) == 1


async def test_a_leader_without_an_answer_from_the_database_does_not_lead(
    database: Database, fleet: BeatingFleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leadership, "_PATIENCE_SECONDS", 0.2)
    one = Leadership(database)
    await one.renew()
    assert one.is_leader
    async with database.platform.begin() as connection:
        await connection.execute(text("SELECT FROM leases FOR UPDATE"))
        with pytest.raises(TimeoutError):
            await one.renew()
    assert not one.is_leader


async def test_an_unreachable_database_ends_no_job_and_each_recovers(database: Database, fleet: BeatingFleet) -> None:
    urls = DatabaseUrls.for_roles("postgresql+asyncpg://nobody@/nowhere?host=/nonexistent")
    means = Database(urls, PoolOptions(wait_seconds=0.2))
    nowhere = means.platform
    await fleet.add()
    await fleet.make_overdue()
    async with working(means) as worker:
        await until(lambda: worker.states["liveness"].failures > 1 and worker.states["leadership"].failures > 0)
        assert worker.states["liveness"].last_error == "Unavailable"
        assert not worker.leadership.is_leader
        assert len(worker_tasks()) == len(worker.jobs)
        means.platform, unreachable_app = database.platform, means.app
        means.app = database.app
        await until(lambda: _has(fleet, "workspace.went_offline"))
        await until(lambda: worker.leadership.is_leader and worker.states["trim-logs"].runs > 0)
        await until(lambda: worker.states["liveness"].failures == 0)  # the event is there before the sweep has ended
        means.platform, means.app = nowhere, unreachable_app
    await means.close()


async def test_a_job_with_a_defect_is_logged_and_tried_again_and_the_others_go_on(
    database: Database, fleet: BeatingFleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    defects = [RuntimeError("a defect"), RuntimeError("another")]

    async def trim(*_: object) -> int:
        if defects:
            raise defects.pop(0)
        return 0

    monkeypatch.setattr(worker_module, "trim_logs", trim)
    await fleet.add()
    with capture_logs() as logs:
        async with working(database) as worker:
            await until(lambda: worker.states["trim-logs"].failures == 1)
            await fleet.make_overdue()
            await until(lambda: _has(fleet, "workspace.went_offline"))
            await until(lambda: worker.states["trim-logs"].runs == 1)
    failed = [one for one in logs if one["event"] == "worker.job_failed"]
    assert [(one["job"], one["failures"], one["exc_info"]) for one in failed] == [
        ("trim-logs", 1, True),
        ("trim-logs", 2, True),
    ]


async def test_the_leader_trims_and_the_others_do_not(database: Database, fleet: BeatingFleet) -> None:
    await set_lease(database, taken_ago=1, lapses_in=HOUR, name=LEADER_LEASE)
    async with working(database) as worker:
        await until(lambda: worker.states["leadership"].runs > 1)
        assert worker.states["trim-logs"].runs == worker.states["delete-keys"].runs == 0
        await set_lease(database, taken_ago=1, lapses_in=-1, name=LEADER_LEASE)
        await until(lambda: worker.states["trim-logs"].runs > 0 and worker.states["delete-keys"].runs > 0)


async def test_stopping_ends_every_task_within_two_seconds_whatever_it_waits_for(
    database: Database, fleet: BeatingFleet
) -> None:
    (workspace_id,) = await fleet.add()
    await fleet.make_overdue()
    async with fleet.holding(workspace_id), working(database) as worker:
        await until(lambda: worker.leadership.is_leader)
        async with asyncio.timeout(promised(2)):
            await worker.stop()
        assert worker_tasks() == []
    assert not (await lease(database, LEADER_LEASE)).is_live
    async with asyncio.timeout(promised(1)):
        await worker.stop()


async def test_hints_name_the_keys_that_beats_keep_alive(
    database: Database, fleet: BeatingFleet, valkey: EmbeddedValkey
) -> None:
    bus = Bus.from_url(valkey.url)
    await bus.start()
    hints = expired_keys(bus, "signalbox:ws:")

    async def hears_of(key: str) -> None:
        # Keys of other tests lapse as well.
        while await anext(hints) != key:
            pass

    listening = asyncio.create_task(hears_of("signalbox:ws:gone"))
    await asyncio.sleep(0)
    await until(lambda: bus.refresh_keys({"signalbox:ws:gone": 1}))
    async with asyncio.timeout(DEADLINE):
        await listening
    await hints.aclose()
    await bus.stop()


async def test_a_tenant_that_was_cancelled_long_ago_is_deleted(database: Database, tenants: Tenants) -> None:
    await set_lease(database, taken_ago=HOUR, lapses_in=-1, name=LEADER_LEASE)
    async with database.session(tenants.mine) as session:
        tenant = await session.get_one(Tenant, tenants.mine)
        tenant.status, tenant.cancelled_at = TenantStatus.CANCELLED, utcnow() - timedelta(days=31)
        session.add(User(tenant_id=tenants.mine, id=uuid7(), roles=[], status=UserStatus.ACTIVE))
        await session.commit()

    async def is_gone() -> bool:
        async with database.session(tenants.mine) as session:
            return (await session.get_one(Tenant, tenants.mine)).purged_at is not None

    async with working(database, retention_seconds=0.05):
        await until(is_gone)
    async with database.session(tenants.mine) as session:
        assert (await session.scalars(select(User))).all() == []
