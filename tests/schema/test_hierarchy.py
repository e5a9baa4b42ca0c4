"""This module is where the shape of the fleet's tree is specified: what would break it changes nothing."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import Any

from sqlalchemy import func, select

from models import Event, Workspace
from models.ids import parse, uuid7
from resolvers.principal import Principal
from tests.report import record
from tests.schema.conftest import Gateway
from tests.schema.places import CREATE, changed, place, rows, update
from tests.world import Tenants, principal

MOVE = """mutation($input: MoveWorkspaceInput!) { moveWorkspace(input: $input) {
  workspace { id parent { id } } userErrors { code field } } }"""


async def moved(gateway: Gateway, who: Principal, id: str, parent: str) -> dict[str, Any]:
    answer: dict[str, Any] = (await gateway.data(who, MOVE, input={"id": id, "parentId": parent}))["moveWorkspace"]
    return answer


async def state(gateway: Gateway, tenants: Tenants) -> tuple[Any, ...]:
    """What the tenant's tree is, and how much was told of it."""
    async with gateway.services.database.session(tenants.mine) as session:
        tree = await session.execute(
            select(Workspace.id, Workspace.parent_id, Workspace.forwarded_to, Workspace.version).order_by(Workspace.id)
        )
        return (*map(tuple, tree), await session.scalar(select(func.count()).select_from(Event)))


async def test_a_parent_has_at_most_200_children(gateway: Gateway, tenants: Tenants) -> None:
    who = principal(tenants.mine, user_id=uuid7())
    root, lonely = await place(gateway, who, "Root"), await place(gateway, who, "Lonely")
    await rows(gateway, tenants.mine, 199, parent_id=parse(root, "workspace"))
    last = await place(gateway, who, "The 200th", root)
    before = await state(gateway, tenants)
    answer = (await gateway.data(who, CREATE, input={"name": "The 201st", "parentId": root}))["createWorkspace"]
    assert answer["workspace"] is None
    (error,) = answer["userErrors"]
    assert (error["code"], error["field"]) == ("LIMIT_EXCEEDED", ["input", "parentId"])
    refused = await moved(gateway, who, lonely, root)
    assert refused["userErrors"] == [{"code": "LIMIT_EXCEEDED", "field": ["input", "parentId"]}]
    assert refused["workspace"] == {"id": lonely, "parent": None}
    assert await state(gateway, tenants) == before
    # Whoever is there already stays there, and one that goes makes room.
    assert (await moved(gateway, who, last, root))["userErrors"] == []
    remove = "mutation($input: RemoveWorkspaceInput!) { removeWorkspace(input: $input) { userErrors { code } } }"
    await gateway.data(who, remove, input={"id": last})
    assert (await moved(gateway, who, lonely, root))["userErrors"] == []
    record(5, "children of one parent; the next one is refused", 200, "LIMIT_EXCEEDED, nothing changed")


async def test_two_that_want_the_last_place_at_once_do_not_both_get_it(gateway: Gateway, tenants: Tenants) -> None:
    who = principal(tenants.mine, user_id=uuid7())
    root = await place(gateway, who, "Root")
    await rows(gateway, tenants.mine, 199, parent_id=parse(root, "workspace"))
    answers = await asyncio.gather(
        *(gateway.data(who, CREATE, input={"name": f"Rival {number}", "parentId": root}) for number in range(4))
    )
    made = [one["createWorkspace"]["workspace"] is not None for one in answers]
    assert sorted(made) == [False, False, False, True]


async def test_a_tree_has_at_most_32_levels(gateway: Gateway, tenants: Tenants) -> None:
    who = principal(tenants.mine, user_id=uuid7())
    line = await rows(gateway, tenants.mine, 32)
    for above, below in pairwise(line):
        await changed(gateway, tenants.mine, below, parent_id=parse(above, "workspace"))
    root = await place(gateway, who, "Root")
    child = await place(gateway, who, "Child", root)
    before = await state(gateway, tenants)
    answer = (await gateway.data(who, CREATE, input={"name": "Deep", "parentId": line[-1]}))["createWorkspace"]
    assert [one["code"] for one in answer["userErrors"]] == ["LIMIT_EXCEEDED"]
    refused = await moved(gateway, who, root, line[30])
    assert refused["userErrors"] == [{"code": "LIMIT_EXCEEDED", "field": ["input", "parentId"]}]
    assert await state(gateway, tenants) == before
    assert (await moved(gateway, who, child, line[30]))["userErrors"] == []


