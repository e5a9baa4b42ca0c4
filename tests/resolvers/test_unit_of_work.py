"""This module is where a mutation's one transaction is specified: rows, then events, then COMMIT, then the wake-up."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import delete, select, text

from models import Agent, AgentType, AuditHead, Event, EventTopic, Scope, Tenant, TenantStream, Workspace, utcnow
from models.database import Database, DatabaseUrls, PoolOptions
from models.errors import Refusal, RefusalCode, Unavailable
from models.ids import NIL, uuid7
from resolvers.unit_of_work import UnitOfWork, unit_of_work
from subscriptions.log import Envelope
from tests.conftest import counted
from tests.resolvers.fleets import BeatingFleet
from tests.resolvers.people import Announced
from tests.world import AUDIT, Tenants

WRITERS = 16


def change(row_id: UUID, kind: str = "workspace.created", **given: Any) -> Envelope:
    """A change of a workspace."""
    said: dict[str, Any] = {"before": None, "after": {"id": str(row_id)}, "structure": "WORKSPACE_ONLINE", **given}
    return Envelope(
        topic=EventTopic.REGISTRY,
        kind=kind,
        entity_type="workspace",
        entity_id=row_id,
        required_scope=Scope.WORKSPACES_READ,
        workspace_id=row_id,
        **said,
    )


class House:
    """Units of work of one tenant, and what was said of them."""

    def __init__(self, database: Database, tenant_id: UUID) -> None:
        self.database = database
        self.fleet = BeatingFleet(database, tenant_id)
        self.announced = Announced()

    def work(self) -> AbstractAsyncContextManager[UnitOfWork]:
        """A unit of work of somebody."""
        actor = ("user", uuid7())
        return unit_of_work(self.database, self.announced, utcnow, self.fleet.tenant_id, actor)

    async def create(self, *kinds: str) -> UUID:
        """A workspace with these events."""
        row = Workspace(id=uuid7(), name="place")
        async with self.work() as work:
            work.add(row)
            for kind in kinds:
                work.record(change(row.id, kind))
        return row.id


@pytest.fixture
def house(database: Database, tenants: Tenants) -> House:
    """The tenant's."""
    return House(database, tenants.mine)


async def test_rows_and_events_commit_together_and_are_announced(house: House) -> None:
    row_id = await house.create("workspace.created", "workspace.named")
    events = await house.fleet.events()
    assert [(one.seq, one.kind, one.entity_id) for one in events] == [
        (1, "workspace.created", row_id),
        (2, "workspace.named", row_id),
    ]
    assert await house.fleet.structure() == [("WORKSPACE_ONLINE", row_id, 1), ("WORKSPACE_ONLINE", row_id, 2)]
    assert (await house.fleet.row(row_id)).name == "place"
    assert house.announced.heard == [(house.fleet.tenant_id, 2)]


async def test_sixteen_writers_at_once_number_their_events_without_a_hole(migrated: str, tenants: Tenants) -> None:
    wide = Database(DatabaseUrls.for_roles(migrated), PoolOptions(size=WRITERS), AUDIT)
    house = House(wide, tenants.mine)

    async def write(writer: int) -> list[UUID]:
        return [await house.create(*[f"writer{writer}.wrote"] * (1 + turn % 3)) for turn in range(6)]

    made = await asyncio.gather(*(write(writer) for writer in range(WRITERS)))
    events = await house.fleet.events()
    assert [one.seq for one in events] == list(range(1, WRITERS * 12 + 1))
    assert await house.fleet.head() == len(events)
    assert {one.entity_id for one in events} == {row_id for rows in made for row_id in rows}
    # Events of one transaction stand together, and a writer's own in the order it committed them.
    for rows in made:
        places = [[one.seq for one in events if one.entity_id == row_id] for row_id in rows]
        assert all(seqs == list(range(seqs[0], seqs[0] + len(seqs))) for seqs in places)
        assert places == sorted(places)
    assert max(seq for _, seq in house.announced.heard) == len(events)
    assert [seq for _, _, seq in await house.fleet.structure()] == [one.seq for one in events]
    await wide.close()


async def test_nothing_follows_the_counter_but_its_events(house: House, database: Database) -> None:
    with counted(database) as statements:
        await house.create("workspace.created", "workspace.named")
    kinds = [" ".join(one.split()[:3]) for one in statements]
    assert kinds == [
        "INSERT INTO workspaces",
        "SELECT person_keys.person_id, person_keys.wrapped",
        "INSERT INTO person_keys",
        "SELECT audit_heads.seq, audit_heads.last_id,",
        "INSERT INTO audit_logs",
        "UPDATE audit_heads SET",
        "UPDATE tenant_streams SET",
        "INSERT INTO events",
        "INSERT INTO structure_events",
    ]


@pytest.mark.parametrize(
    "error", [Refusal(RefusalCode.INVALID, "no"), RuntimeError("a defect"), asyncio.CancelledError()]
)
async def test_what_is_refused_breaks_or_is_cancelled_leaves_nothing(house: House, error: BaseException) -> None:
    row = Workspace(id=uuid7(), name="never")
    with pytest.raises(type(error)):
        async with house.work() as work:
            work.add(row)
            work.record(change(row.id))
            await work.session.flush()
            raise error
    assert await house.fleet.statuses() == {}
    assert await house.fleet.events() == []
    assert await house.fleet.head() == 0
    assert house.announced.heard == []


