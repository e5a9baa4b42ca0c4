"""This module is where the one statement that stores beats is specified, row by row."""

from __future__ import annotations

from datetime import timedelta
from itertools import product

import pytest
from sqlalchemy import text
from sqlalchemy.exc import ProgrammingError

from dataloaders.heartbeats import Reception, store_beats
from models import RuntimeState
from models import WorkspaceStatus as Status
from models.database import Database
from models.ids import NIL, uuid7
from models.registry import status_after_beat
from tests.resolvers.fleets import BeatingFleet, counted_statements


@pytest.fixture
async def fleet(database: Database) -> BeatingFleet:
    return await BeatingFleet.start(database)


async def test_a_beat_writes_its_columns_and_is_due_again_after_the_workspaces_own_ttl(fleet: BeatingFleet) -> None:
    (workspace_id,) = await fleet.add(heartbeat_ttl_seconds=7)
    beat = fleet.beat(
        workspace_id,
        runtime_state=RuntimeState.WEDGED,
        error_rate=0.25,
        active_tasks=3,
        uptime_seconds=2**53,
        current_task="triage",
        sample_error="rate limit \U0001f62e",
    )
    (stored,) = await store_beats(fleet.database, [beat])
    row = await fleet.row(workspace_id)
    assert stored.reception is Reception.STORED
    assert (stored.lease_epoch, stored.ttl_seconds, stored.received_at) == (1, 7, row.last_heartbeat_at)
    assert row.heartbeat_due_at == stored.received_at + timedelta(seconds=7)
    assert (row.last_error_rate, row.active_tasks, row.uptime_seconds) == (0.25, 3, 2**53)
    assert (row.current_task, row.last_sample_error) == ("triage", "rate limit \U0001f62e")
    assert row.runtime_state is RuntimeState.WEDGED


async def test_a_beat_changes_neither_status_nor_version_nor_the_event_counter(fleet: BeatingFleet) -> None:
    (workspace_id,) = await fleet.add(Status.OFFLINE)
    before = await fleet.row(workspace_id)
    (stored,) = await store_beats(fleet.database, [fleet.beat(workspace_id)])
    after = await fleet.row(workspace_id)
    assert (stored.status, stored.next_status) == (Status.OFFLINE, Status.ONLINE)
    assert (after.status, after.version, after.updated_at) == (Status.OFFLINE, before.version, before.updated_at)
    assert await fleet.head() == 0