async def test_a_workspace_does_not_move_under_its_own_descendant_however_far_below(
    gateway: Gateway, tenants: Tenants
) -> None:
    who = principal(tenants.mine, user_id=uuid7())
    line = [await place(gateway, who, "Root")]
    for number in range(4):
        line.append(await place(gateway, who, f"Level {number}", line[-1]))
    before = await state(gateway, tenants)
    for below in line:
        refused = await moved(gateway, who, line[0], below)
        assert refused["userErrors"] == [{"code": "CYCLE", "field": ["input", "parentId"]}]
        assert refused["workspace"] == {"id": line[0], "parent": None}
    assert await state(gateway, tenants) == before


async def test_nothing_forwards_to_itself_at_once_or_in_the_end(gateway: Gateway, tenants: Tenants) -> None:
    who = principal(tenants.mine, user_id=uuid7())
    one, two, three = await rows(gateway, tenants.mine, 3)
    assert (await update(gateway, who, one, forwardedToId=two))["userErrors"] == []
    assert (await update(gateway, who, two, forwardedToId=three))["userErrors"] == []
    before = await state(gateway, tenants)
    for target in (three, two, one):
        refused = await update(gateway, who, three, forwardedToId=target)
        assert [(e["code"], e["field"]) for e in refused["userErrors"]] == [("CYCLE", ["input", "forwardedToId"])]
        assert refused["workspace"]["forwardedTo"] is None
    assert await state(gateway, tenants) == before


async def test_no_way_becomes_longer_than_five_hops_at_either_end(gateway: Gateway, tenants: Tenants) -> None:
    who = principal(tenants.mine, user_id=uuid7())
    ids = await rows(gateway, tenants.mine, 7)
    for one, following in pairwise(ids[:6]):
        assert (await update(gateway, who, one, forwardedToId=following))["userErrors"] == []
    before = await state(gateway, tenants)
    for one, target in ((ids[5], ids[6]), (ids[6], ids[0])):
        refused = await update(gateway, who, one, forwardedToId=target)
        assert [(e["code"], e["field"]) for e in refused["userErrors"]] == [
            ("LIMIT_EXCEEDED", ["input", "forwardedToId"])
        ]
    assert await state(gateway, tenants) == before
    assert (await update(gateway, who, ids[6], forwardedToId=ids[1]))["userErrors"] == []


async def test_two_that_forward_to_each_other_at_once_close_no_circle(gateway: Gateway, tenants: Tenants) -> None:
    who = principal(tenants.mine, user_id=uuid7())
    one, two = await rows(gateway, tenants.mine, 2)
    answers = await asyncio.gather(
        update(gateway, who, one, forwardedToId=two), update(gateway, who, two, forwardedToId=one)
    )
    codes = sorted([e["code"] for e in answer["userErrors"]] for answer in answers)
    assert codes == [[], ["CYCLE"]]


async def test_another_tenants_workspace_is_no_parent_and_no_target(gateway: Gateway, tenants: Tenants) -> None:
    who = principal(tenants.mine, user_id=uuid7())
    mine = await place(gateway, who)
    (theirs,) = await rows(gateway, tenants.other, 1)
    before = await state(gateway, tenants)
    assert [e["code"] for e in (await moved(gateway, who, mine, theirs))["userErrors"]] == ["NOT_FOUND"]
    assert [e["code"] for e in (await update(gateway, who, mine, forwardedToId=theirs))["userErrors"]] == ["NOT_FOUND"]
    assert await state(gateway, tenants) == before
