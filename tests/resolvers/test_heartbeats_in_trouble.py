"""This module is where beats meet trouble: two gateways at once, a broker that is away, a database that is."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text

from models import WorkspaceStatus as Status
from models import utcnow
from models.database import Database, DatabaseUrls, PoolOptions
from models.errors import Refusal, Unavailable
from resolvers import intake_lease
from resolvers.beat_transitions import BeatTransitions, SeenRow
from resolvers.heartbeats import BeatAnswer, HeartbeatIntake
from subscriptions.bus import Bus
from subscriptions.heartbeats import HeartbeatBoard
from subscriptions.memory_backend import MemoryBackend, MemoryBroker
from tests.patience import DEADLINE, promised
from tests.resolvers.fleets import BeatingFleet, lease, set_lease
from tests.resolvers.people import Announced


@pytest.fixture
async def fleet(database: Database) -> BeatingFleet:
    return await BeatingFleet.start(database)


@asynccontextmanager
async def gateway(database: Database, broker: MemoryBroker | None = None) -> AsyncIterator[tuple[HeartbeatIntake, Bus]]:
    """One process's intake and bus."""
    bus = Bus(MemoryBackend(broker))
    await bus.start()
    intake = HeartbeatIntake(database, bus, Announced(), utcnow, max_wait_seconds=0.02)
    intake.start()
    try:
        yield intake, bus
    finally:
        await intake.stop()
        await bus.stop()


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(DEADLINE):
        while not is_so():  # noqa: ASYNC110 - counters have no event to wait for
            await asyncio.sleep(0.01)


async def test_each_change_is_told_once_and_in_a_chain_when_two_gateways_take_the_same_workspaces(
    database: Database, fleet: BeatingFleet
) -> None:
    seed = random.randrange(2**32)
    dice = random.Random(seed)
    workspaces = await fleet.add(Status.OFFLINE, 20)
    async with gateway(database) as (one, _), gateway(database) as (two, _):
        for _ in range(15):
            rates = [dice.choice((0.0, 0.3, 0.9)) for _ in range(80)]
            beats = [fleet.beat(dice.choice(workspaces), error_rate=rate) for rate in rates]
            await asyncio.gather(one.report_many(beats[:40]), two.report_many(beats[40:]))
    last: dict[UUID, str] = dict.fromkeys(workspaces, "offline")
    events = await fleet.events()
    for event in events:
        assert event.before is not None
        assert event.after is not None
        assert event.before["status"] == last[event.entity_id] != event.after["status"], f"seed {seed}"
        last[event.entity_id] = event.after["status"]
    assert await fleet.statuses() == last, f"seed {seed}"
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    assert len(events) > 40


async def test_beats_are_stored_and_answered_as_fast_without_a_broker(database: Database, fleet: BeatingFleet) -> None:
    broker = MemoryBroker()
    (workspace_id,) = await fleet.add(Status.OFFLINE)
    async with gateway(database, broker) as (intake, _):
        broker.stop()
        async with asyncio.timeout(promised(2)):
            assert (await intake.report(fleet.beat(workspace_id))).status is Status.ONLINE
        await until(lambda: intake.publisher.counters.failed_rounds > 0)
        broker.start()
        await intake.report(fleet.beat(workspace_id))
        await until(lambda: intake.publisher.counters.messages > 0)


async def test_a_beat_reaches_the_watchers_of_its_tenant_with_the_status_it_led_to(
    database: Database, fleet: BeatingFleet
) -> None:
    broker = MemoryBroker()
    other = await BeatingFleet.start(database)
    (mine,), (theirs,) = await fleet.add(Status.OFFLINE), await other.add(Status.OFFLINE)
    async with gateway(database, broker) as (intake, _), gateway(database, broker) as (_, bus):
        board = HeartbeatBoard(bus)
        async with board.subscribe(fleet.tenant_id, None, 0) as beats:
            await intake.report(other.beat(theirs))
            answer = await intake.report(fleet.beat(mine, error_rate=0.75, current_task="triage"))
            async with asyncio.timeout(DEADLINE):
                seen = await anext(beats)
    assert isinstance(seen, list)
    (beat,) = seen
    assert (beat.workspace_id, beat.status, beat.received_at) == (mine, Status.DEGRADED, answer.received_at)
    assert (beat.error_rate, beat.current_task) == (0.75, "triage")


async def test_a_change_that_could_not_be_committed_is_made_by_the_next_beat(
    database: Database, fleet: BeatingFleet
) -> None:
    other = await BeatingFleet.start(database)
    (mine,), (theirs,) = await fleet.add(Status.OFFLINE), await other.add(Status.OFFLINE)
    async with gateway(database) as (intake, _):
        async with database.session(fleet.tenant_id) as holder:
            await holder.execute(text("SELECT FROM tenant_streams FOR UPDATE"))
            waiting = asyncio.create_task(intake.report(fleet.beat(mine)))
            # The other tenant does not wait for this one's trouble.
            assert (await intake.report(other.beat(theirs))).status is Status.ONLINE
            assert not waiting.done()
            answer = await waiting
        assert answer.status is Status.OFFLINE
        assert (await fleet.row(mine)).last_heartbeat_at == answer.received_at
        assert await fleet.events() == []
        assert (await intake.report(fleet.beat(mine))).status is Status.ONLINE
    assert await fleet.kinds() == ["workspace.came_online"]