async def test_the_statement_and_the_model_agree_on_every_combination(fleet: BeatingFleet) -> None:
    rates = (0.0, 0.05, 0.0999999, 0.1, 0.1000001, 0.3, 0.4999999, 0.5, 0.75, 1.0)
    combinations = list(product(Status, rates, RuntimeState))
    by_status = {status: await fleet.add(status, len(combinations) // len(Status)) for status in Status}
    beats = [
        fleet.beat(by_status[status].pop(), error_rate=rate, runtime_state=state)
        for status, rate, state in combinations
    ]
    stored = await store_beats(fleet.database, beats)
    assert [one.next_status for one in stored] == [status_after_beat(*combination) for combination in combinations]
    assert [one.status for one in stored] == [status for status, _, _ in combinations]


async def test_a_removed_workspace_stores_nothing_and_says_so_whatever_the_lease(fleet: BeatingFleet) -> None:
    (workspace_id,) = await fleet.add(Status.REMOVED, lease_epoch=4)
    beats = [fleet.beat(workspace_id, lease_epoch=epoch) for epoch in (None, 1, 4)]
    stored = await store_beats(fleet.database, beats)
    assert [one.reception for one in stored] == [Reception.REMOVED] * 3
    assert (await fleet.row(workspace_id)).last_heartbeat_at is None


@pytest.mark.parametrize("status", [Status.PAUSED, Status.HIBERNATED])
async def test_a_settled_workspace_stores_its_beat_and_stays_settled(fleet: BeatingFleet, status: Status) -> None:
    (workspace_id,) = await fleet.add(status)
    (stored,) = await store_beats(fleet.database, [fleet.beat(workspace_id, error_rate=1.0)])
    assert (stored.reception, stored.next_status) == (Reception.STORED, status)
    assert (await fleet.row(workspace_id)).last_heartbeat_at == stored.received_at


async def test_an_older_lease_is_fenced_and_writes_nothing(fleet: BeatingFleet) -> None:
    (workspace_id,) = await fleet.add(lease_epoch=3)
    (stored,) = await store_beats(fleet.database, [fleet.beat(workspace_id, lease_epoch=2, error_rate=1.0)])
    assert (stored.reception, stored.lease_epoch) == (Reception.FENCED, 3)
    assert (await fleet.row(workspace_id)).last_heartbeat_at is None


@pytest.mark.parametrize("epoch", [None, 3, 4])
async def test_no_lease_the_present_one_and_a_later_one_are_good(fleet: BeatingFleet, epoch: int | None) -> None:
    (workspace_id,) = await fleet.add(lease_epoch=3)
    (stored,) = await store_beats(fleet.database, [fleet.beat(workspace_id, lease_epoch=epoch)])
    assert stored.reception is Reception.STORED


async def test_of_two_beats_of_one_workspace_the_newer_is_kept_and_both_are_answered(fleet: BeatingFleet) -> None:
    (workspace_id,) = await fleet.add()
    stored = await store_beats(fleet.database, [fleet.beat(workspace_id, active_tasks=n) for n in (1, 2, 3)])
    assert [one.reception for one in stored] == [Reception.STORED] * 3
    assert (await fleet.row(workspace_id)).active_tasks == 3


async def test_a_fenced_beat_does_not_win_over_an_earlier_good_one(fleet: BeatingFleet) -> None:
    (workspace_id,) = await fleet.add(lease_epoch=2)
    beats = [fleet.beat(workspace_id, lease_epoch=2, active_tasks=1), fleet.beat(workspace_id, lease_epoch=1)]
    stored = await store_beats(fleet.database, beats)
    assert [one.reception for one in stored] == [Reception.STORED, Reception.FENCED]
    assert (await fleet.row(workspace_id)).active_tasks == 1


async def test_an_unknown_a_malformed_and_another_tenants_workspace_are_one_answer(fleet: BeatingFleet) -> None:
    other = await BeatingFleet.start(fleet.database)
    (theirs,) = await other.add(lease_epoch=5)
    stored = await store_beats(fleet.database, [fleet.beat(uuid7()), fleet.beat(NIL), fleet.beat(theirs)])
    assert [one.reception for one in stored] == [Reception.UNKNOWN] * 3
    assert stored[0] == stored[1] == stored[2]
    assert (await other.row(theirs)).last_heartbeat_at is None


async def test_a_row_that_somebody_holds_is_skipped_at_once_and_the_others_are_stored(fleet: BeatingFleet) -> None:
    held, free = await fleet.add(count=2)
    async with fleet.holding(held):
        stored = await store_beats(fleet.database, [fleet.beat(held), fleet.beat(free), fleet.beat(uuid7())])
    assert [one.reception for one in stored] == [Reception.LOCKED, Reception.STORED, Reception.UNKNOWN]


async def test_a_row_that_somebody_only_points_to_is_not_skipped(fleet: BeatingFleet) -> None:
    (workspace_id,) = await fleet.add()
    async with fleet.holding(workspace_id, "FOR KEY SHARE"):
        (stored,) = await store_beats(fleet.database, [fleet.beat(workspace_id)])
    assert stored.reception is Reception.STORED


async def test_beats_of_any_number_of_tenants_are_one_statement(database: Database) -> None:
    fleets = [await BeatingFleet.start(database) for _ in range(5)]
    beats = [fleet.beat(one) for fleet in fleets for one in await fleet.add(count=4)]
    with counted_statements(database, "ingest", "app", "platform") as statements:
        stored = await store_beats(database, beats)
    assert len(statements) == 1
    assert [one.reception for one in stored] == [Reception.STORED] * 20


async def test_no_beats_are_a_statement_too_which_proves_the_way_to_the_database(database: Database) -> None:
    with counted_statements(database, "ingest") as statements:
        assert await store_beats(database, []) == []
    assert len(statements) == 1


@pytest.mark.parametrize("column", ["status = 'online'", "lease_epoch = 9", "version = 9", "name = 'x'", "url = 'x'"])
async def test_the_role_that_stores_beats_can_write_nothing_else(database: Database, column: str) -> None:
    with pytest.raises(ProgrammingError, match="permission denied"):
        async with database.connection(database.ingest) as connection:
            await connection.execute(text(f"UPDATE workspaces SET {column}"))
