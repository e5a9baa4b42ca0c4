"""This module is where it is specified how agents come to workspaces and leave them, and what is kept of it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from sqlalchemy import func, select, update
from sqlalchemy.exc import IntegrityError

from models import AgentAssignment, AssignmentStatus, Event, Role, Workspace, WorkspaceStatus
from models.database import Database
from models.ids import encode, parse, uuid7
from resolvers.principal import Principal
from tests.conftest import counted
from tests.report import record
from tests.schema.conftest import Gateway
from tests.schema.places import agent, assign, changed, place
from tests.world import Tenants, principal

MOVE = """mutation($input: MoveAgentInput!) { moveAgent(input: $input) {
  workspace { id agents { id } } userErrors { code field } } }"""
UNASSIGN = """mutation($input: UnassignAgentInput!) { unassignAgent(input: $input) {
  workspace { id agents { id } } userErrors { code field } } }"""
OF_WORKSPACE = """query($id: ID!, $filter: AgentAssignmentFilter) { workspace(id: $id) {
  assignments(filter: $filter) { totalCount nodes { id agent { id } model status removedAt removalReason } } } }"""
OF_AGENT = """query($id: ID!) { agent(id: $id) { workspace { id } assignments(first: 50, orderBy: {field: CREATED_AT,
  direction: ASC}) { totalCount nodes { workspace { id } status removalReason } } } }"""
STRUCTURE = """query($id: ID!) { workspace(id: $id) { structureEvents(orderBy: {field: SEQUENCE, direction: ASC}) {
  nodes { eventType agent { id } target { id } } } } }"""


async def moved(gateway: Gateway, who: Principal, agent: str, workspace: str) -> dict[str, Any]:
    answer: dict[str, Any] = (await gateway.data(who, MOVE, input={"agentId": agent, "workspaceId": workspace}))[
        "moveAgent"
    ]
    return answer


async def history(gateway: Gateway, who: Principal, workspace: str, **filter: Any) -> list[dict[str, Any]]:
    page = (await gateway.data(who, OF_WORKSPACE, id=workspace, filter=filter))["workspace"]["assignments"]
    assert page["totalCount"] == len(page["nodes"])
    nodes: list[dict[str, Any]] = page["nodes"]
    return nodes


async def structure(gateway: Gateway, who: Principal, workspace: str) -> list[tuple[str, Any, Any]]:
    nodes = (await gateway.data(who, STRUCTURE, id=workspace))["workspace"]["structureEvents"]["nodes"]
    return [
        (one["eventType"], one["agent"] and one["agent"]["id"], one["target"] and one["target"]["id"])
        for one in nodes
        if one["eventType"].startswith("AGENT_")
    ]


async def counts(gateway: Gateway, tenants: Tenants) -> tuple[Any, ...]:
    async with gateway.services.database.session(tenants.mine) as session:
        tables = AgentAssignment, Event
        return tuple([await session.scalar(select(func.count()).select_from(one)) for one in tables])


async def test_a_place_keeps_who_was_there_and_why_they_left(gateway: Gateway, tenants: Tenants) -> None:
    who = principal(tenants.mine, user_id=uuid7())
    here = await place(gateway, who)
    first, second = await agent(gateway, tenants.mine, "first"), await agent(gateway, tenants.mine, "second")
    await assign(gateway, who, here, first)
    await assign(gateway, who, here, second, replace=True)
    said = {"workspaceId": here, "agentId": second, "reason": "holidays"}
    assert (await gateway.data(who, UNASSIGN, input=said))["unassignAgent"]["workspace"]["agents"] == []
    viewer = principal(tenants.mine, Role.VIEWER, user_id=uuid7())
    newest, oldest = await history(gateway, viewer, here)
    assert (newest["agent"]["id"], newest["status"], newest["removalReason"]) == (second, "REMOVED", "holidays")
    assert (oldest["agent"]["id"], oldest["status"], oldest["removalReason"]) == (first, "REPLACED", "model_replaced")
    assert oldest["model"] == "gpt-4o"
    assert oldest["removedAt"] is not None
    assert await history(gateway, viewer, here, status=["REPLACED"]) == [oldest]
    assert await history(gateway, viewer, here, agentId=second) == [newest]
    assert await structure(gateway, viewer, here) == [
        ("AGENT_ASSIGNED", first, None),
        ("AGENT_REPLACED", second, None),
        ("AGENT_REMOVED", second, None),
    ]


async def test_an_occupied_place_is_a_conflict_unless_its_agent_is_to_be_replaced(
    gateway: Gateway, tenants: Tenants
) -> None:
    who = principal(tenants.mine, user_id=uuid7())
    here = await place(gateway, who)
    first, second = await agent(gateway, tenants.mine, "first"), await agent(gateway, tenants.mine, "second")
    await assign(gateway, who, here, first)
    before = await counts(gateway, tenants)
    refused = await assign(gateway, who, here, second)
    assert [(one["code"], one["field"]) for one in refused["userErrors"]] == [("CONFLICT", ["input", "agentId"])]
    assert refused["workspace"]["agents"] == [{"id": first}]
    assert await counts(gateway, tenants) == before
    assert (await assign(gateway, who, here, first))["userErrors"] == []
    assert await counts(gateway, tenants) == before


async def test_an_agent_moves_to_an_empty_place_and_both_places_are_told(gateway: Gateway, tenants: Tenants) -> None:
    who = principal(tenants.mine, user_id=uuid7())
    here, there = await place(gateway, who, "Here"), await place(gateway, who, "There")
    one = await agent(gateway, tenants.mine)
    await assign(gateway, who, here, one)
    assert await moved(gateway, who, one, there) == {
        "workspace": {"id": there, "agents": [{"id": one}]},
        "userErrors": [],
    }
    found = (await gateway.data(who, OF_AGENT, id=one))["agent"]
    assert found["workspace"] == {"id": there}
    assert found["assignments"]["nodes"] == [
        {"workspace": {"id": here}, "status": "REMOVED", "removalReason": "moved"},
        {"workspace": {"id": there}, "status": "ACTIVE", "removalReason": None},
    ]
    assert await structure(gateway, who, there) == [("AGENT_MOVED", one, here)]
    async with gateway.services.database.session(tenants.mine) as session:
        told = await session.execute(select(Event.kind, Event.workspace_id).order_by(Event.seq.desc()).limit(2))
    assert [tuple(row) for row in told] == [
        ("agent.left", parse(here, "workspace")),
        ("agent.moved", parse(there, "workspace")),
    ]


async def test_assigning_an_agent_that_works_elsewhere_is_told_in_both_places_as_a_move_is(
    gateway: Gateway, tenants: Tenants
) -> None:
    who = principal(tenants.mine, user_id=uuid7())
    here, there = await place(gateway, who, "Here"), await place(gateway, who, "There")
    one, other = await agent(gateway, tenants.mine, "one"), await agent(gateway, tenants.mine, "other")
    await assign(gateway, who, here, one)
    await assign(gateway, who, there, other)
    assert (await assign(gateway, who, there, one, replace=True))["workspace"]["agents"] == [{"id": one}]
    assert (await structure(gateway, who, there))[-1] == ("AGENT_MOVED", one, here)
    async with gateway.services.database.session(tenants.mine) as session:
        told = await session.execute(
            select(Event.kind, Event.workspace_id, Event.payload).order_by(Event.seq.desc()).limit(2)
        )
    assert [tuple(row) for row in told] == [
        ("agent.left", parse(here, "workspace"), {}),
        ("agent.moved", parse(there, "workspace"), {"from": here, "to": there}),
    ]


async def test_a_move_that_cannot_be_is_refused_and_changes_nothing(gateway: Gateway, tenants: Tenants) -> None:
    who = principal(tenants.mine, user_id=uuid7())
    here, there, gone = [await place(gateway, who, name) for name in ("Here", "There", "Gone")]
    one, other, nowhere = [await agent(gateway, tenants.mine, name) for name in ("one", "other", "nowhere")]
    await assign(gateway, who, here, one)
    await assign(gateway, who, there, other)
    await changed(gateway, tenants.mine, gone, status=WorkspaceStatus.REMOVED)
    theirs = await agent(gateway, tenants.other)
    foreign = await place(gateway, principal(tenants.other, user_id=uuid7()))
    before = await counts(gateway, tenants)
    for who_moves, target, code, field in (
        (one, there, "CONFLICT", "workspaceId"),
        (nowhere, gone, "ILLEGAL_TRANSITION", "workspaceId"),
        (nowhere, here, "NOT_FOUND", "agentId"),
        (theirs, here, "NOT_FOUND", "agentId"),
        (one, foreign, "NOT_FOUND", "workspaceId"),
        ("nonsense", here, "NOT_FOUND", "agentId"),
        (one, encode("workspace", uuid7()), "NOT_FOUND", "workspaceId"),
    ):
        refused = await moved(gateway, who, who_moves, target)
        assert refused["userErrors"] == [{"code": code, "field": ["input", field]}], (code, field)
    assert (await moved(gateway, who, one, here))["userErrors"] == []
    assert await counts(gateway, tenants) == before


async def test_when_a_place_ends_its_agent_is_free_to_work_elsewhere(gateway: Gateway, tenants: Tenants) -> None:
    who = principal(tenants.mine, user_id=uuid7())
    here, there = await place(gateway, who, "Here"), await place(gateway, who, "There")
    one = await agent(gateway, tenants.mine)
    await assign(gateway, who, here, one)
    remove = "mutation($input: RemoveWorkspaceInput!) { removeWorkspace(input: $input) { userErrors { code } } }"
    assert await gateway.data(who, remove, input={"id": here}) == {"removeWorkspace": {"userErrors": []}}
    found = (await gateway.data(who, OF_AGENT, id=one))["agent"]
    assert found["workspace"] is None
    assert [node["removalReason"] for node in found["assignments"]["nodes"]] == ["workspace_removed"]
    assert (await assign(gateway, who, there, one))["workspace"]["agents"] == [{"id": one}]


async def test_of_many_that_come_at_once_one_is_there(gateway: Gateway, tenants: Tenants) -> None:
    who = principal(tenants.mine, user_id=uuid7())
    here = await place(gateway, who)
    agents = [await agent(gateway, tenants.mine, f"agent_{number}") for number in range(8)]
    answers = await asyncio.gather(*(assign(gateway, who, here, one) for one in agents))
    assert sorted(len(one["userErrors"]) for one in answers) == [0] + [1] * 7
    assert len(await history(gateway, who, here, status=["ACTIVE"])) == 1


async def test_the_database_itself_holds_one_active_assignment_a_place_and_an_agent(
    gateway: Gateway, tenants: Tenants
) -> None:
    who = principal(tenants.mine, user_id=uuid7())
    here, there, elsewhere = [await place(gateway, who, name) for name in ("Here", "There", "Elsewhere")]
    first, second, third = [await agent(gateway, tenants.mine, name) for name in ("first", "second", "third")]
    await assign(gateway, who, here, first)
    await assign(gateway, who, here, second, replace=True)
    await assign(gateway, who, there, third)
    await moved(gateway, who, third, elsewhere)
    for condition, index in (
        (AgentAssignment.agent_id == parse(first, "agent"), "uq_agent_assignments_active"),
        (AgentAssignment.workspace_id == parse(there, "workspace"), "uq_agent_assignments_active_agent"),
    ):
        again = update(AgentAssignment).where(condition).values(status=AssignmentStatus.ACTIVE)
        async with gateway.services.database.session(tenants.mine) as session:
            with pytest.raises(IntegrityError, match=f'"{index}"'):
                await session.execute(again)


async def test_an_agent_that_is_wanted_in_many_places_at_once_is_in_one(gateway: Gateway, tenants: Tenants) -> None:
    who = principal(tenants.mine, user_id=uuid7())
    places = [await place(gateway, who, f"Place {number}") for number in range(6)]
    one = await agent(gateway, tenants.mine)
    answers = await asyncio.gather(*(assign(gateway, who, here, one) for here in places))
    assert [answer["userErrors"] for answer in answers] == [[]] * 6
    found = (await gateway.data(who, OF_AGENT, id=one))["agent"]["assignments"]
    assert [node["status"] for node in found["nodes"]].count("ACTIVE") == 1
    assert found["totalCount"] == 6


async def test_lists_of_assignments_cost_the_same_for_any_number_of_rows(
    gateway: Gateway, tenants: Tenants, database: Database
) -> None:
    who = principal(tenants.mine, user_id=uuid7())
    document = "{ agentAssignments(first: 100) { totalCount nodes { workspace { id } agent { id } } } }"
    seen = []
    for number in range(2):
        for extra in range(1 + 9 * number):
            here = await place(gateway, who, f"Place {number}/{extra}")
            await assign(gateway, who, here, await agent(gateway, tenants.mine, f"agent_{number}_{extra}"))
        with counted(database) as statements:
            found = (await gateway.data(who, document))["agentAssignments"]
        seen.append((found["totalCount"], len(statements)))
    assert seen == [(1, 4), (11, 4)]
    record(5, "assignments with workspace, agent and count", 11, "4 statements, as for one")


async def test_another_tenant_sees_no_assignment(gateway: Gateway, tenants: Tenants) -> None:
    who = principal(tenants.mine, user_id=uuid7())
    here, one = await place(gateway, who), await agent(gateway, tenants.mine)
    await assign(gateway, who, here, one)
    id = (await history(gateway, who, here))[0]["id"]
    stranger = principal(tenants.other, user_id=uuid7())
    query = """query($id: ID!, $filter: AgentAssignmentFilter) { node(id: $id) { id }
      agentAssignments(filter: $filter) { totalCount } }"""
    found = await gateway.data(stranger, query, id=id, filter={"workspaceId": here})
    assert found == {"node": None, "agentAssignments": {"totalCount": 0}}
    async with gateway.services.database.session(tenants.mine) as session:
        assert await session.scalar(select(Workspace.id).where(Workspace.id == parse(here, "workspace"))) is not None
