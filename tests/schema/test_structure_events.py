"""This module is where the history of the fleet's structure is specified: complete, in order, and never rewritten."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import delete, select, text, update
from sqlalchemy.exc import ProgrammingError

from models import Agent, Role, StructureEvent, Workspace
from models.database import Database
from models.ids import encode, uuid7
from resolvers.principal import Principal
from tests.conftest import counted
from tests.report import record
from tests.schema.conftest import Gateway
from tests.schema.places import agent, assign, place
from tests.schema.test_assignments import moved as agent_moved
from tests.schema.test_hierarchy import moved
from tests.world import Tenants, principal

LIST = """query($first: Int, $after: String, $last: Int, $before: String, $filter: StructureEventFilter,
  $orderBy: StructureEventOrder) { structureEvents(first: $first, after: $after, last: $last, before: $before,
  filter: $filter, orderBy: $orderBy) { totalCount pageInfo { hasNextPage hasPreviousPage startCursor endCursor }
  nodes { id sequence eventType workspaceId workspace { id } agent { id } target { id } payload createdAt } } }"""
OLDEST = {"field": "SEQUENCE", "direction": "ASC"}


async def events(gateway: Gateway, who: Principal, **said: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await gateway.data(who, LIST, **said))["structureEvents"]["nodes"]
    return found


async def fill(gateway: Gateway, tenants: Tenants) -> tuple[Principal, str, str, str]:
    """Two workspaces, one moved below the other, an agent that goes from one to the other."""
    who = principal(tenants.mine, user_id=uuid7())
    one, two = await place(gateway, who, "One"), await place(gateway, who, "Two")
    worker = await agent(gateway, tenants.mine)
    await moved(gateway, who, two, one)
    await assign(gateway, who, one, worker)
    await agent_moved(gateway, who, worker, two)
    return who, one, two, worker


async def test_all_that_happened_is_told_in_the_order_in_which_it_was_committed(
    gateway: Gateway, tenants: Tenants
) -> None:
    _, one, two, worker = await fill(gateway, tenants)
    viewer = principal(tenants.mine, Role.VIEWER, user_id=uuid7())
    found = await events(gateway, viewer, orderBy=OLDEST)
    assert [
        (e["eventType"], e["workspaceId"], e["agent"] and e["agent"]["id"], e["target"] and e["target"]["id"])
        for e in found
    ] == [
        ("WORKSPACE_AWAITING_AGENT", one, None, None),
        ("WORKSPACE_AWAITING_AGENT", two, None, None),
        ("WORKSPACE_MOVED", two, None, one),
        ("AGENT_ASSIGNED", one, worker, None),
        ("AGENT_MOVED", two, worker, one),
    ]
    numbers = [e["sequence"] for e in found]
    assert numbers == sorted(numbers)
    assert len(set(numbers)) == 5
    assert found[-1]["payload"] == {"from": one, "to": two}
    assert await events(gateway, viewer) == found[::-1]


async def test_the_history_is_asked_for_by_workspace_agent_and_type(gateway: Gateway, tenants: Tenants) -> None:
    who, one, two, worker = await fill(gateway, tenants)

    async def types(**filter: Any) -> list[str]:
        return [e["eventType"] for e in await events(gateway, who, filter=filter)]

    assert await types(workspaceId=one) == ["AGENT_ASSIGNED", "WORKSPACE_AWAITING_AGENT"]
    assert await types(agentId=worker) == ["AGENT_MOVED", "AGENT_ASSIGNED"]
    assert await types(eventType=["WORKSPACE_MOVED", "AGENT_MOVED"]) == ["AGENT_MOVED", "WORKSPACE_MOVED"]
    assert await types(eventType=["WORKSPACE_MOVED\x00", "nonsense"]) == []
    assert await types(workspaceId=two, agentId=worker) == ["AGENT_MOVED"]
    assert await types(workspaceId="nonsense") == []
    stranger = principal(tenants.other, user_id=uuid7())
    assert await events(gateway, stranger) == await events(gateway, stranger, filter={"workspaceId": one}) == []


async def test_pages_by_number_follow_each_other_in_either_direction(gateway: Gateway, tenants: Tenants) -> None:
    who, *_ = await fill(gateway, tenants)
    whole = [e["id"] for e in await events(gateway, who)]
    seen: list[str] = []
    after = None
    while True:
        page = (await gateway.data(who, LIST, first=2, after=after))["structureEvents"]
        assert page["totalCount"] == 5
        seen += [e["id"] for e in page["nodes"]]
        after = page["pageInfo"]["endCursor"]
        if not page["pageInfo"]["hasNextPage"]:
            break
    assert seen == whole
    back = (await gateway.data(who, LIST, last=2, before=after))["structureEvents"]
    assert [e["id"] for e in back["nodes"]] == whole[2:4]


@pytest.mark.parametrize("cursor", ["", "nonsense", "WyJzZXEiLCJkZXNjIiwiMSIsIngiXQ", "WyJzZXEiLCJkZXNjIiwxLjUsIngiXQ"])
async def test_a_forged_cursor_is_a_bad_request(gateway: Gateway, tenants: Tenants, cursor: str) -> None:
    answer = await gateway.answer(principal(tenants.mine, user_id=uuid7()), LIST, after=cursor)
    assert answer["errors"][0]["extensions"]["code"] == "BAD_REQUEST"


async def test_a_page_with_workspaces_agents_and_targets_costs_four_statements_and_a_count(
    gateway: Gateway, tenants: Tenants, database: Database
) -> None:
    who, *_ = await fill(gateway, tenants)
    with counted(database) as statements:
        assert len(await events(gateway, who)) == 5
    # Workspaces and targets are one load.
    assert len(statements) == 4


async def test_nobody_rewrites_history_not_even_the_gateway(gateway: Gateway, tenants: Tenants) -> None:
    await fill(gateway, tenants)
    mine = StructureEvent.tenant_id == tenants.mine
    for statement in (
        update(StructureEvent).where(mine).values(event_type="WORKSPACE_ONLINE"),
        delete(StructureEvent).where(mine),
        text("TRUNCATE structure_events"),
    ):
        async with gateway.services.database.session(tenants.mine) as session:
            with pytest.raises(ProgrammingError, match="permission denied"):
                await session.execute(statement)
    record(5, "the application may add structure events and neither change nor delete one", 3, "permission denied")


async def test_the_history_alone_tells_how_everything_stands(gateway: Gateway, tenants: Tenants) -> None:
    who, one, two, worker = await fill(gateway, tenants)
    third = await place(gateway, who, "Three", two)
    await moved(gateway, who, third, one)
    remove = "mutation($input: RemoveWorkspaceInput!) { removeWorkspace(input: $input) { userErrors { code } } }"
    await gateway.data(who, remove, input={"id": third})
    parents: dict[str, Any] = {}
    places: dict[str, Any] = {}
    gone: set[str] = set()
    for e in await events(gateway, who, first=100, orderBy=OLDEST):
        target = e["target"] and e["target"]["id"]
        if e["eventType"] == "WORKSPACE_AWAITING_AGENT" or e["eventType"] == "WORKSPACE_MOVED":
            parents[e["workspaceId"]] = target
        elif e["eventType"] == "WORKSPACE_REMOVED":
            gone.add(e["workspaceId"])
        elif e["eventType"] in {"AGENT_ASSIGNED", "AGENT_MOVED", "AGENT_REPLACED"}:
            places[e["agent"]["id"]] = e["workspaceId"]
    async with gateway.services.database.session(tenants.mine) as session:
        rows = list(await session.scalars(select(Workspace)))
        agents = list(await session.scalars(select(Agent)))
    assert parents == {
        row.typeid: encode("workspace", row.parent_id) if row.parent_id is not None else None for row in rows
    }
    assert places == {row.typeid: encode("workspace", row.workspace_id or uuid7()) for row in agents}
    assert gone == {row.typeid for row in rows if row.status.value == "removed"}
    assert worker in places
