"""This module is where plans are specified: nobody gets more places than the tenant may have, even all at once."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from sqlalchemy import func, select, update

from models import Agent, AgentType, Role, Tenant, Workspace
from models.errors import Refusal, RefusalCode
from models.ids import uuid7
from resolvers.call import Call
from resolvers.plans import refuse_beyond
from resolvers.registry import create_workspace, remove_workspace
from tests.resolvers.people import House
from tests.world import principal


async def allow(house: House, tenant: Tenant, **limits: Any) -> Call:
    """An operation of an admin in the tenant that may have so much."""
    async with house.database.session(tenant.id) as session:
        await session.execute(update(Tenant).where(Tenant.id == tenant.id).values(limits=limits))
        await session.commit()
    return house.call(principal(tenant.id, Role.ADMIN, api_key_id=uuid7()))


async def places(house: House, tenant: Tenant) -> int:
    """How many rows there are."""
    async with house.database.session(tenant.id) as session:
        return await session.scalar(select(func.count()).select_from(Workspace)) or 0


async def test_the_place_beyond_the_limit_is_refused_and_a_removed_one_makes_room(house: House, acme: Tenant) -> None:
    call = await allow(house, acme, workspaces=2)
    first = await create_workspace(call, name="one")
    await create_workspace(call, name="two")
    with pytest.raises(Refusal) as refusal:
        await create_workspace(call, name="three")
    assert refusal.value.code is RefusalCode.LIMIT_EXCEEDED
    assert "2 workspaces" in refusal.value.message
    assert await places(house, acme) == 2
    await remove_workspace(call, id=first.id)
    assert (await create_workspace(call, name="three")).name == "three"


async def test_of_many_who_ask_at_once_as_many_get_one_as_there_is_room_for(house: House, acme: Tenant) -> None:
    call = await allow(house, acme, workspaces=3)
    answers = await asyncio.gather(
        *(create_workspace(call.fresh(), name=f"place {number}") for number in range(8)), return_exceptions=True
    )
    refusals = [one for one in answers if isinstance(one, Refusal)]
    assert [one.code for one in refusals] == [RefusalCode.LIMIT_EXCEEDED] * 5
    assert await places(house, acme) == 3


async def test_a_limit_that_is_lifted_is_none(house: House, acme: Tenant) -> None:
    call = await allow(house, acme, workspaces=None)
    assert await create_workspace(call, name="one")


async def test_nothing_allowed_is_nothing_and_another_tenants_places_do_not_count(house: House, acme: Tenant) -> None:
    other = await house.tenant()
    await create_workspace(await allow(house, other, workspaces=1), name="theirs")
    assert await create_workspace(await allow(house, acme, workspaces=1), name="ours")
    with pytest.raises(Refusal):
        await create_workspace(await allow(house, await house.tenant(), workspaces=0), name="none")


async def test_agents_are_counted_without_those_that_were_deleted(house: House, acme: Tenant) -> None:
    call = await allow(house, acme, agents=1)
    async with house.work(acme.id) as work:
        work.add(Agent(name="gone", type=AgentType.LLM, deleted_at=work.now))
    async with call.work() as work:
        await refuse_beyond(work, "agents")
        work.add(Agent(name="here", type=AgentType.LLM))
    with pytest.raises(Refusal) as refusal:
        async with call.work() as work:
            await refuse_beyond(work, "agents")
    assert refusal.value.code is RefusalCode.LIMIT_EXCEEDED
