"""This module is where numbering is specified: contiguous, in the order of commits, and the last thing before them."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select, text

from models import Event, EventTopic, Scope, StructureEvent, Workspace, utcnow
from models.database import Database
from models.errors import Unavailable
from models.ids import uuid7
from subscriptions.log import Envelope, append
from tests.conftest import counted
from tests.patience import DEADLINE
from tests.world import Fleet, Tenants


def envelope(**given: Any) -> Envelope:
    """A change of a workspace."""
    said: dict[str, Any] = {
        "topic": EventTopic.STRUCTURE,
        "kind": "workspace.moved",
        "entity_type": "workspace",
        "entity_id": uuid7(),
        "required_scope": Scope.WORKSPACES_READ,
        "before": None,
        "after": None,
    }
    return Envelope(**(said | given))


async def commit(database: Database, tenant_id: UUID, *envelopes: Envelope) -> int:
    """Append and commit; the last seq."""
    async with database.session(tenant_id) as session:
        last = await append(session, envelopes, None, utcnow())
        await session.commit()
    return last


async def test_numbers_go_on_where_the_last_commit_stopped(database: Database, tenants: Tenants) -> None:
    assert await commit(database, tenants.mine, envelope(), envelope()) == 2
    assert await commit(database, tenants.mine, envelope()) == 3
    assert await commit(database, tenants.other, envelope()) == 1


async def test_an_event_keeps_its_whole_envelope(database: Database, tenants: Tenants) -> None:
    given: dict[str, Any] = {
        "before": {"status": "online", "tier": 2},
        "after": None,
        "payload": {"changed": ["name"]},
        "owner_user_id": uuid7(),
        "workspace_id": uuid7(),
    }
    actor, now = ("key", uuid7()), utcnow()
    said = envelope(structure="WORKSPACE_MOVED", agent_id=uuid7(), target_id=uuid7(), **given)
    async with database.session(tenants.mine) as session:
        await append(session, [said], actor, now)
        await session.commit()
        event = (await session.scalars(select(Event))).one()
        structure = (await session.scalars(select(StructureEvent))).one()
    assert {name: getattr(event, name) for name in given} == given
    assert (event.topic, event.kind, event.required_scope) == (said.topic, said.kind, "workspaces:read")
    assert (event.entity_type, event.entity_id) == ("workspace", said.entity_id)
    assert (event.actor_type, event.actor_id, event.occurred_at) == (*actor, now)
    assert (structure.seq, structure.event_type) == (event.seq, "WORKSPACE_MOVED")
    assert (structure.workspace_id, structure.agent_id, structure.target_id) == (
        said.workspace_id,
        said.agent_id,
        said.target_id,
    )


async def test_a_change_that_is_not_of_the_structure_leaves_no_structure_event(
    database: Database, tenants: Tenants
) -> None:
    await commit(database, tenants.mine, envelope(), envelope(structure="WORKSPACE_MOVED"), envelope())
    async with database.session(tenants.mine) as session:
        assert [row.seq for row in await session.scalars(select(StructureEvent))] == [2]


async def test_a_thousand_events_cost_what_one_costs(database: Database, tenants: Tenants) -> None:
    with counted(database) as statements:
        await commit(database, tenants.mine, *(envelope(structure="WORKSPACE_MOVED") for _ in range(1000)))
    assert len(statements) == 3
    assert "UPDATE tenant_streams" in statements[0]


async def test_rows_that_are_not_flushed_yet_are_refused(database: Database, tenants: Tenants) -> None:
    await Fleet(database, tenants.mine).grow(1)
    async with database.session(tenants.mine) as session:
        row = (await session.scalars(select(Workspace))).one()
        row.name = "changed"
        with pytest.raises(RuntimeError, match="flushed"):
            await append(session, [envelope()], None, utcnow())
        await session.flush()
        session.add(Workspace(tenant_id=tenants.mine, name="new"))
        with pytest.raises(RuntimeError, match="flushed"):
            await append(session, [envelope()], None, utcnow())


async def test_a_row_that_is_changed_after_the_numbering_is_not_written(database: Database, tenants: Tenants) -> None:
    await Fleet(database, tenants.mine).grow(1)
    async with database.session(tenants.mine) as session:
        row = (await session.scalars(select(Workspace))).one()
        await append(session, [envelope()], None, utcnow())
        row.name = "too late"
        await session.commit()
    async with database.session(tenants.mine) as session:
        assert await session.scalar(select(Workspace.name)) == "place 000"


async def test_numbers_become_visible_in_their_order_however_writers_interleave(
    database: Database, tenants: Tenants
) -> None:
    numbered = asyncio.Event()
    finish = asyncio.Event()

    async def first() -> None:
        async with database.session(tenants.mine) as session:
            await append(session, [envelope(kind="first.made")], None, utcnow())
            numbered.set()
            await finish.wait()
            await session.commit()

    writing = asyncio.create_task(first(), name="first writer")
    async with asyncio.timeout(DEADLINE):
        await numbered.wait()
        second = asyncio.create_task(commit(database, tenants.mine, envelope(kind="second.made")), name="second")
        async with database.session(tenants.mine) as session:
            # The second can not be numbered while the first is not committed, so nobody reads 2 before 1.
            await session.execute(text("SET LOCAL lock_timeout = 20"))
            with pytest.raises(Unavailable):
                async with database.session(tenants.mine) as third:
                    await third.execute(text("SET LOCAL lock_timeout = 20"))
                    await append(third, [envelope(kind="third.made")], None, utcnow())
            assert list(await session.scalars(select(Event.seq))) == []
        assert not second.done()
        finish.set()
        await writing
        assert await second == 2
    async with database.session(tenants.mine) as session:
        kinds = list(await session.scalars(select(Event.kind).order_by(Event.seq)))
    assert kinds == ["first.made", "second.made"]


async def test_a_rolled_back_number_is_given_again(database: Database, tenants: Tenants) -> None:
    async with database.session(tenants.mine) as session:
        assert await append(session, [envelope()], None, utcnow()) == 1
    assert await commit(database, tenants.mine, envelope()) == 1


async def test_a_tenant_without_a_counter_is_told(database: Database) -> None:
    async with database.session(uuid7()) as session:
        with pytest.raises(RuntimeError, match="no event counter"):
            await append(session, [envelope()], None, utcnow())
