"""This module is where the canvas is specified: where workspaces are drawn, and what each person looks at."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import func, select

from models import CanvasLayout, CanvasViewport, Event, Role, User, UserStatus, WorkspaceStatus
from models.database import Database
from models.ids import encode, uuid7
from resolvers.principal import Principal
from tests.conftest import counted
from tests.report import record
from tests.schema.conftest import Gateway
from tests.schema.places import changed, machine, place, rows
from tests.world import Tenants, principal

PUT = """mutation($input: SetCanvasLayoutsInput!) { setCanvasLayouts(input: $input) {
  layouts { workspaceId x y collapsed } userErrors { code field } } }"""
BOARD = "{ workspaces(first: 100, orderBy: {field: NAME, direction: ASC}) { nodes { id layout { x y collapsed } } } }"
LOOK = """mutation($input: SetCanvasViewportInput!) { setCanvasViewport(input: $input) {
  viewport { id x y zoom savedAt } userErrors { code field } } }"""
SEE = "{ canvasViewport { id x y zoom savedAt } }"


async def put(gateway: Gateway, who: Principal, *layouts: dict[str, Any]) -> dict[str, Any]:
    answer: dict[str, Any] = (await gateway.data(who, PUT, input={"layouts": list(layouts)}))["setCanvasLayouts"]
    return answer


def at(id: str, x: float = 1.5, y: float = -2.5, **said: Any) -> dict[str, Any]:
    return {"workspaceId": id, "x": x, "y": y, **said}


async def person(gateway: Gateway, tenants: Tenants, role: Role = Role.VIEWER) -> Principal:
    ada = User(tenant_id=tenants.mine, id=uuid7(), display_name="Ada", status=UserStatus.ACTIVE)
    async with gateway.services.database.session(tenants.mine) as session:
        session.add(ada)
        await session.commit()
    return principal(tenants.mine, role, user_id=ada.id)


async def kept(gateway: Gateway, tenants: Tenants) -> tuple[Any, Any]:
    """How many layouts there are, and how many events."""
    async with gateway.services.database.session(tenants.mine) as session:
        counts = [await session.scalar(select(func.count()).select_from(one)) for one in (CanvasLayout, Event)]
    return counts[0], counts[1]


async def test_workspaces_are_drawn_where_they_were_put(gateway: Gateway, tenants: Tenants) -> None:
    who = principal(tenants.mine, user_id=uuid7())
    a, b, c = [await place(gateway, who, name) for name in "abc"]
    answer = await put(gateway, who, at(b, 10, 20, collapsed=True), at(a))
    assert answer["userErrors"] == []
    assert answer["layouts"] == [
        {"workspaceId": b, "x": 10.0, "y": 20.0, "collapsed": True},
        {"workspaceId": a, "x": 1.5, "y": -2.5, "collapsed": False},
    ]
    viewer = principal(tenants.mine, Role.VIEWER, user_id=uuid7())
    assert (await gateway.data(viewer, BOARD))["workspaces"]["nodes"] == [
        {"id": a, "layout": {"x": 1.5, "y": -2.5, "collapsed": False}},
        {"id": b, "layout": {"x": 10.0, "y": 20.0, "collapsed": True}},
        {"id": c, "layout": None},
    ]


async def test_a_drag_leaves_folded_what_was_folded(gateway: Gateway, tenants: Tenants) -> None:
    who = principal(tenants.mine, user_id=uuid7())
    id = await place(gateway, who)
    await put(gateway, who, at(id, collapsed=True))
    assert (await put(gateway, who, at(id, 7, 8)))["layouts"] == [
        {"workspaceId": id, "x": 7.0, "y": 8.0, "collapsed": True}
    ]
    assert (await put(gateway, who, at(id, collapsed=False)))["layouts"][0]["collapsed"] is False
    assert (await kept(gateway, tenants))[0] == 1


@pytest.mark.parametrize("count", [1, 100])
async def test_putting_many_costs_the_same_statements_and_tells_once(
    gateway: Gateway, tenants: Tenants, database: Database, count: int
) -> None:
    who = principal(tenants.mine, user_id=uuid7())
    ids = await rows(gateway, tenants.mine, count)
    with counted(database) as statements:
        answer = await put(gateway, who, *(at(id, number) for number, id in enumerate(ids)))
    assert [one["workspaceId"] for one in answer["layouts"]] == ids
    assert len(statements) == 5
    assert await kept(gateway, tenants) == (count, 1)
    with counted(database) as reading:
        assert len((await gateway.data(who, BOARD))["workspaces"]["nodes"]) == count
    assert len(reading) == 2
    record(5, "workspaces put on the canvas in one call", count, f"{len(statements)} statements, one event")


async def test_what_is_folded_and_unfolded_is_part_of_the_structures_history(
    gateway: Gateway, tenants: Tenants, database: Database
) -> None:
    who = principal(tenants.mine, user_id=uuid7())
    a, b = await place(gateway, who, "a"), await place(gateway, who, "b")
    for layouts in (
        [at(a, collapsed=True), at(b)],
        [at(a, 9), at(b, collapsed=False)],  # neither changes what is folded
        [at(a, collapsed=True)],
        [at(a, collapsed=False), at(b, collapsed=True)],
    ):
        await put(gateway, who, *layouts)
    wanted = ["WORKSPACE_COLLAPSED", "WORKSPACE_EXPANDED"]
    query = """query($types: [String!]) { structureEvents(filter: {eventType: $types}) {
      nodes { eventType workspaceId } } }"""
    nodes = (await gateway.data(who, query, types=wanted))["structureEvents"]["nodes"]
    # Of what one call changed, by the workspaces' ids.
    assert [(one["eventType"], one["workspaceId"]) for one in reversed(nodes)] == [
        ("WORKSPACE_COLLAPSED", a),
        ("WORKSPACE_EXPANDED", a),
        ("WORKSPACE_COLLAPSED", b),
    ]
    feed = '{ activity(filter: {kinds: ["workspace.collapsed"]}) { nodes { topic entity { id } } } }'
    assert (await gateway.data(who, feed))["activity"]["nodes"] == [
        {"topic": "STRUCTURE", "entity": {"id": one}} for one in (b, a)
    ]
    ids = [await place(gateway, who, f"c{number}") for number in range(10)]
    with counted(database) as statements:
        await put(gateway, who, *(at(id, collapsed=True) for id in ids))
    # Two more than for places alone: the workspaces, and their structure events.
    assert len(statements) == 7


async def test_what_cannot_be_put_is_named_and_nothing_is_put(gateway: Gateway, tenants: Tenants) -> None:
    who = principal(tenants.mine, user_id=uuid7())
    id, gone = await place(gateway, who), await place(gateway, who, "Gone")
    await changed(gateway, tenants.mine, gone, status=WorkspaceStatus.REMOVED)
    (theirs,) = await rows(gateway, tenants.other, 1)
    before = await kept(gateway, tenants)
    for layouts, code, field in (
        ([], "INVALID", ["layouts"]),
        ([at(id), at(id, 3)], "INVALID", ["layouts"]),
        ([at(id), at(gone)], "NOT_FOUND", ["layouts", "1", "workspaceId"]),
        ([at(id), at(theirs)], "NOT_FOUND", ["layouts", "1", "workspaceId"]),
        ([at(encode("workspace", uuid7()))], "NOT_FOUND", ["layouts", "0", "workspaceId"]),
        ([at("nonsense")], "NOT_FOUND", ["layouts", "0", "workspaceId"]),
        ([at(id, 10_000_001)], "INVALID", ["layouts", "0", "x"]),
        ([at(id, 0, -1e300)], "INVALID", ["layouts", "0", "y"]),
    ):
        answer = await put(gateway, who, *layouts)
        assert answer == {"layouts": None, "userErrors": [{"code": code, "field": ["input", *field]}]}
    assert await kept(gateway, tenants) == before


async def test_who_may_not_write_workspaces_moves_none(gateway: Gateway, tenants: Tenants) -> None:
    id = await place(gateway, principal(tenants.mine, user_id=uuid7()))
    for who in (principal(tenants.mine, Role.VIEWER, user_id=uuid7()), machine(tenants.mine, id)):
        answer = await gateway.answer(who, PUT, input={"layouts": [at(id)]})
        assert [one["extensions"]["code"] for one in answer["errors"]] == ["FORBIDDEN"]


async def test_a_removed_workspace_is_drawn_nowhere(gateway: Gateway, tenants: Tenants) -> None:
    who = principal(tenants.mine, user_id=uuid7())
    root = await place(gateway, who, "Root")
    child = await place(gateway, who, "Child", root)
    stays = await place(gateway, who, "Stays")
    await put(gateway, who, at(root), at(child), at(stays))
    remove = "mutation($input: RemoveWorkspaceInput!) { removeWorkspace(input: $input) { removed { id } } }"
    await gateway.data(who, remove, input={"id": root, "includeDescendants": True})
    assert (await kept(gateway, tenants))[0] == 1
    find = "query($id: ID!) { workspace(id: $id) { layout { x } } }"
    assert await gateway.data(who, find, id=child) == {"workspace": {"layout": None}}


async def test_the_canvas_is_watched_through_the_activity_feed(gateway: Gateway, tenants: Tenants) -> None:
    who = principal(tenants.mine, user_id=uuid7())
    a, b = await place(gateway, who, "a"), await place(gateway, who, "b")
    await put(gateway, who, at(a), at(b))
    query = "{ activity(filter: {topics: [CANVAS]}) { nodes { kind payload entity { id } } } }"
    assert (await gateway.data(who, query))["activity"]["nodes"] == [
        {
            "kind": "canvas.arranged",
            "payload": {"workspaces": [a, b]},
            "entity": {"id": encode("tenant", tenants.mine)},
        }
    ]


async def test_everybody_finds_the_view_that_they_left(gateway: Gateway, tenants: Tenants) -> None:
    ada, bob = await person(gateway, tenants), await person(gateway, tenants, Role.OPERATOR)
    assert await gateway.data(ada, SEE) == {"canvasViewport": None}
    first = (await gateway.data(ada, LOOK, input={"x": 1, "y": 2, "zoom": 0.5}))["setCanvasViewport"]["viewport"]
    second = (await gateway.data(ada, LOOK, input={"x": -3.5, "y": 4, "zoom": 2}))["setCanvasViewport"]["viewport"]
    assert second["id"] == first["id"]
    assert second["savedAt"] > first["savedAt"]
    assert (await gateway.data(ada, SEE))["canvasViewport"] == second
    assert (second["x"], second["y"], second["zoom"]) == (-3.5, 4.0, 2.0)
    assert await gateway.data(bob, SEE) == {"canvasViewport": None}
    same_elsewhere = principal(tenants.other, user_id=ada.user_id)
    assert await gateway.data(same_elsewhere, SEE) == {"canvasViewport": None}
    assert (await kept(gateway, tenants))[1] == 0


@pytest.mark.parametrize(
    ("said", "field"),
    [
        ({"x": 1e9, "y": 0, "zoom": 1}, "x"),
        ({"x": 0, "y": -1e9, "zoom": 1}, "y"),
        ({"x": 0, "y": 0, "zoom": 0}, "zoom"),
        ({"x": 0, "y": 0, "zoom": -1}, "zoom"),
        ({"x": 0, "y": 0, "zoom": 101}, "zoom"),
    ],
)
async def test_a_view_of_nothing_is_refused(
    gateway: Gateway, tenants: Tenants, said: dict[str, Any], field: str
) -> None:
    ada = await person(gateway, tenants)
    answer = (await gateway.data(ada, LOOK, input=said))["setCanvasViewport"]
    assert answer == {"viewport": None, "userErrors": [{"code": "INVALID", "field": ["input", field]}]}


async def test_machines_and_strangers_look_at_nothing(gateway: Gateway, tenants: Tenants) -> None:
    key = principal(tenants.mine, api_key_id=uuid7())
    ghost = principal(tenants.mine, user_id=uuid7())
    for who in (key, ghost):
        answer = (await gateway.data(who, LOOK, input={"x": 0, "y": 0, "zoom": 1}))["setCanvasViewport"]
        assert answer == {"viewport": None, "userErrors": [{"code": "NOT_FOUND", "field": None}]}
        assert await gateway.data(who, SEE) == {"canvasViewport": None}
    async with gateway.services.database.session(tenants.mine) as session:
        assert await session.scalar(select(func.count()).select_from(CanvasViewport)) == 0