@pytest.mark.parametrize("change", [{"status": Status.PAUSED}, {"lease_epoch": 2}])
async def test_whoever_changed_the_row_since_the_beat_was_stored_wins(
    database: Database, fleet: BeatingFleet, change: dict[str, Any]
) -> None:
    (workspace_id,) = await fleet.add(Status.OFFLINE)
    await fleet.set(workspace_id, **change)
    transitions = BeatTransitions(database, Announced(), utcnow)
    statuses = await transitions.follow(fleet.tenant_id, {workspace_id: SeenRow(Status.OFFLINE, 1)})
    assert statuses == {workspace_id: change.get("status", Status.OFFLINE)}
    assert await fleet.events() == []


async def test_a_change_goes_by_the_newest_beat_and_not_by_the_one_that_called_for_it(
    database: Database, fleet: BeatingFleet
) -> None:
    (workspace_id,) = await fleet.add(Status.ONLINE, last_error_rate=0.05)
    transitions = BeatTransitions(database, Announced(), utcnow)
    statuses = await transitions.follow(fleet.tenant_id, {workspace_id: SeenRow(Status.ONLINE, 1)})
    assert statuses == {workspace_id: Status.ONLINE}
    assert await fleet.events() == []


async def test_an_unreachable_database_makes_beats_unavailable_and_nothing_else(fleet: BeatingFleet) -> None:
    urls = DatabaseUrls.for_roles("postgresql+asyncpg://nobody@/nowhere?host=/nonexistent")
    away = Database(urls, PoolOptions(wait_seconds=0.2))
    async with gateway(away) as (intake, _):
        with pytest.raises(Unavailable):
            await intake.report(fleet.beat(fleet.tenant_id))
        outcomes = await intake.report_many([fleet.beat(fleet.tenant_id), fleet.beat(fleet.tenant_id, error_rate=-1)])
        assert isinstance(outcomes[0], Unavailable)
        assert isinstance(outcomes[1], Refusal)
        assert intake.counters.unavailable == 2
    await away.close()


async def test_the_lease_is_kept_while_beats_are_taken_and_taken_anew_after_a_lapse(database: Database) -> None:
    await set_lease(database, taken_ago=100, lapses_in=5)
    async with gateway(database):
        await until_renewed(database)
        assert (await lease(database)).age >= 100
    await set_lease(database, taken_ago=100, lapses_in=-0.1)
    async with gateway(database):
        await until_renewed(database)
        assert (await lease(database)).age < 100


async def until_renewed(database: Database) -> None:
    async with asyncio.timeout(DEADLINE):
        while (await lease(database)).holder == "another":  # noqa: ASYNC110 - a row has no event to wait for
            await asyncio.sleep(0.01)


async def test_the_lease_is_not_renewed_while_beats_cannot_be_stored(
    database: Database, fleet: BeatingFleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The platform's pool is well and the intake's is not: silence must not be read from that."""
    monkeypatch.setattr(intake_lease, "RENEWAL_SECONDS", 0.05)
    (workspace_id,) = await fleet.add()
    urls = DatabaseUrls.for_roles("postgresql+asyncpg://nobody@/nowhere?host=/nonexistent")
    broken = Database(urls, PoolOptions(wait_seconds=0.2))
    broken.platform, nowhere = database.platform, broken.platform
    async with gateway(broken) as (intake, _):
        with pytest.raises(Unavailable):
            await intake.report(fleet.beat(workspace_id))
        await set_lease(database, taken_ago=100, lapses_in=60)
        tries = intake.lease.failures
        await until(lambda: intake.lease.failures > tries + 2)
        assert (await lease(database)).holder == "another"
        # Nobody beats, and yet the lease comes back once beats could be stored: an empty batch shows it.
        broken.ingest, unreachable = database.ingest, broken.ingest
        await until_renewed(database)
    broken.ingest, broken.platform = unreachable, nowhere
    await broken.close()


async def test_answers_of_a_mixed_batch_are_each_their_own(database: Database, fleet: BeatingFleet) -> None:
    (online,), (paused,) = await fleet.add(Status.OFFLINE), await fleet.add(Status.PAUSED)
    async with gateway(database) as (intake, _):
        outcomes = await intake.report_many([fleet.beat(paused), fleet.beat(online), fleet.beat(fleet.tenant_id)])
    statuses = [outcome.status if isinstance(outcome, BeatAnswer) else None for outcome in outcomes]
    assert statuses == [Status.PAUSED, Status.ONLINE, None]
