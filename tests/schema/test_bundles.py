"""This module is where bundles are specified: a tree leaves as a document, and comes to life with new ids."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import orjson
import pytest
from sqlalchemy import func, select

from models import Agent, AgentAssignment, CanvasLayout, Event, Role, Scope, Tenant, Workspace, WorkspaceStatus
from models.database import Database
from models.ids import encode, parse, uuid7
from resolvers.principal import Principal
from tests.conftest import counted
from tests.report import record
from tests.schema.conftest import Gateway
from tests.schema.places import agent, assign, changed, machine, place, rows
from tests.schema.test_agent_cards import CARD, said
from tests.schema.test_canvas import at, put
from tests.schema.test_secrets import put as set_secret
from tests.world import Tenants, principal

EXPORT = """query($id: ID!) { exportBundle(id: $id) {
  bundleId workspaceCount agentCount bundle userErrors { code field } } }"""
IMPORT = """mutation($input: ImportBundleInput!) { importBundle(input: $input) {
  workspace { id name status sourceBundleId parent { id } children { id } agents { id status } }
  userErrors { code message field } } }"""
TABLES = (Workspace, Agent, AgentAssignment, CanvasLayout, Event)


def admin(tenants: Tenants) -> Principal:
    return principal(tenants.mine, api_key_id=uuid7())


async def exported(gateway: Gateway, who: Principal, id: str) -> dict[str, Any]:
    answer: dict[str, Any] = (await gateway.data(who, EXPORT, id=id))["exportBundle"]
    return answer


async def imported(gateway: Gateway, who: Principal, bundle: Any, **also: Any) -> dict[str, Any]:
    answer: dict[str, Any] = (await gateway.data(who, IMPORT, input={"bundle": bundle, **also}))["importBundle"]
    return answer


async def counts(gateway: Gateway, tenants: Tenants) -> list[Any]:
    async with gateway.services.database.session(tenants.mine) as session:
        return [await session.scalar(select(func.count()).select_from(one)) for one in TABLES]


async def business(gateway: Gateway, tenants: Tenants) -> str:
    """A root with two children and a grandchild; agents that know of each other, layouts, a card and secrets."""
    who = admin(tenants)
    root = await place(gateway, who, "Business Core", role="Runs the company", tier=3)
    marketing = await place(gateway, who, "Marketing", root, tier=1)
    development = await place(gateway, who, "Developer PM", root)
    tests = await place(gateway, who, "Auto Test", development)
    await said(gateway, who, marketing, CARD | {"apiKey": "swordfish-in-card"})
    await put(gateway, who, at(root, 0, 0), at(marketing, -200.5, 120, collapsed=True), at(tests, 7, 8))
    chief = await agent(gateway, tenants.mine, "chief", title="The Chief", capabilities=["plan", "decide"])
    outside = await agent(gateway, tenants.mine, "outside")
    config = {
        "sub_agents": [chief, outside],
        "api_key": "swordfish-in-config",
        "custom_mcp_servers": [{"url": "https://x.example", "headers": {"X-Trace": "swordfish-header"}}],
        "max_iterations": 3,
        "max_tokens": 2000,
    }
    writer = await agent(
        gateway,
        tenants.mine,
        "writer",
        instruction="Write for readers first.",
        guardrails=["no refunds"],
        config=config,
        escalates_to=parse(chief, "agent"),
    )
    await assign(gateway, who, root, chief)
    await assign(gateway, who, marketing, writer)
    await set_secret(gateway, who, "ANTHROPIC_API_KEY", marketing)
    return root


def comparable(bundle: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in bundle.items() if name != "id"}


async def test_a_bundle_holds_the_tree_with_its_agents_and_no_secret(gateway: Gateway, tenants: Tenants) -> None:
    found = await exported(gateway, admin(tenants), await business(gateway, tenants))
    assert (found["workspaceCount"], found["agentCount"], found["userErrors"]) == (4, 2, [])
    bundle = found["bundle"]
    assert bundle["id"] == found["bundleId"]
    assert [(one["ref"], one["parent"], one["name"], one["tier"]) for one in bundle["workspaces"]] == [
        ("1", None, "Business Core", 3),
        ("2", "1", "Developer PM", 2),
        ("3", "1", "Marketing", 1),
        ("4", "2", "Auto Test", 2),
    ]
    marketing = bundle["workspaces"][2]
    assert marketing["layout"] == {"x": -200.5, "y": 120.0, "collapsed": True}
    assert marketing["agentCard"] == CARD
    assert marketing["agent"]["config"] == {
        "sub_agents": ["bundle:agent:1"],
        "custom_mcp_servers": [{"url": "https://x.example", "headers": {"X-Trace": ""}}],
        "max_iterations": 3,
        "max_tokens": 2000,
    }
    assert marketing["agent"]["escalatesTo"] == "1"
    assert "swordfish" not in str(found)


@pytest.mark.parametrize("where", ["beside", "below", "elsewhere"])
async def test_what_comes_to_life_leaves_as_the_same_document(gateway: Gateway, tenants: Tenants, where: str) -> None:
    root = await business(gateway, tenants)
    first = await exported(gateway, admin(tenants), root)
    who = admin(tenants) if where != "elsewhere" else principal(tenants.other, user_id=uuid7())
    also = {"parentId": root} if where == "below" else {}
    made = await imported(gateway, who, first["bundle"], **also)
    assert made["userErrors"] == []
    born = made["workspace"]
    assert (born["name"], born["status"], born["sourceBundleId"]) == (
        "Business Core",
        "AWAITING_AGENT",
        first["bundleId"],
    )
    assert born["parent"] == ({"id": root} if where == "below" else None)
    assert len(born["children"]) == 2
    again = await exported(gateway, who, born["id"])
    assert comparable(again["bundle"]) == comparable(first["bundle"])
    assert again["bundleId"] != first["bundleId"]
    record(5, "a bundle exported, imported and exported again", 4, "the same document")


async def test_everything_that_comes_to_life_is_new_and_waits(gateway: Gateway, tenants: Tenants) -> None:
    root = await business(gateway, tenants)
    first = await exported(gateway, admin(tenants), root)
    who = admin(tenants)
    born = (await imported(gateway, who, first["bundle"]))["workspace"]
    assert [one["status"] for one in born["agents"]] == ["PENDING"]
    query = """query($id: ID!) { workspace(id: $id) { children { id name sourceBundleId url lastHeartbeatAt
      agents { id name config escalatesTo { id } isRouter hasApiKey } assignments { nodes { status model } } } } }"""
    children = (await gateway.data(who, query, id=born["id"]))["workspace"]["children"]
    marketing = next(one for one in children if one["name"] == "Marketing")
    (writer,) = marketing["agents"]
    (chief,) = born["agents"]
    assert writer["escalatesTo"] == {"id": chief["id"]}
    assert writer["config"]["sub_agents"] == [chief["id"]]
    assert (writer["isRouter"], writer["hasApiKey"], marketing["url"]) == (False, False, None)
    assert marketing["assignments"]["nodes"] == [{"status": "ACTIVE", "model": "gpt-4o"}]
    assert {one["sourceBundleId"] for one in children} == {first["bundleId"]}
    secrets = "query($id: ID!) { effectiveSecrets(workspaceId: $id) { key } }"
    assert await gateway.data(who, secrets, id=marketing["id"]) == {"effectiveSecrets": []}
    events = "{ activity(first: 8) { nodes { kind } } }"
    kinds = [one["kind"] for one in (await gateway.data(who, events))["activity"]["nodes"]]
    assert sorted(kinds) == ["agent.assigned"] * 2 + ["agent.created"] * 2 + ["workspace.created"] * 4


async def test_a_retry_under_a_key_makes_it_once(gateway: Gateway, tenants: Tenants) -> None:
    who = admin(tenants)
    bundle = (await exported(gateway, who, await business(gateway, tenants)))["bundle"]
    first = await imported(gateway, who, bundle, idempotencyKey="one")
    before = await counts(gateway, tenants)
    assert await imported(gateway, who, bundle, idempotencyKey="one") == first
    other = copy.deepcopy(bundle)
    other["workspaces"][0]["name"] = "Another"
    answer = await imported(gateway, who, other, idempotencyKey="one")
    assert [one["code"] for one in answer["userErrors"]] == ["IDEMPOTENCY_MISMATCH"]
    assert await counts(gateway, tenants) == before


def _bundle(count: int = 1, **root: Any) -> dict[str, Any]:
    workspaces = [{"ref": str(n), "parent": "0", "name": f"Place {n}"} for n in range(1, count)]
    return {
        "format": "signalbox.bundle/1",
        "id": "bundle_by_hand",
        "workspaces": [{"ref": "0", "name": "Root", **root}, *workspaces],
    }


def _line(count: int) -> dict[str, Any]:
    workspaces = [{"ref": str(n), "parent": str(n - 1) if n else None, "name": f"Level {n}"} for n in range(count)]
    return _bundle() | {"workspaces": workspaces}


AGENT = {"name": "writer", "type": "LLM", "model": "gpt-4o"}
BAD: list[tuple[Any, list[str]]] = [
    ({}, []),
    ([], []),
    ("bundle", []),
    (_bundle() | {"format": "molecule/1"}, ["format"]),
    (_bundle() | {"id": "two words"}, ["id"]),
    (_bundle() | {"workspaces": []}, ["workspaces"]),
    (_bundle(101), ["workspaces"]),
    (_bundle(name="two\nlines"), ["workspaces", "0", "name"]),
    (_bundle(name="  "), ["workspaces", "0", "name"]),
    (_bundle(tier=5), ["workspaces", "0", "tier"]),
    (_bundle(parent="0"), ["workspaces", "0", "parent"]),
    (_bundle(2) | {"workspaces": _bundle()["workspaces"] * 2}, ["workspaces", "1", "ref"]),
    (_bundle() | {"workspaces": _bundle(2)["workspaces"][::-1]}, ["workspaces", "0", "parent"]),
    (_line(33), ["workspaces", "32", "parent"]),
    (_bundle(agentCard={"version": "1"}), ["workspaces", "0", "agentCard", "name"]),
    (_bundle(layout={"x": 1}), ["workspaces", "0", "layout", "y"]),
    (_bundle(layout={"x": 1, "y": "far"}), ["workspaces", "0", "layout", "y"]),
    (_bundle(agent={"name": "writer"}), ["workspaces", "0", "agent", "type"]),
    (_bundle(agent=AGENT | {"type": "ROBOT"}), ["workspaces", "0", "agent", "type"]),
    (_bundle(agent=AGENT | {"model": None}), ["workspaces", "0", "agent", "model"]),
    (_bundle(agent=AGENT | {"name": "two words"}), ["workspaces", "0", "agent", "name"]),
    (_bundle(agent=AGENT | {"config": [1]}), ["workspaces", "0", "agent", "config"]),
    (_bundle(2, agent=AGENT | {"escalatesTo": "1"}), ["workspaces", "0", "agent", "escalatesTo"]),
    (_bundle(more="nul\x00"), []),
]


@pytest.mark.parametrize(("bundle", "path"), BAD, ids=range(len(BAD)))
async def test_what_is_wrong_with_a_bundle_is_named_by_its_path_and_nothing_is_made(
    gateway: Gateway, tenants: Tenants, bundle: Any, path: list[str]
) -> None:
    before = await counts(gateway, tenants)
    answer = await imported(gateway, admin(tenants), bundle)
    (error,) = answer["userErrors"]
    assert (error["code"], error["field"]) == ("INVALID", ["input", "bundle", *path]), error
    assert answer["workspace"] is None
    assert await counts(gateway, tenants) == before


@pytest.mark.parametrize(
    ("own", "field"),
    [({"config": {"sub_agents": ["bundle:agent:0"]}}, "config"), ({"escalatesTo": "0"}, "escalatesTo")],
)
async def test_no_agent_of_a_bundle_is_made_of_itself_or_hands_over_to_itself(
    gateway: Gateway, tenants: Tenants, own: dict[str, Any], field: str
) -> None:
    before = await counts(gateway, tenants)
    answer = await imported(gateway, admin(tenants), _bundle(agent=AGENT | own))
    (error,) = answer["userErrors"]
    assert (error["code"], error["field"]) == ("CYCLE", ["input", "bundle", "workspaces", "0", "agent", field])
    assert await counts(gateway, tenants) == before


async def test_a_bundle_by_hand_needs_refs_and_names_and_no_more(gateway: Gateway, tenants: Tenants) -> None:
    made = await imported(gateway, admin(tenants), _bundle(3, agent=AGENT))
    assert made["userErrors"] == []
    assert (len(made["workspace"]["children"]), len(made["workspace"]["agents"])) == (2, 1)


async def test_the_bundle_of_the_page_comes_to_life(gateway: Gateway, tenants: Tenants) -> None:
    page = (Path(__file__).parents[2] / "docs" / "registry.md").read_text()
    (written,) = re.findall(r"```json\n(.*?)```", page, re.DOTALL)
    made = await imported(gateway, admin(tenants), orjson.loads(written))
    assert made["userErrors"] == []
    assert [made["workspace"]["name"], len(made["workspace"]["children"])] == ["Business Core", 1]


async def test_no_limit_is_passed_by_importing(gateway: Gateway, tenants: Tenants, database: Database) -> None:
    who = admin(tenants)
    crowded = await place(gateway, who, "Crowded")
    await rows(gateway, tenants.mine, 200, parent_id=parse(crowded, "workspace"))
    gone, (theirs,) = await place(gateway, who, "Gone"), await rows(gateway, tenants.other, 1)
    await changed(gateway, tenants.mine, gone, status=WorkspaceStatus.REMOVED)
    deep = (await imported(gateway, who, _line(31)))["workspace"]["id"]
    before = await counts(gateway, tenants)
    for parent, bundle, code in (
        (crowded, _bundle(), "LIMIT_EXCEEDED"),
        (deep, _line(32), "LIMIT_EXCEEDED"),
        (gone, _bundle(), "NOT_FOUND"),
        (theirs, _bundle(), "NOT_FOUND"),
        ("nonsense", _bundle(), "NOT_FOUND"),
    ):
        answer = await imported(gateway, who, bundle, parentId=parent)
        assert [(e["code"], e["field"]) for e in answer["userErrors"]] == [(code, ["input", "parentId"])]
    async with database.session(tenants.mine) as session:
        (await session.get_one(Tenant, tenants.mine)).limits = {"workspaces": before[0] + 2}
        await session.commit()
    refused = await imported(gateway, who, _bundle(4))
    assert [e["code"] for e in refused["userErrors"]] == ["LIMIT_EXCEEDED"]
    assert await counts(gateway, tenants) == before


@pytest.mark.parametrize("count", [2, 100])
async def test_import_and_export_cost_the_same_statements_for_any_number_of_workspaces(
    gateway: Gateway, tenants: Tenants, database: Database, count: int
) -> None:
    who = admin(tenants)
    bundle = _bundle(count, agent=AGENT, layout={"x": 1, "y": 2})
    for one in bundle["workspaces"]:
        one["agent"], one["layout"] = AGENT, {"x": 1, "y": 2}
    with counted(database) as writing:
        made = await imported(gateway, who, bundle)
    assert made["userErrors"] == []
    with counted(database) as reading:
        found = await exported(gateway, who, made["workspace"]["id"])
    assert (found["workspaceCount"], found["agentCount"]) == (count, count)
    assert len(reading) == 4
    # Two of them read what the answer shows: children and agents.
    assert len(writing) == 18
    record(5, "a bundle imported and exported", count, f"{len(writing)} and {len(reading)} statements")


async def test_more_than_a_hundred_workspaces_are_no_bundle(gateway: Gateway, tenants: Tenants) -> None:
    root = await place(gateway, admin(tenants), "Root")
    await rows(gateway, tenants.mine, 100, parent_id=parse(root, "workspace"))
    found = await exported(gateway, admin(tenants), root)
    assert found["bundle"] is None
    assert found["userErrors"] == [{"code": "LIMIT_EXCEEDED", "field": ["id"]}]


async def test_nobody_exports_what_is_not_there_or_not_theirs(gateway: Gateway, tenants: Tenants) -> None:
    root = await business(gateway, tenants)
    for who, id in (
        (principal(tenants.other, user_id=uuid7()), root),
        (admin(tenants), encode("workspace", uuid7())),
        (admin(tenants), "nonsense"),
    ):
        found = await exported(gateway, who, id)
        assert found["bundle"] is None
        assert found["userErrors"] == [{"code": "NOT_FOUND", "field": ["id"]}]
    own = machine(tenants.mine, root)
    bound = principal(
        tenants.mine,
        api_key_id=uuid7(),
        workspace_id=uuid7(),
        scopes=frozenset({Scope.AGENTS_READ, Scope.WORKSPACES_READ}),
    )
    for who in (own, bound):
        answer = await gateway.answer(who, EXPORT, id=root)
        assert [one["extensions"]["code"] for one in answer["errors"]] == ["FORBIDDEN"]


async def test_who_may_not_write_agents_imports_none(gateway: Gateway, tenants: Tenants) -> None:
    key = principal(tenants.mine, Role.API_CLIENT, api_key_id=uuid7(), scopes=frozenset({Scope.WORKSPACES_WRITE}))
    answer = await gateway.answer(key, IMPORT, input={"bundle": _bundle(agent=AGENT)})
    assert "FORBIDDEN" in {one["extensions"]["code"] for one in answer["errors"]}
    assert (await counts(gateway, tenants))[:2] == [0, 0]
    viewer = principal(tenants.mine, Role.VIEWER, user_id=uuid7())
    answer = await gateway.answer(viewer, IMPORT, input={"bundle": _bundle()})
    assert [one["extensions"]["code"] for one in answer["errors"]] == ["FORBIDDEN"]
