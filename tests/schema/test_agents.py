"""This module is where agents are specified as their readers see them."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from models import Agent, AgentStatus, AgentType, LlmProvider, LlmProviderType, User, UserStatus, Workspace
from models.ids import encode, uuid7
from resolvers.principal import Principal
from resolvers.secrets import set_secret
from tests.conftest import counted
from tests.report import record
from tests.schema.conftest import Gateway
from tests.world import Tenants, call_of, principal

LIST = """query($filter: AgentFilter, $orderBy: AgentOrder) { agents(first: 100, filter: $filter, orderBy: $orderBy) {
  nodes { name } totalCount } }"""
ONE = """query($id: ID!) { agent(id: $id) { name type status capabilities config hasApiKey isRouter version
  escalatesTo { name } approvedBy { displayName } workspace { name } } }"""


@pytest.fixture
async def place(gateway: Gateway, tenants: Tenants) -> UUID:
    """A workspace with three agents about it, and a stranger in the other tenant."""
    place, chief, approver = uuid7(), uuid7(), uuid7()
    mine = {"tenant_id": tenants.mine}
    key = await set_secret(call_of(gateway.services, principal(tenants.mine)), key="TOKEN", value="swordfish")
    async with gateway.services.database.session(tenants.mine) as session:
        session.add(Workspace(**mine, id=place, name="Marketing"))
        session.add(User(**mine, id=approver, display_name="Ada", status=UserStatus.ACTIVE))
        session.add(Agent(**mine, id=chief, name="concierge", type=AgentType.LLM, is_router=True, domain="Front desk"))
        await session.flush()
        session.add(
            Agent(
                **mine,
                id=place,
                name="refine_copy",
                title="Copy Refiner",
                type=AgentType.LOOP,
                status=AgentStatus.ACTIVE,
                domain="Marketing",
                capabilities=["write", "rewrite"],
                config={"until": "good"},
                workspace_id=place,
                escalates_to=chief,
                approved_by=approver,
                api_key_secret_id=key.id,
            )
        )
        session.add(Agent(**mine, name="crm_sync", type=AgentType.TASK, status=AgentStatus.REJECTED))
        await session.commit()
    async with gateway.services.database.session(tenants.other) as session:
        session.add(Agent(tenant_id=tenants.other, name="refine_theirs", type=AgentType.LOOP, domain="Marketing"))
        await session.commit()
    return place


@pytest.fixture
def viewer(tenants: Tenants) -> Principal:
    """Somebody who looks."""
    return principal(tenants.mine, user_id=uuid7())


@pytest.mark.parametrize(
    ("filter", "names"),
    [
        ({}, ["concierge", "crm_sync", "refine_copy"]),
        ({"status": ["ACTIVE", "REJECTED"]}, ["crm_sync", "refine_copy"]),
        ({"type": ["LOOP"]}, ["refine_copy"]),
        ({"domain": "Marketing"}, ["refine_copy"]),
        ({"domain": "marketing"}, []),
        ({"domain": "nul\x00"}, []),
        ({"workspaceId": "here"}, ["refine_copy"]),
        ({"workspaceId": "nonsense"}, []),
        ({"search": "COPY ref"}, ["refine_copy"]),
        ({"search": "desk"}, ["concierge"]),
        ({"type": [], "status": ["ACTIVE"]}, []),
    ],
)
async def test_a_filter_finds_the_tenants_agents_that_match(
    gateway: Gateway, viewer: Principal, place: UUID, filter: dict[str, Any], names: list[str]
) -> None:
    asked = {name: encode("workspace", place) if value == "here" else value for name, value in filter.items()}
    order = {"field": "NAME", "direction": "ASC"}
    page = (await gateway.data(viewer, LIST, filter=asked, orderBy=order))["agents"]
    assert [one["name"] for one in page["nodes"]] == names
    assert page["totalCount"] == len(names)


async def test_an_agent_shows_where_it_runs_and_whom_it_turns_to_and_never_its_key(
    gateway: Gateway, viewer: Principal, place: UUID
) -> None:
    with counted(gateway.services.database) as statements:
        found = await gateway.data(viewer, ONE, id=encode("agent", place))
    assert found["agent"] == {
        "name": "refine_copy",
        "type": "LOOP",
        "status": "ACTIVE",
        "capabilities": ["write", "rewrite"],
        "config": {"until": "good"},
        "hasApiKey": True,
        "isRouter": False,
        "version": 1,
        "escalatesTo": {"name": "concierge"},
        "approvedBy": {"displayName": "Ada"},
        "workspace": {"name": "Marketing"},
    }
    assert len(statements) == 4


async def test_another_tenants_agent_is_not_there(gateway: Gateway, tenants: Tenants, place: UUID) -> None:
    other = principal(tenants.other, user_id=uuid7())
    assert await gateway.data(other, ONE, id=encode("agent", place)) == {"agent": None}
    assert (await gateway.data(other, LIST))["agents"] == {"nodes": [{"name": "refine_theirs"}], "totalCount": 1}


@pytest.mark.parametrize("count", [1, 50, 100])
async def test_a_list_with_whom_agents_turn_to_costs_the_same_statements_for_any_number_of_rows(
    gateway: Gateway, tenants: Tenants, count: int
) -> None:
    chief, provider = uuid7(), uuid7()
    mine: dict[str, Any] = {"tenant_id": tenants.mine, "type": AgentType.LLM}
    async with gateway.services.database.session(tenants.mine) as session:
        session.add(Agent(**mine, id=chief, name="a_chief"))
        session.add(
            LlmProvider(
                tenant_id=tenants.mine,
                id=provider,
                name="main",
                provider_type=LlmProviderType.OPENAI,
                model_id="gpt-4o",
            )
        )
        await session.flush()
        for number in range(count - 1):
            session.add(Agent(**mine, name=f"b_{number}", escalates_to=chief, llm_provider_id=provider))
        await session.commit()
    document = "{ agents(first: 100) { totalCount nodes { name escalatesTo { name } llmProvider { name } } } }"
    with counted(gateway.services.database) as statements:
        page = (await gateway.data(principal(tenants.mine, user_id=uuid7()), document))["agents"]
    assert len(page["nodes"]) == page["totalCount"] == count
    # The page, its count, and one for each of the two relations; a lone agent has neither.
    assert len(statements) == (4 if count > 1 else 2)
    record(5, "agents with whom they turn to and their providers", count, f"{len(statements)} statements")
