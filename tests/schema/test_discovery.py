"""This module is where it is specified which workspaces may talk to each other, and where each is found."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from models import Role, WorkspaceStatus
from models.database import Database
from models.ids import encode, parse, uuid7
from resolvers.principal import Principal
from tests.conftest import counted
from tests.report import record
from tests.schema.conftest import Gateway
from tests.schema.places import changed, machine, online, place, rows
from tests.world import Tenants, principal

CHECK = """query($from: ID!, $to: ID!) { checkAccess(fromId: $from, toId: $to) { allowed relation levels } }"""
PEERS = "query($id: ID!) { peers(id: $id) { workspaceId name relation levels } }"
DISCOVER = """query($id: ID!) { discoverWorkspace(id: $id) {
  peer { workspaceId url status relation levels } hops userErrors { code field } } }"""
NOT_ALLOWED = {"allowed": False, "relation": None, "levels": None}
NAMES = ("Business Core", "Marketing", "Developer PM", "Frontend", "Backend", "QA PM", "Auto Test", "Other Root")
PARENTS = (None, 0, 0, 2, 2, 2, 5, None)


class Business:
    """The tree that Molecule shows: a root, two children, three grandchildren, one below them, and another root."""

    def __init__(self, who: Principal, ids: list[str]) -> None:
        self.who = who
        self.ids = dict(zip(NAMES, ids, strict=True))

    def __getitem__(self, name: str) -> str:
        return self.ids[name]


async def business(gateway: Gateway, tenants: Tenants) -> Business:
    who = principal(tenants.mine, user_id=uuid7())
    ids: list[str] = []
    for name, parent in zip(NAMES, PARENTS, strict=True):
        ids.append(await place(gateway, who, name, ids[parent] if parent is not None else None))
    return Business(who, ids)


async def checked(gateway: Gateway, who: Principal, one: str, other: str) -> dict[str, Any]:
    answer: dict[str, Any] = (await gateway.data(who, CHECK, **{"from": one, "to": other}))["checkAccess"]
    return answer


async def codes(gateway: Gateway, who: Principal, query: str, **said: Any) -> list[str]:
    return [one["extensions"]["code"] for one in (await gateway.answer(who, query, **said)).get("errors", ())]


@pytest.mark.parametrize(
    ("one", "other", "relation", "levels"),
    [
        ("Marketing", "Marketing", "SELF", 0),
        ("Marketing", "Developer PM", "SIBLING", 0),
        ("Business Core", "Other Root", "SIBLING", 0),
        ("Marketing", "Business Core", "PARENT", 1),
        ("Business Core", "Marketing", "CHILD", 1),
        ("Auto Test", "Developer PM", "ANCESTOR", 2),
        ("Auto Test", "Business Core", "ANCESTOR", 3),
        ("Business Core", "Auto Test", "DESCENDANT", 3),
        ("Marketing", "Frontend", None, None),
        ("Frontend", "Auto Test", None, None),
        ("Auto Test", "Other Root", None, None),
    ],
)
async def test_those_beside_above_and_below_may_talk_to_each_other_and_nobody_else(
    gateway: Gateway, tenants: Tenants, one: str, other: str, relation: str | None, levels: int | None
) -> None:
    house = await business(gateway, tenants)
    expected = {"allowed": relation is not None, "relation": relation, "levels": levels}
    assert await checked(gateway, house.who, house[one], house[other]) == expected


async def test_what_is_not_there_is_not_allowed_whatever_its_id_is(gateway: Gateway, tenants: Tenants) -> None:
    house = await business(gateway, tenants)
    (theirs,) = await rows(gateway, tenants.other, 1)
    for id in (theirs, encode("workspace", uuid7()), "nonsense", ""):
        assert await checked(gateway, house.who, house["Marketing"], id) == NOT_ALLOWED
        assert await checked(gateway, house.who, id, house["Marketing"]) == NOT_ALLOWED
    await changed(gateway, tenants.mine, house["Marketing"], status=WorkspaceStatus.REMOVED)
    assert await checked(gateway, house.who, house["Business Core"], house["Marketing"]) == NOT_ALLOWED


@pytest.mark.parametrize("depth", [2, 16, 33])
async def test_the_rule_is_one_statement_however_deep_the_tree_is(
    gateway: Gateway, tenants: Tenants, database: Database, depth: int
) -> None:
    line = await rows(gateway, tenants.mine, depth)
    for above, below in pairwise(line):
        await changed(gateway, tenants.mine, below, parent_id=parse(above, "workspace"))
    who = principal(tenants.mine, user_id=uuid7())
    with counted(database) as statements:
        answer = await checked(gateway, who, line[-1], line[0])
    assert answer["levels"] == depth - 1
    assert len(statements) == 1
    record(5, "who may talk to whom, by the tree", depth, f"{len(statements)} statement, {depth} levels")


async def test_beyond_32_levels_nobody_looks(gateway: Gateway, tenants: Tenants) -> None:
    line = await rows(gateway, tenants.mine, 34)
    for above, below in pairwise(line):
        await changed(gateway, tenants.mine, below, parent_id=parse(above, "workspace"))
    assert await checked(gateway, principal(tenants.mine, user_id=uuid7()), line[-1], line[0]) == NOT_ALLOWED


async def test_peers_are_all_that_a_workspace_may_talk_to_nearest_first(
    gateway: Gateway, tenants: Tenants, database: Database
) -> None:
    house = await business(gateway, tenants)
    with counted(database) as statements:
        found = (await gateway.data(house.who, PEERS, id=house["Developer PM"]))["peers"]
    assert [(one["name"], one["relation"], one["levels"]) for one in found] == [
        ("Marketing", "SIBLING", 0),
        ("Business Core", "PARENT", 1),
        ("Backend", "CHILD", 1),
        ("Frontend", "CHILD", 1),
        ("QA PM", "CHILD", 1),
        ("Auto Test", "DESCENDANT", 2),
    ]
    assert len(statements) == 2
    for one in found:
        assert (await checked(gateway, house.who, house["Developer PM"], one["workspaceId"]))["allowed"]
    roots = (await gateway.data(house.who, PEERS, id=house["Other Root"]))["peers"]
    assert [(one["name"], one["relation"]) for one in roots] == [("Business Core", "SIBLING")]


async def test_peers_are_bounded_and_none_of_them_is_removed_or_anothers(gateway: Gateway, tenants: Tenants) -> None:
    who = principal(tenants.mine, user_id=uuid7())
    here = (await rows(gateway, tenants.mine, 1))[0]
    parent = {"parent_id": parse(here, "workspace")}
    await rows(gateway, tenants.mine, 260, **parent)
    await rows(gateway, tenants.mine, 210)
    await rows(gateway, tenants.mine, 3, status=WorkspaceStatus.REMOVED, **parent)
    await rows(gateway, tenants.other, 3)
    found = (await gateway.data(who, PEERS, id=here))["peers"]
    assert [one["relation"] for one in found] == ["SIBLING"] * 200 + ["CHILD"] * 250
    for id in ("nonsense", encode("workspace", uuid7())):
        assert await gateway.data(who, PEERS, id=id) == {"peers": None}


async def test_a_machine_asks_for_its_own_workspace_only(gateway: Gateway, tenants: Tenants) -> None:
    house = await business(gateway, tenants)
    mine = machine(tenants.mine, house["QA PM"])
    assert (await checked(gateway, mine, house["QA PM"], house["Auto Test"]))["relation"] == "CHILD"
    assert await checked(gateway, mine, house["QA PM"], house["Marketing"]) == NOT_ALLOWED
    peers = (await gateway.data(mine, PEERS, id=house["QA PM"]))["peers"]
    assert [one["name"] for one in peers] == ["Backend", "Frontend", "Developer PM", "Auto Test", "Business Core"]
    for id in (house["Frontend"], encode("workspace", uuid7()), "nonsense"):
        assert await codes(gateway, mine, CHECK, **{"from": id, "to": house["QA PM"]}) == ["FORBIDDEN"]
        assert await codes(gateway, mine, PEERS, id=id) == ["FORBIDDEN"]


async def test_a_machine_reads_of_its_peers_what_it_needs_and_no_more(gateway: Gateway, tenants: Tenants) -> None:
    house = await business(gateway, tenants)
    query = "query($id: ID!) { peers(id: $id) { name workspace { id } } }"
    answer = await gateway.answer(machine(tenants.mine, house["Marketing"]), query, id=house["Marketing"])
    assert {one["extensions"]["code"] for one in answer["errors"]} == {"FORBIDDEN"}
    assert {(one["name"], one["workspace"]) for one in answer["data"]["peers"]} >= {("Business Core", None)}


async def test_a_machine_finds_those_that_it_may_talk_to_and_learns_of_no_other(
    gateway: Gateway, tenants: Tenants
) -> None:
    house = await business(gateway, tenants)
    for name in NAMES:
        await online(gateway, tenants.mine, house[name])
    (theirs,) = await rows(gateway, tenants.other, 1)
    mine = machine(tenants.mine, house["QA PM"])
    found = (await gateway.data(mine, DISCOVER, id=house["Developer PM"]))["discoverWorkspace"]
    assert found == {
        "peer": {
            "workspaceId": house["Developer PM"],
            "url": f"https://{house['Developer PM'][-8:]}.example",
            "status": "ONLINE",
            "relation": "PARENT",
            "levels": 1,
        },
        "hops": 0,
        "userErrors": [],
    }
    answers = [
        await gateway.answer(mine, DISCOVER, id=id)
        for id in (house["Marketing"], theirs, encode("workspace", uuid7()), "nonsense")
    ]
    assert answers[0]["data"] == {"discoverWorkspace": None}
    assert answers[0]["errors"][0]["extensions"]["code"] == "FORBIDDEN"
    assert all(one == answers[0] for one in answers)


async def test_people_with_the_scope_find_any_and_the_others_none(gateway: Gateway, tenants: Tenants) -> None:
    house = await business(gateway, tenants)
    await online(gateway, tenants.mine, house["Auto Test"])
    viewer = principal(tenants.mine, Role.VIEWER, user_id=uuid7())
    found = (await gateway.data(viewer, DISCOVER, id=house["Auto Test"]))["discoverWorkspace"]
    assert (found["peer"]["workspaceId"], found["peer"]["relation"]) == (house["Auto Test"], None)
    key = principal(tenants.mine, Role.API_CLIENT, api_key_id=uuid7(), scopes=frozenset())
    for query, said in (
        (DISCOVER, {"id": house["Auto Test"]}),
        (PEERS, {"id": house["Auto Test"]}),
        (CHECK, {"from": house["Auto Test"], "to": house["QA PM"]}),
    ):
        assert await codes(gateway, key, query, **said) == ["FORBIDDEN"]


async def test_what_does_not_run_is_unavailable(gateway: Gateway, tenants: Tenants) -> None:
    house = await business(gateway, tenants)
    assert await codes(gateway, house.who, DISCOVER, id=house["Marketing"]) == ["UNAVAILABLE"]
    await online(gateway, tenants.mine, house["Marketing"])
    await changed(gateway, tenants.mine, house["Marketing"], status=WorkspaceStatus.OFFLINE)
    assert await codes(gateway, house.who, DISCOVER, id=house["Marketing"]) == ["UNAVAILABLE"]


async def _chain(gateway: Gateway, tenants: Tenants, hops: int) -> list[str]:
    """Workspaces each of which forwards to the next; only the last one runs, the others are removed."""
    ids = await rows(gateway, tenants.mine, hops + 1)
    for one, following in pairwise(ids):
        await changed(
            gateway,
            tenants.mine,
            one,
            forwarded_to=parse(following, "workspace"),
            status=WorkspaceStatus.REMOVED,
        )
    await online(gateway, tenants.mine, ids[-1])
    return ids


@pytest.mark.parametrize("hops", [0, 1, 5])
async def test_a_forwarding_is_followed_up_to_five_hops(
    gateway: Gateway, tenants: Tenants, database: Database, hops: int
) -> None:
    ids = await _chain(gateway, tenants, hops)
    who = principal(tenants.mine, user_id=uuid7())
    with counted(database) as statements:
        found = (await gateway.data(who, DISCOVER, id=ids[0]))["discoverWorkspace"]
    assert (found["peer"]["workspaceId"], found["hops"], found["userErrors"]) == (ids[-1], hops, [])
    assert len(statements) == 2


async def test_six_hops_are_too_many(gateway: Gateway, tenants: Tenants) -> None:
    ids = await _chain(gateway, tenants, 6)
    found = (await gateway.data(principal(tenants.mine, user_id=uuid7()), DISCOVER, id=ids[0]))["discoverWorkspace"]
    assert found == {"peer": None, "hops": None, "userErrors": [{"code": "LIMIT_EXCEEDED", "field": ["id"]}]}


async def test_a_way_that_ends_nowhere_says_how(gateway: Gateway, tenants: Tenants) -> None:
    who = principal(tenants.mine, user_id=uuid7())

    async def code(id: str) -> str:
        found = (await gateway.data(who, DISCOVER, id=id))["discoverWorkspace"]
        assert found["peer"] is None
        return str(found["userErrors"][0]["code"])

    gone = await _chain(gateway, tenants, 2)
    await changed(gateway, tenants.mine, gone[-1], status=WorkspaceStatus.REMOVED)
    assert await code(gone[0]) == "EXPIRED"
    circle = await _chain(gateway, tenants, 1)
    await changed(gateway, tenants.mine, circle[1], forwarded_to=parse(circle[0], "workspace"))
    assert await code(circle[0]) == "CYCLE"
    (theirs,) = await rows(gateway, tenants.other, 1)
    for id in (theirs, encode("workspace", uuid7()), "nonsense"):
        assert await code(id) == "NOT_FOUND"


async def test_a_machine_is_sent_on_from_a_sibling_that_was_replaced(gateway: Gateway, tenants: Tenants) -> None:
    house = await business(gateway, tenants)
    await online(gateway, tenants.mine, house["Auto Test"])
    await changed(
        gateway,
        tenants.mine,
        house["Backend"],
        status=WorkspaceStatus.REMOVED,
        forwarded_to=parse(house["Auto Test"], "workspace"),
    )
    found = (await gateway.data(machine(tenants.mine, house["Frontend"]), DISCOVER, id=house["Backend"]))[
        "discoverWorkspace"
    ]
    assert (found["peer"]["workspaceId"], found["hops"]) == (house["Auto Test"], 1)
    assert found["peer"]["relation"] is None