async def test_an_event_that_cannot_be_numbered_takes_its_rows_along(database: Database) -> None:
    tenant_id = uuid7()
    async with database.session(tenant_id) as session:
        session.add(Tenant(id=tenant_id, name="Without a log", slug=f"t-{tenant_id}"))
        session.add(AuditHead(tenant_id=tenant_id))
        await session.commit()
    house = House(database, tenant_id)
    with pytest.raises(RuntimeError, match="no event counter"):
        await house.create("workspace.created")
    assert await house.fleet.statuses() == {}
    assert house.announced.heard == []


async def test_the_wake_up_comes_after_the_commit(house: House) -> None:
    under_way: list[bool] = []
    works: list[UnitOfWork] = []

    class Listening:
        def announce(self, tenant_id: UUID, seq: int) -> None:
            under_way.append(works[0].session.in_transaction())

    async with unit_of_work(house.database, Listening(), utcnow, house.fleet.tenant_id, None) as work:
        works.append(work)
        work.record(change(uuid7()))
        assert work.session.in_transaction() or under_way == []
    assert under_way == [False]
    assert await house.fleet.head() == 1


async def test_work_that_tells_nothing_bumps_nothing_and_wakes_nobody(house: House, database: Database) -> None:
    with counted(database) as statements:
        async with house.work() as work:
            work.add(Workspace(name="quiet"))
    assert len(statements) == 1
    assert await house.fleet.head() == 0
    assert house.announced.heard == []


async def test_a_tenant_that_commits_makes_no_other_tenant_wait(
    house: House, database: Database, tenants: Tenants
) -> None:
    other = House(database, tenants.other)
    async with database.session(tenants.mine) as holder:
        await holder.execute(select(TenantStream).with_for_update())
        await other.create("workspace.created")
        with pytest.raises(Unavailable):
            async with house.work() as work:
                await work.session.execute(text("SET LOCAL lock_timeout = 10"))
                work.record(change(uuid7()))
    assert await other.fleet.head() == 1
    assert await house.fleet.head() == 0


async def test_what_is_added_belongs_to_the_tenant_of_the_work(house: House, tenants: Tenants) -> None:
    row = Workspace(tenant_id=tenants.other, id=uuid7(), name="stray")
    async with house.work() as work:
        work.add(row)
    assert list(await house.fleet.statuses()) == [row.id]


async def _refusal(house: House, row_id: UUID, model: Any = Workspace, **given: Any) -> Refusal:
    with pytest.raises(Refusal) as refused:
        async with house.work() as work:
            await work.locked(model, row_id, **given)
    return refused.value


async def test_a_row_that_is_unknown_foreign_or_deleted_is_not_found_in_the_same_words(
    house: House, database: Database, tenants: Tenants
) -> None:
    theirs = await House(database, tenants.other).create()
    gone = Agent(id=uuid7(), name="gone", type=AgentType.LLM, deleted_at=utcnow())
    async with house.work() as work:
        work.add(gone)
    refusals = [await _refusal(house, one) for one in (NIL, uuid7(), theirs)]
    assert {(one.code, one.message, one.field) for one in refusals} == {
        (RefusalCode.NOT_FOUND, "There is no such workspace.", ("input", "id"))
    }
    assert (await _refusal(house, gone.id, Agent)).code is RefusalCode.NOT_FOUND


async def test_a_row_that_has_changed_is_a_conflict_that_shows_how_it_stands(house: House) -> None:
    row_id = await house.create()
    async with house.work() as work:
        (await work.locked(Workspace, row_id, expected_version=1)).name = "renamed"
    refusal = await _refusal(house, row_id, expected_version=1)
    assert refusal.code is RefusalCode.CONFLICT
    assert refusal.field == ("input", "expectedVersion")
    assert isinstance(refusal.current, Workspace)
    assert (refusal.current.name, refusal.current.version) == ("renamed", 2)


async def test_two_that_change_one_row_take_turns(house: House) -> None:
    row_id = await house.create()

    async def grow() -> None:
        async with house.work() as work:
            row = await work.locked(Workspace, row_id)
            row.active_tasks += 1
            work.record(change(row_id, "workspace.updated"))

    await asyncio.gather(*(grow() for _ in range(8)))
    row = await house.fleet.row(row_id)
    assert (row.active_tasks, row.version) == (8, 9)
    assert await house.fleet.kinds() == ["workspace.updated"] * 8


async def test_a_row_removed_behind_its_back_is_not_found(house: House, database: Database) -> None:
    row_id = await house.create()
    async with database.session(house.fleet.tenant_id) as session:
        await session.execute(delete(Workspace).where(Workspace.id == row_id))
        await session.commit()
    assert (await _refusal(house, row_id)).code is RefusalCode.NOT_FOUND


@pytest.mark.parametrize("column", ["actor_type", "actor_id", "occurred_at"])
async def test_an_event_says_who_acted_and_when(house: House, column: str) -> None:
    now, who = utcnow(), ("user", uuid7())
    clock: Callable[[], Any] = lambda: now  # noqa: E731
    async with unit_of_work(house.database, house.announced, clock, house.fleet.tenant_id, who) as work:
        work.record(change(uuid7()))
        work.record(change(uuid7()))
    expected = {"actor_type": who[0], "actor_id": who[1], "occurred_at": now}
    events: list[Event] = await house.fleet.events()
    assert [getattr(one, column) for one in events] == [expected[column]] * 2
