"""This module is where walks along agents are specified: bounded, to their end even in a circle, within the tenant."""

from __future__ import annotations

from itertools import pairwise
from uuid import UUID

from dataloaders.agents import MAX_ESCALATIONS, MAX_REACHED, escalation_line, reached_from
from models import Agent, AgentReference, AgentType, ReferenceKind, utcnow
from models.database import Database
from models.ids import uuid7
from tests.conftest import counted
from tests.report import record
from tests.world import Tenants


async def agents(database: Database, tenant_id: UUID, count: int) -> list[UUID]:
    ids = [uuid7() for _ in range(count)]
    async with database.session(tenant_id) as session:
        session.add_all(Agent(tenant_id=tenant_id, id=one, name="one", type=AgentType.LLM) for one in ids)
        await session.commit()
    return ids


async def refer(database: Database, tenant_id: UUID, *pairs: tuple[UUID, UUID]) -> None:
    async with database.session(tenant_id) as session:
        session.add_all(
            AgentReference(
                tenant_id=tenant_id, agent_id=above, target_id=below, kind=ReferenceKind.SUB_AGENT, place=place
            )
            for place, (above, below) in enumerate(pairs)
        )
        await session.commit()


async def test_everything_that_is_below_is_reached_once_from_each_start(database: Database, tenants: Tenants) -> None:
    top, left, right, leaf, alone = await agents(database, tenants.mine, 5)
    await refer(database, tenants.mine, (top, left), (top, right), (left, leaf), (right, leaf))
    async with database.session(tenants.mine) as session:
        with counted(database) as statements:
            reached = await reached_from(session, [top, right, alone])
    assert sorted(reached) == sorted(
        [*((top, one) for one in (top, left, right, leaf)), (right, right), (right, leaf), (alone, alone)]
    )
    assert len(statements) == 1


async def test_a_circle_comes_to_its_end(database: Database, tenants: Tenants) -> None:
    one, two, three = await agents(database, tenants.mine, 3)
    await refer(database, tenants.mine, (one, two), (two, three), (three, one))
    async with database.session(tenants.mine) as session:
        assert {end for _, end in await reached_from(session, [one])} == {one, two, three}


async def test_no_walk_is_longer_than_it_may_be(database: Database, tenants: Tenants) -> None:
    above, *below = await agents(database, tenants.mine, MAX_REACHED + 10)
    await refer(database, tenants.mine, *((above, one) for one in below))
    async with database.session(tenants.mine) as session:
        assert len(await reached_from(session, [above])) == MAX_REACHED + 1
    record(5, "a walk over sub-agents", MAX_REACHED, "one statement, which ends there")


async def test_references_of_another_tenant_lead_nowhere(database: Database, tenants: Tenants) -> None:
    one, two = await agents(database, tenants.mine, 2)
    await refer(database, tenants.mine, (one, two))
    async with database.session(tenants.other) as session:
        assert await reached_from(session, [one]) == [(one, one)]
        assert await escalation_line(session, one) == []


async def test_a_line_of_escalations_ends_after_so_many_and_leaves_the_deleted_out(
    database: Database, tenants: Tenants
) -> None:
    ids = await agents(database, tenants.mine, MAX_ESCALATIONS + 3)
    async with database.session(tenants.mine) as session:
        for one, above in pairwise(ids):
            (await session.get_one(Agent, (tenants.mine, one))).escalates_to = above
        gone = await session.get_one(Agent, (tenants.mine, ids[-1]))
        gone.deleted_at = utcnow()
        await session.commit()
    async with database.session(tenants.mine) as session:
        assert await escalation_line(session, ids[0]) == ids[:MAX_ESCALATIONS]
        assert await escalation_line(session, ids[-1]) == []
