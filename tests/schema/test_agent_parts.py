"""This module is where it is specified what an agent is made of, and which agents need it, as fields of the agent."""

from __future__ import annotations

from typing import Any, Final
from uuid import UUID

import pytest

from models import Agent, AgentReference, AgentType, ReferenceKind, Role
from models.ids import uuid7
from resolvers.principal import Principal
from tests.conftest import counted
from tests.report import record
from tests.schema.conftest import Gateway
from tests.schema.staff import UPDATE, done, make, person
from tests.world import Tenants, principal

ONE: Final = "query($id: ID!) { agent(id: $id) { subAgents { name } usedBy { name } } }"
LIST: Final = "{ agents(first: 100) { nodes { name subAgents { name } usedBy { name } } } }"


@pytest.fixture
async def admin(gateway: Gateway, tenants: Tenants) -> Principal:
    """Somebody of mine who may everything."""
    return await person(gateway, tenants.mine)


async def parts(gateway: Gateway, who: Principal, id: str) -> tuple[list[str], list[str]]:
    """The names of what it is made of, and of what is made of it."""
    found = (await gateway.data(who, ONE, id=id))["agent"]
    return [one["name"] for one in found["subAgents"]], [one["name"] for one in found["usedBy"]]


async def test_an_agent_shows_what_it_is_made_of_in_its_order_and_each_once(
    gateway: Gateway, tenants: Tenants, admin: Principal
) -> None:
    b, a, c = [await make(gateway, admin, name) for name in "bac"]
    team = await make(
        gateway,
        admin,
        "team",
        type="LLM",
        config={"sub_agents": [b["id"], a["id"]], "agent_tools": [c["id"], b["id"]]},
    )
    viewer = await person(gateway, tenants.mine, Role.VIEWER)
    assert await parts(gateway, viewer, team["id"]) == (["b", "a", "c"], [])
    assert await parts(gateway, viewer, b["id"]) == ([], ["team"])
    await done(gateway, admin, UPDATE, id=team["id"], expectedVersion=team["version"], config={"sub_agents": [a["id"]]})
    assert await parts(gateway, viewer, team["id"]) == (["a"], [])
    assert await parts(gateway, viewer, b["id"]) == ([], [])


async def test_what_is_deleted_is_made_of_nothing_and_neighbours_see_nothing(
    gateway: Gateway, tenants: Tenants, admin: Principal
) -> None:
    part = await make(gateway, admin, "part")
    team = await make(gateway, admin, "team", config={"sub_agents": [part["id"]]})
    stranger = await person(gateway, tenants.other)
    assert await gateway.data(stranger, ONE, id=team["id"]) == {"agent": None}
    delete = "mutation($id: ID!) { deleteAgent(input: {id: $id}) { deletedId } }"
    await gateway.data(admin, delete, id=team["id"])
    assert await parts(gateway, admin, part["id"]) == ([], [])


async def test_at_most_fifty_are_shown_of_those_that_name_an_agent(gateway: Gateway, tenants: Tenants) -> None:
    part, _ = await _team(gateway, tenants.mine, 60)
    _, users = await parts(gateway, principal(tenants.mine, user_id=uuid7()), part)
    assert users == [f"b_{number:03}" for number in range(50)]


@pytest.mark.parametrize("count", [1, 50, 99])
async def test_a_list_with_parts_and_users_costs_the_same_statements_for_any_number_of_rows(
    gateway: Gateway, tenants: Tenants, count: int
) -> None:
    await _team(gateway, tenants.mine, count)
    with counted(gateway.services.database) as statements:
        page = (await gateway.data(principal(tenants.mine, user_id=uuid7()), LIST))["agents"]["nodes"]
    assert len(page) == count + 1
    assert sum(len(one["subAgents"]) for one in page) == count
    # The page, and one for each of the two relations.
    assert len(statements) == 3
    record(5, "agents with what they are made of and who is made of them", count + 1, f"{len(statements)} statements")


async def _team(gateway: Gateway, tenant: UUID, count: int) -> tuple[str, list[UUID]]:
    """One agent that ``count`` others name; its TypeID, and theirs."""
    part = Agent(tenant_id=tenant, id=uuid7(), name="a_part", type=AgentType.LLM)
    mine: dict[str, Any] = {"tenant_id": tenant, "type": AgentType.SEQUENTIAL}
    teams = [Agent(**mine, id=uuid7(), name=f"b_{number:03}") for number in range(count)]
    async with gateway.services.database.session(tenant) as session:
        session.add_all([part, *teams])
        await session.flush()
        session.add_all(
            AgentReference(tenant_id=tenant, agent_id=one.id, target_id=part.id, kind=ReferenceKind.SUB_AGENT, place=0)
            for one in teams
        )
        await session.commit()
    return part.typeid, [one.id for one in teams]
