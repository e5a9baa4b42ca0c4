"""This module is where the registry is specified as its callers see it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from models import Role
from models.database import Database
from models.ids import encode, uuid7
from tests.conftest import counted
from tests.report import record
from tests.schema.conftest import Gateway
from tests.world import Fleet, Tenants, principal

CREATE = """mutation($input: CreateWorkspaceInput!) { createWorkspace(input: $input) {
  workspace { id name status version parent { id } } userErrors { code message field } } }"""
REGISTER = """mutation($input: RegisterWorkspaceInput!) { registerWorkspace(input: $input) {
  workspace { id status } token leaseEpoch userErrors { code field } } }"""
LIST = """query($first: Int, $after: String, $last: Int, $before: String, $filter: WorkspaceFilter,
  $orderBy: WorkspaceOrder) { workspaces(first: $first, after: $after, last: $last, before: $before, filter: $filter,
  orderBy: $orderBy) { nodes { id name } totalCount
  pageInfo { hasNextPage hasPreviousPage startCursor endCursor } } }"""


async def _create(gateway: Gateway, who: Any, **given: Any) -> dict[str, Any]:
    made = (await gateway.data(who, CREATE, input=given))["createWorkspace"]
    assert made["userErrors"] == []
    workspace: dict[str, Any] = made["workspace"]
    return workspace


async def test_a_new_workspace_waits_for_its_agent(gateway: Gateway, tenants: Tenants) -> None:
    made = await _create(gateway, principal(tenants.mine, user_id=uuid7()), name="Marketing")
    assert made["status"] == "AWAITING_AGENT"
    assert made["version"] == 1


async def test_the_first_registration_hands_out_the_token_and_later_ones_do_not(
    gateway: Gateway, tenants: Tenants
) -> None:
    who = principal(tenants.mine, api_key_id=uuid7())
    place = await _create(gateway, who, name="Marketing")
    first = (await gateway.data(who, REGISTER, input={"id": place["id"]}))["registerWorkspace"]
    again = (await gateway.data(who, REGISTER, input={"id": place["id"]}))["registerWorkspace"]
    assert first["workspace"]["status"] == "ONLINE"
    assert first["token"].startswith("sbx_")
    assert again["token"] is None
    assert (first["leaseEpoch"], again["leaseEpoch"]) == (1, 2)


@pytest.mark.parametrize("bad", ["", "nonsense", "agent_01h455vb4pex5vsknk084sn02q", encode("workspace", uuid7())])
async def test_every_id_that_is_not_mine_gets_the_same_answer(gateway: Gateway, tenants: Tenants, bad: str) -> None:
    who = principal(tenants.mine, user_id=uuid7())
    foreign = await _create(gateway, principal(tenants.other, user_id=uuid7()), name="Theirs")
    for one in (bad, foreign["id"]):
        answer = (await gateway.data(who, REGISTER, input={"id": one}))["registerWorkspace"]
        assert answer == {
            "workspace": None,
            "token": None,
            "leaseEpoch": None,
            "userErrors": [{"code": "NOT_FOUND", "field": ["input", "id"]}],
        }
        assert await gateway.data(
            who, "query($id: ID!) { workspace(id: $id) { id } node(id: $id) { id } }", id=one
        ) == {
            "workspace": None,
            "node": None,
        }


async def test_a_workspace_cannot_move_below_itself(gateway: Gateway, tenants: Tenants) -> None:
    who = principal(tenants.mine, user_id=uuid7())
    root = await _create(gateway, who, name="Root")
    child = await _create(gateway, who, name="Child", parentId=root["id"])
    move = """mutation($input: MoveWorkspaceInput!) { moveWorkspace(input: $input) {
      workspace { id parent { id } } userErrors { code field } } }"""
    answer = (await gateway.data(who, move, input={"id": root["id"], "parentId": child["id"]}))["moveWorkspace"]
    assert answer["userErrors"] == [{"code": "CYCLE", "field": ["input", "parentId"]}]
    assert answer["workspace"] == {"id": root["id"], "parent": None}


async def test_pages_follow_each_other_without_gap_in_either_direction(
    gateway: Gateway, tenants: Tenants, database: Database
) -> None:
    await Fleet(database, tenants.mine).grow(25)
    who = principal(tenants.mine, user_id=uuid7())
    order = {"field": "NAME", "direction": "ASC"}
    seen: list[str] = []
    after = None
    while True:
        page = (await gateway.data(who, LIST, first=10, after=after, orderBy=order))["workspaces"]
        seen += [one["name"] for one in page["nodes"]]
        assert page["totalCount"] == 25
        if not page["pageInfo"]["hasNextPage"]:
            break
        after = page["pageInfo"]["endCursor"]
    assert seen == [f"place {number:03}" for number in range(25)]
    back = (await gateway.data(who, LIST, last=10, before=after, orderBy=order))["workspaces"]
    assert [one["name"] for one in back["nodes"]] == [f"place {number:03}" for number in range(9, 19)]


@pytest.mark.parametrize("field", ["CREATED_AT", "NAME", "LAST_HEARTBEAT_AT"])
@pytest.mark.parametrize("direction", ["ASC", "DESC"])
async def test_every_order_pages_through_all(
    gateway: Gateway, tenants: Tenants, database: Database, field: str, direction: str
) -> None:
    await Fleet(database, tenants.mine).grow(7)
    who = principal(tenants.mine, user_id=uuid7())
    seen: list[str] = []
    after = None
    for _ in range(4):
        order = {"field": field, "direction": direction}
        page = (await gateway.data(who, LIST, first=2, after=after, orderBy=order))["workspaces"]
        seen += [one["id"] for one in page["nodes"]]
        after = page["pageInfo"]["endCursor"]
    assert len(seen) == len(set(seen)) == 7


async def test_search_finds_words_by_their_beginning(gateway: Gateway, tenants: Tenants) -> None:
    who = principal(tenants.mine, user_id=uuid7())
    wanted = await _create(gateway, who, name="Vancouver SEO Agent")
    await _create(gateway, who, name="Marketing")
    await _create(gateway, principal(tenants.other, user_id=uuid7()), name="Vancouver too")
    found = (await gateway.data(who, LIST, filter={"search": "seo VANC"}))["workspaces"]
    assert [one["id"] for one in found["nodes"]] == [wanted["id"]]
    assert found["totalCount"] == 1


@pytest.mark.parametrize("count", [1, 50, 100])
async def test_a_list_with_parent_agents_and_children_costs_the_same_statements_for_any_number_of_rows(
    gateway: Gateway, tenants: Tenants, database: Database, count: int
) -> None:
    await Fleet(database, tenants.mine).grow(count)
    document = "{ workspaces(first: 100) { nodes { id parent { name } agents { name } children { id } } } }"
    with counted(database) as statements:
        data = await gateway.data(principal(tenants.mine, user_id=uuid7()), document)
    assert len(data["workspaces"]["nodes"]) == count
    # One for the page and one for each of the three relations; a lone row has neither parent nor children.
    assert len(statements) == (4 if count > 1 else 3)
    record(2, "workspaces with parent, agents and children", count, f"{len(statements)} statements")


async def test_two_moves_at_once_never_close_a_cycle(gateway: Gateway, tenants: Tenants) -> None:
    who = principal(tenants.mine, user_id=uuid7())
    one, two = await _create(gateway, who, name="One"), await _create(gateway, who, name="Two")
    move = "mutation($input: MoveWorkspaceInput!) { moveWorkspace(input: $input) { userErrors { code } } }"
    answers = await asyncio.gather(
        gateway.data(who, move, input={"id": one["id"], "parentId": two["id"]}),
        gateway.data(who, move, input={"id": two["id"], "parentId": one["id"]}),
    )
    codes = [answer["moveWorkspace"]["userErrors"] for answer in answers]
    assert sorted(codes, key=len) == [[], [{"code": "CYCLE"}]]


async def test_a_viewer_may_look_and_not_touch(gateway: Gateway, tenants: Tenants) -> None:
    who = principal(tenants.mine, Role.VIEWER, user_id=uuid7())
    answer = await gateway.answer(who, CREATE, input={"name": "Mine"})
    assert answer["data"] == {"createWorkspace": None}
    assert answer["errors"][0]["extensions"]["code"] == "FORBIDDEN"
