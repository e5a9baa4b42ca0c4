"""This module is where loaders are specified: keys become batches, and a batch belongs to one tenant and one moment."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text, update

from dataloaders.agents import agents_by_workspace
from dataloaders.base import MAX_BATCH, Asked, LoaderScope, by_id, rows_of
from dataloaders.registry import MAX_CHILDREN, line_of, tree_of, workspaces_by_parent
from models import Agent, Tenant, Workspace, WorkspaceStatus
from models.database import Database, TenantSession
from models.errors import Unavailable
from models.ids import NIL, uuid7
from subscriptions.shared_reads import SharedReads
from tests.conftest import counted
from tests.world import Fleet, Tenants


@pytest.fixture
async def fleet(database: Database, tenants: Tenants) -> Fleet:
    """Ten workspaces in a tree three wide, an agent in each."""
    fleet = Fleet(database, tenants.mine)
    await fleet.grow(10)
    return fleet


async def test_keys_asked_for_together_are_one_statement_and_stand_in_their_order(
    database: Database, tenants: Tenants, fleet: Fleet
) -> None:
    scope = LoaderScope(database, tenants.mine)
    wanted = [fleet.workspaces[7], NIL, fleet.workspaces[2], uuid7(), fleet.workspaces[7]]
    with counted(database) as statements:
        found = await scope.of(by_id(Workspace)).load_many(wanted)
    assert len(statements) == 1
    assert [row and row.id for row in found] == [wanted[0], None, wanted[2], None, wanted[0]]


async def test_callers_that_know_nothing_of_each_other_share_a_statement(
    database: Database, tenants: Tenants, fleet: Fleet
) -> None:
    scope = LoaderScope(database, tenants.mine)

    async def parent_of(one: UUID) -> UUID:
        row = await scope.of(by_id(Workspace)).load(one)
        parent: Workspace = await scope.of(by_id(Workspace)).load(row.parent_id)
        return parent.id

    with counted(database) as statements:
        parents = await asyncio.gather(*(parent_of(one) for one in fleet.workspaces[4:10]))
    assert parents == [fleet.workspaces[n] for n in (1, 1, 1, 2, 2, 2)]
    assert len(statements) == 2


async def test_whoever_asks_a_turn_later_is_still_in_the_batch(
    database: Database, tenants: Tenants, fleet: Fleet
) -> None:
    loader = LoaderScope(database, tenants.mine).of(by_id(Workspace))

    async def id_of(one: UUID, turns: int) -> UUID:
        for _ in range(turns):
            await asyncio.sleep(0)
        found: UUID = (await loader.load(one)).id
        return found

    with counted(database) as statements:
        ids = await asyncio.gather(id_of(fleet.workspaces[0], 0), id_of(fleet.workspaces[1], 1))
    assert list(ids) == fleet.workspaces[:2]
    assert len(statements) == 1


async def test_a_key_is_fetched_once_in_a_scope_and_again_in_a_fresh_one(
    database: Database, tenants: Tenants, fleet: Fleet
) -> None:
    scope = LoaderScope(database, tenants.mine)
    one = fleet.workspaces[0]
    with counted(database) as statements:
        first = await scope.of(by_id(Workspace)).load(one)
        assert await scope.of(by_id(Workspace)).load(one) is first
    assert len(statements) == 1
    async with database.session(tenants.mine) as session:
        await session.execute(update(Workspace).where(Workspace.id == one).values(name="renamed"))
        await session.commit()
    assert (await scope.of(by_id(Workspace)).load(one)).name == "place 000"
    assert (await LoaderScope(database, tenants.mine).of(by_id(Workspace)).load(one)).name == "renamed"


async def test_scopes_that_share_reads_share_them_within_their_tenant_only(
    database: Database, tenants: Tenants, fleet: Fleet
) -> None:
    shared: SharedReads[Asked, Sequence[Any]] = SharedReads(rows_of(database), "test")
    owners = [tenants.mine, tenants.mine, tenants.other]
    with counted(database) as statements:
        rows = await asyncio.gather(
            *(LoaderScope(database, one, shared.get).of(by_id(Workspace)).load(fleet.workspaces[0]) for one in owners)
        )
    assert [None if row is None else row.id for row in rows] == [fleet.workspaces[0], fleet.workspaces[0], None]
    assert len(statements) == 2
    await shared.stop()


async def test_no_statement_takes_more_than_a_thousand_keys(database: Database, tenants: Tenants, fleet: Fleet) -> None:
    scope = LoaderScope(database, tenants.mine)
    sizes: list[int] = []

    async def batch(session: TenantSession, keys: Sequence[UUID]) -> list[UUID]:
        sizes.append(len(keys))
        await session.execute(text("SELECT 1"))
        return list(keys)

    wanted = [uuid7() for _ in range(2 * MAX_BATCH + 1)]
    assert await scope.of(batch).load_many(wanted) == wanted
    assert sizes == [MAX_BATCH, MAX_BATCH, 1]


@pytest.mark.parametrize("model", [Workspace, Agent, Tenant])
async def test_another_tenants_rows_are_not_there(
    database: Database, tenants: Tenants, fleet: Fleet, model: type[Workspace | Agent | Tenant]
) -> None:
    async with database.session(tenants.mine) as session:
        ids = list(await session.scalars(text(f"SELECT id FROM {model.__tablename__}")))
    assert ids
    theirs = LoaderScope(database, tenants.other)
    assert all(row is None for row in await theirs.of(by_id(model)).load_many(ids))
    assert all(row is not None for row in await LoaderScope(database, tenants.mine).of(by_id(model)).load_many(ids))


@pytest.mark.parametrize("batch", [workspaces_by_parent, agents_by_workspace], ids=["children", "agents"])
async def test_another_tenants_lists_are_empty(
    database: Database, tenants: Tenants, fleet: Fleet, batch: object
) -> None:
    lists = await LoaderScope(database, tenants.other).of(batch).load_many(fleet.workspaces)  # type: ignore[arg-type,var-annotated]
    assert lists == [[] for _ in fleet.workspaces]


async def test_a_deleted_row_is_gone_unless_history_asks(database: Database, tenants: Tenants, fleet: Fleet) -> None:
    async with database.session(tenants.mine) as session:
        (one,) = await session.scalars(
            text("UPDATE agents SET deleted_at = now() WHERE name = 'agent_003' RETURNING id")
        )
        await session.commit()
    scope = LoaderScope(database, tenants.mine)
    assert await scope.of(by_id(Agent)).load(one) is None
    assert (await scope.of(by_id(Agent, even_deleted=True)).load(one)).name == "agent_003"
    assert await scope.of(agents_by_workspace).load(fleet.workspaces[3]) == []


async def test_a_failed_batch_fails_all_who_wait_and_nobody_after(
    database: Database, tenants: Tenants, fleet: Fleet
) -> None:
    scope = LoaderScope(database, tenants.mine)
    broken = True

    async def batch(session: TenantSession, keys: Sequence[UUID]) -> list[UUID]:
        if broken:
            await session.execute(text("SET LOCAL statement_timeout = 1"))
            await session.execute(text("SELECT pg_sleep(5)"))
        return list(keys)

    one, two, three = uuid7(), uuid7(), uuid7()
    failed = await asyncio.gather(*(scope.of(batch).load(key) for key in (one, two)), return_exceptions=True)
    assert [type(error) for error in failed] == [Unavailable, Unavailable]
    broken = False
    assert await scope.of(batch).load(three) == three


async def test_a_batch_of_the_wrong_size_is_an_error_and_not_a_mix_up(database: Database, tenants: Tenants) -> None:
    async def batch(_: TenantSession, keys: Sequence[UUID]) -> list[UUID]:
        return list(keys)[1:]

    with pytest.raises(ValueError, match="zip"):
        await LoaderScope(database, tenants.mine).of(batch).load_many([uuid7(), uuid7()])


@pytest.mark.parametrize("turns", range(4))
async def test_what_one_gave_up_another_still_gets(
    database: Database, tenants: Tenants, fleet: Fleet, turns: int
) -> None:
    loader = LoaderScope(database, tenants.mine).of(by_id(Workspace))
    given_up = asyncio.create_task(loader.load_many(fleet.workspaces[:2]), name="given up")
    for _ in range(turns):
        await asyncio.sleep(0)
    given_up.cancel()
    with pytest.raises(asyncio.CancelledError):
        await given_up
    found = await loader.load_many(fleet.workspaces[:3])
    assert [row.id for row in found] == fleet.workspaces[:3]


async def test_children_come_by_name_without_the_removed_and_no_more_than_a_page(
    database: Database, tenants: Tenants, fleet: Fleet
) -> None:
    root = fleet.workspaces[0]
    async with database.session(tenants.mine) as session:
        for number in range(MAX_CHILDREN + 5):
            session.add(Workspace(tenant_id=tenants.mine, name=f"child {number:03}", parent_id=root))
        session.add(
            Workspace(tenant_id=tenants.mine, name="a removed one", parent_id=root, status=WorkspaceStatus.REMOVED)
        )
        await session.commit()
    scope = LoaderScope(database, tenants.mine)
    with counted(database) as statements:
        of_root, of_leaf = await scope.of(workspaces_by_parent).load_many([root, fleet.workspaces[9]])
    assert [row.name for row in of_root] == [f"child {number:03}" for number in range(MAX_CHILDREN)]
    assert of_leaf == []
    assert len(statements) == 1


async def test_lines_and_trees_follow_the_parents_within_the_tenant(
    database: Database, tenants: Tenants, fleet: Fleet
) -> None:
    place = fleet.workspaces
    async with database.session(tenants.mine) as session:
        assert await line_of(session, place[9]) == [place[9], place[2], place[0]]
        tree = await tree_of(session, place[0])
        assert tree[0] == place[0]
        assert set(tree) == set(place)
        assert tree.index(place[2]) < tree.index(place[9])
    async with database.session(tenants.other) as session:
        assert await line_of(session, place[9]) == await tree_of(session, place[0]) == []
