"""This module is where taking beats in is specified: what an agent is answered, and what its beat sets off."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator

import pytest

from models import RuntimeState, utcnow
from models import WorkspaceStatus as Status
from models.database import Database
from models.errors import Refusal, RefusalCode, Unavailable
from models.ids import NIL, uuid7
from resolvers import heartbeats
from resolvers.heartbeats import Beat, BeatAnswer, HeartbeatIntake
from subscriptions.bus import Bus
from tests.patience import promised
from tests.resolvers.fleets import BeatingFleet, counted_statements
from tests.resolvers.people import Announced


@pytest.fixture
async def fleet(database: Database) -> BeatingFleet:
    return await BeatingFleet.start(database)


@pytest.fixture
async def bus() -> AsyncIterator[Bus]:
    bus = Bus.from_url("memory://")
    await bus.start()
    yield bus
    await bus.stop()


@pytest.fixture
def announced() -> Announced:
    return Announced()


@pytest.fixture
async def intake(database: Database, bus: Bus, announced: Announced) -> AsyncIterator[HeartbeatIntake]:
    intake = HeartbeatIntake(database, bus, announced, utcnow)
    intake.start()
    yield intake
    await intake.stop()


async def refused(intake: HeartbeatIntake, beat: Beat) -> Refusal:
    with pytest.raises(Refusal) as refusal:
        await intake.report(beat)
    return refusal.value


@pytest.mark.parametrize("status", [Status.PROVISIONING, Status.AWAITING_AGENT, Status.OFFLINE, Status.FAILED])
async def test_the_first_beat_brings_a_workspace_online_and_tells_of_it_once(
    fleet: BeatingFleet, intake: HeartbeatIntake, announced: Announced, status: Status
) -> None:
    (workspace_id,) = await fleet.add(status, name="Marketing", role="writes", tier=1)
    answer = await intake.report(fleet.beat(workspace_id))
    assert (answer.workspace_id, answer.status, answer.lease_epoch) == (workspace_id, Status.ONLINE, 1)
    assert (await intake.report(fleet.beat(workspace_id))).status is Status.ONLINE
    (event,) = await fleet.events()
    assert (event.kind, event.topic.value, event.entity_id) == ("workspace.came_online", "registry", workspace_id)
    assert (event.actor_type, event.required_scope) == (None, "workspaces:read")
    facets = {"id": str(workspace_id), "tier": 1, "parent_id": None, "search": ["Marketing", "writes"]}
    assert event.before == facets | {"status": status.value}
    assert event.after == facets | {"status": "online"}
    assert await fleet.structure() == [("WORKSPACE_ONLINE", workspace_id, event.seq)]
    assert announced.heard == [(fleet.tenant_id, 1)]


async def test_a_change_by_a_beat_raises_the_version_and_a_beat_alone_does_not(
    fleet: BeatingFleet, intake: HeartbeatIntake
) -> None:
    (workspace_id,) = await fleet.add()
    before = (await fleet.row(workspace_id)).version
    await intake.report(fleet.beat(workspace_id))
    assert (await fleet.row(workspace_id)).version == before
    await intake.report(fleet.beat(workspace_id, error_rate=0.5))
    row = await fleet.row(workspace_id)
    assert (row.version, row.status) == (before + 1, Status.DEGRADED)


async def test_errors_degrade_and_only_few_errors_recover(fleet: BeatingFleet, intake: HeartbeatIntake) -> None:
    (workspace_id,) = await fleet.add()
    rates = (0.49, 0.5, 0.3, 0.1, 0.09, 0.3)
    answers = [await intake.report(fleet.beat(workspace_id, error_rate=rate)) for rate in rates]
    on, degraded = Status.ONLINE, Status.DEGRADED
    assert [answer.status for answer in answers] == [on, degraded, degraded, degraded, on, on]
    assert await fleet.kinds() == ["workspace.degraded", "workspace.came_online"]


async def test_a_wedged_runtime_is_degraded_without_any_error(fleet: BeatingFleet, intake: HeartbeatIntake) -> None:
    (workspace_id,) = await fleet.add()
    wedged = await intake.report(fleet.beat(workspace_id, runtime_state=RuntimeState.WEDGED))
    freed = await intake.report(fleet.beat(workspace_id, runtime_state=RuntimeState.NORMAL))
    assert (wedged.status, freed.status) == (Status.DEGRADED, Status.ONLINE)
    assert [kind for kind, _, _ in await fleet.structure()] == ["WORKSPACE_DEGRADED", "WORKSPACE_ONLINE"]


@pytest.mark.parametrize("status", [Status.PAUSED, Status.HIBERNATED, Status.REMOVED])
async def test_the_agent_of_a_settled_workspace_learns_its_status_and_changes_nothing(
    fleet: BeatingFleet, intake: HeartbeatIntake, status: Status
) -> None:
    (workspace_id,) = await fleet.add(status, lease_epoch=7)
    answer = await intake.report(fleet.beat(workspace_id, lease_epoch=7, error_rate=1))
    assert (answer.status, answer.lease_epoch) == (status, 7)
    assert (await fleet.row(workspace_id)).status is status
    assert await fleet.events() == []


async def test_the_agent_of_a_removed_workspace_learns_it_with_its_old_lease_too(
    fleet: BeatingFleet, intake: HeartbeatIntake
) -> None:
    (workspace_id,) = await fleet.add(Status.REMOVED, lease_epoch=2)
    assert (await intake.report(fleet.beat(workspace_id, lease_epoch=1))).status is Status.REMOVED


async def test_a_replaced_runtime_is_fenced(fleet: BeatingFleet, intake: HeartbeatIntake) -> None:
    (workspace_id,) = await fleet.add(lease_epoch=2)
    refusal = await refused(intake, fleet.beat(workspace_id, lease_epoch=1, error_rate=1))
    assert (refusal.code, refusal.field) == (RefusalCode.FENCED, ("input", "leaseEpoch"))
    assert await fleet.events() == []


async def test_a_malformed_an_unknown_and_another_tenants_workspace_get_one_answer(
    database: Database, fleet: BeatingFleet, intake: HeartbeatIntake
) -> None:
    other = await BeatingFleet.start(database)
    (theirs,) = await other.add(Status.OFFLINE)
    refusals = [await refused(intake, fleet.beat(one)) for one in (NIL, uuid7(), theirs)]
    assert {(one.code, one.message, one.field) for one in refusals} == {
        (RefusalCode.NOT_FOUND, "There is no such workspace.", ("input", "workspaceId"))
    }
    assert (await other.row(theirs)).last_heartbeat_at is None
    assert await other.events() == []


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("errorRate", {"error_rate": -0.01}),
        ("errorRate", {"error_rate": 1.01}),
        ("errorRate", {"error_rate": math.nan}),
        ("errorRate", {"error_rate": math.inf}),
        ("errorRate", {"error_rate": -math.inf}),
        ("activeTasks", {"active_tasks": -1}),
        ("activeTasks", {"active_tasks": 1_000_001}),
        ("uptimeSeconds", {"uptime_seconds": -1}),
        ("uptimeSeconds", {"uptime_seconds": 2**53 + 1}),
        ("leaseEpoch", {"lease_epoch": -1}),
        ("leaseEpoch", {"lease_epoch": 2**31}),
        ("currentTask", {"current_task": "x" * 1001}),
        ("currentTask", {"current_task": "a\0b"}),
        ("sampleError", {"sample_error": "\ud800"}),
    ],
)
async def test_a_bad_value_is_refused_by_name_and_spoils_nothing_for_the_others(
    fleet: BeatingFleet, intake: HeartbeatIntake, field: str, values: dict[str, object]
) -> None:
    good, bad = await fleet.add(count=2)
    outcomes = await intake.report_many([fleet.beat(good), fleet.beat(bad, **values), fleet.beat(good)])
    refusal = outcomes[1]
    assert isinstance(refusal, Refusal)
    assert (refusal.code, refusal.field) == (RefusalCode.INVALID, ("input", field))
    assert [type(outcome) for outcome in outcomes] == [BeatAnswer, Refusal, BeatAnswer]
    assert (await fleet.row(bad)).last_heartbeat_at is None


async def test_the_largest_values_are_good(fleet: BeatingFleet, intake: HeartbeatIntake) -> None:
    (workspace_id,) = await fleet.add()
    text = "\U0001f62e" * 1000
    await intake.report(
        fleet.beat(
            workspace_id,
            error_rate=1,
            active_tasks=1_000_000,
            uptime_seconds=2**53,
            current_task=text,
            sample_error=text,
        )
    )
    row = await fleet.row(workspace_id)
    assert (row.last_error_rate, row.uptime_seconds, row.current_task) == (1.0, 2**53, text)


async def test_ten_thousand_beats_with_one_bad_one_are_all_answered_in_their_order(
    fleet: BeatingFleet, intake: HeartbeatIntake
) -> None:
    workspaces = await fleet.add(Status.OFFLINE, 100)
    beats = [fleet.beat(workspaces[n % 100], error_rate=math.nan if n == 5000 else 0) for n in range(10_000)]
    outcomes = await intake.report_many(beats)
    assert isinstance(outcomes[5000], Refusal)
    for n, outcome in enumerate(outcomes):
        if n != 5000:
            assert isinstance(outcome, BeatAnswer)
            assert outcome.workspace_id == workspaces[n % 100]
            assert outcome.status is Status.ONLINE
    assert await fleet.kinds() == ["workspace.came_online"] * 100


async def test_a_row_that_is_held_for_a_moment_is_stored_by_a_later_batch(
    fleet: BeatingFleet, intake: HeartbeatIntake
) -> None:
    held, free = await fleet.add(count=2)
    async with fleet.holding(held):
        waiting = asyncio.create_task(intake.report(fleet.beat(held)))
        await intake.report(fleet.beat(free))
        await intake.report(fleet.beat(free))
        assert not waiting.done()
        assert intake.counters.locked_again > 0
    assert (await waiting).status is Status.ONLINE


async def test_a_row_that_stays_held_is_answered_unavailable(
    fleet: BeatingFleet, intake: HeartbeatIntake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heartbeats, "_LOCKED_SECONDS", 0.4)
    (workspace_id,) = await fleet.add()
    async with fleet.holding(workspace_id):
        with pytest.raises(Unavailable):
            await intake.report(fleet.beat(workspace_id))


async def test_more_beats_than_there_is_room_for_are_turned_away_at_once(
    fleet: BeatingFleet, intake: HeartbeatIntake
) -> None:
    (workspace_id,) = await fleet.add()
    with pytest.raises(Unavailable):
        await intake.report_many([fleet.beat(workspace_id)] * 20_001)
    assert intake.counters.turned_away == 20_001
    assert (await intake.report(fleet.beat(workspace_id))).status is Status.ONLINE


async def test_what_waits_at_the_stop_is_stored_and_what_comes_after_is_unavailable(
    database: Database, bus: Bus, announced: Announced, fleet: BeatingFleet
) -> None:
    (workspace_id,) = await fleet.add(Status.OFFLINE)
    before = asyncio.all_tasks()
    intake = HeartbeatIntake(database, bus, announced, utcnow, max_wait_seconds=30)
    intake.start()
    waiting = asyncio.create_task(intake.report(fleet.beat(workspace_id)))
    await asyncio.sleep(0)
    async with asyncio.timeout(promised(2)):
        await intake.stop()
    assert (await waiting).status is Status.ONLINE
    assert await fleet.kinds() == ["workspace.came_online"]
    with pytest.raises(Unavailable):
        await intake.report(fleet.beat(workspace_id))
    running = {task.get_name() for task in asyncio.all_tasks() - before}
    assert not running & {"heartbeat-intake", "heartbeat-lease", "beat-publisher"}


async def test_a_caller_who_leaves_takes_nobody_along(fleet: BeatingFleet, intake: HeartbeatIntake) -> None:
    gone, here = await fleet.add(count=2)
    leaving = asyncio.create_task(intake.report(fleet.beat(gone)))
    staying = asyncio.create_task(intake.report(fleet.beat(here)))
    await asyncio.sleep(0)
    leaving.cancel()
    assert (await staying).status is Status.ONLINE
    assert (await fleet.row(gone)).last_heartbeat_at is not None


async def test_beats_cost_at_most_ten_statements_a_second_whatever_their_number_and_the_number_of_tenants(
    database: Database, intake: HeartbeatIntake
) -> None:
    fleets = [await BeatingFleet.start(database) for _ in range(20)]
    places = [(fleet, one) for fleet in fleets for one in await fleet.add(count=10)]
    loop = asyncio.get_running_loop()
    began_at, rounds = loop.time(), 0
    with counted_statements(database, "ingest", "platform", "app") as statements:
        while loop.time() < began_at + 2:
            # Each its own request, every agent beating as fast as it is answered.
            await asyncio.gather(*(intake.report(fleet.beat(one)) for fleet, one in places))
            rounds += 1
        took = loop.time() - began_at
    assert rounds >= 4
    assert len(statements) <= 10 * took, f"{len(statements)} statements in {took:.1f} s for {rounds * 200} beats"
