"""This module is where templates of agents are specified: the built-in ones, one's own, and what is made from them."""

from __future__ import annotations

from typing import Any, Final

import pytest

from models import PLATFORM_TENANT_ID, Role
from models.scopes import ROLE_SCOPES, Scope
from resolvers.principal import Principal
from tests.report import record
from tests.schema.conftest import Gateway
from tests.schema.staff import (
    DELETE,
    answered,
    done,
    kinds,
    make,
    mutation,
    nobody,
    person,
    refused,
    room_for,
    settings,
)
from tests.world import Tenants

FIELDS: Final = "id name description config category isBuiltin isShared version createdAt"
CREATE: Final = mutation("createAgentTemplate", "agentTemplate", FIELDS)
UPDATE: Final = mutation("updateAgentTemplate", "agentTemplate", FIELDS)
REMOVE: Final = mutation("deleteAgentTemplate", "deletedId", "")
AGENTS: Final = "id name type title domain status isRouter model config escalatesTo { id name }"
INSTANTIATE: Final = mutation("createAgentsFromTemplate", "agents", AGENTS)
LIST: Final = """query($filter: AgentTemplateFilter, $orderBy: AgentTemplateOrder, $first: Int, $after: String) {
  agentTemplates(filter: $filter, orderBy: $orderBy, first: $first, after: $after) {
    totalCount nodes { id name isShared } pageInfo { hasNextPage endCursor } } }"""
TEAM: Final = {
    "agents": [
        {"name": "chief", "is_router": True, "config": {"sub_agents": ["writer", "checker"]}},
        {"name": "writer", "domain": "Copy", "capabilities": ["write"], "escalates_to": "checker"},
        {"name": "checker", "domain": "Copy", "escalates_to": "chief"},
        {
            "name": "line",
            "type": "task",
            "config": {"tasks": [{"agent_id": "writer", "description": "Write"}]},
        },
    ]
}


@pytest.fixture
async def operator(gateway: Gateway, tenants: Tenants) -> Principal:
    """Somebody of mine who manages agents."""
    return await person(gateway, tenants.mine, Role.OPERATOR)


async def _built_in(gateway: Gateway, who: Principal, name: str) -> str:
    (found,) = (await gateway.data(who, LIST, filter={"name": name}))["agentTemplates"]["nodes"]
    assert found["isShared"] is True
    id: str = found["id"]
    return id


@pytest.mark.parametrize(
    ("name", "category", "count"),
    [("municipal-full", "municipal", 10), ("municipal-lite", "municipal", 4), ("enterprise", "enterprise", 4),
     ("nonprofit", "nonprofit", 3)],
)  # fmt: skip
async def test_every_tenant_sees_and_uses_the_built_in_templates(
    gateway: Gateway, tenants: Tenants, name: str, category: str, count: int
) -> None:
    for tenant in (tenants.mine, tenants.other):
        who = await person(gateway, tenant, Role.OPERATOR)
        id = await _built_in(gateway, who, name)
        document = f"query($id: ID!) {{ agentTemplate(id: $id) {{ {FIELDS} }} node(id: $id) {{ id }} }}"
        found = await gateway.data(who, document, id=id)
        template = found["agentTemplate"]
        assert (template["category"], template["isBuiltin"], found["node"]) == (category, True, {"id": id})
        made = await done(gateway, who, INSTANTIATE, templateId=id)
        assert [one["name"] for one in made] == [one["name"] for one in template["config"]["agents"]]
        routers = [one for one in made if one["isRouter"]]
        assert [one["status"] for one in routers] == ["ACTIVE"]
        assert [one["status"] for one in made if not one["isRouter"]] == ["PENDING"] * count
        assert {one["escalatesTo"]["id"] for one in made if not one["isRouter"]} == {routers[0]["id"]}
    record(5, "built-in templates", count, f"{name}: {count} pending agents and an active router, in two tenants")


async def test_nobody_but_the_platform_changes_what_is_shared(gateway: Gateway, tenants: Tenants) -> None:
    admin = await person(gateway, tenants.mine)
    id = await _built_in(gateway, admin, "enterprise")
    for document, said in ((UPDATE, {"expectedVersion": 1, "name": "mine"}), (REMOVE, {})):
        assert await refused(gateway, admin, document, id=id, **said) == ("IMMUTABLE", ["input", "id"])
    platform = Principal(
        tenant_id=PLATFORM_TENANT_ID,
        roles=frozenset({Role.ADMIN}),
        scopes=ROLE_SCOPES[Role.ADMIN] | {Scope.PLATFORM_ADMIN},
        is_platform_admin=True,
    )
    assert await refused(gateway, platform, REMOVE, id=id) == ("IMMUTABLE", ["input", "id"])


async def test_a_template_of_ones_own_is_kept_changed_and_forgotten(
    gateway: Gateway, tenants: Tenants, operator: Principal
) -> None:
    made = await done(gateway, operator, CREATE, name="team", description="A team", config=TEAM, category="desk")
    assert (made["config"], made["category"], made["isBuiltin"], made["isShared"]) == (TEAM, "desk", False, False)
    changed = await done(
        gateway, operator, UPDATE, id=made["id"], expectedVersion=1, name="squad", description=None, category=None
    )
    assert (changed["name"], changed["description"], changed["category"], changed["version"]) == (
        "squad",
        "",
        "general",
        2,
    )
    late = await answered(gateway, operator, UPDATE, id=made["id"], expectedVersion=1, name="late")
    assert (late["userErrors"][0]["code"], late["agentTemplate"]["name"]) == ("CONFLICT", "squad")
    assert await refused(gateway, operator, CREATE, name="squad", config=TEAM) == ("ALREADY_EXISTS", ["input", "name"])
    stranger = await person(gateway, tenants.other)
    for bad in (made["id"], nobody("template"), "nonsense"):
        assert await refused(gateway, stranger, REMOVE, id=bad) == ("NOT_FOUND", ["input", "id"])
        assert await refused(gateway, stranger, INSTANTIATE, templateId=bad) == ("NOT_FOUND", ["input", "templateId"])
    assert await done(gateway, operator, REMOVE, id=made["id"], expectedVersion=2) == made["id"]
    assert await kinds(gateway, operator, [made["id"]]) == [
        "agent_template.created",
        "agent_template.updated",
        "agent_template.deleted",
    ]


def _team(**change: Any) -> dict[str, Any]:
    return {"agents": [{**TEAM["agents"][1], **change}, {"name": "checker"}]}  # type: ignore[dict-item]


@pytest.mark.parametrize(
    ("config", "code", "path"),
    [
        ([], "INVALID", []),
        ({}, "INVALID", ["agents"]),
        ({"agents": []}, "INVALID", ["agents"]),
        ({"agents": [{"name": "x"}] * 51}, "INVALID", ["agents"]),
        ({"agents": [{"title": "x"}]}, "INVALID", ["agents", "0", "name"]),
        ({"agents": [{"name": "two words"}]}, "INVALID", ["agents", "0", "name"]),
        ({"agents": [{"name": "x"}, {"name": "x"}]}, "INVALID", ["agents", "1", "name"]),
        (_team(type="magic"), "INVALID", ["agents", "0", "type"]),
        (_team(type="sequential"), "INVALID", ["agents", "0", "config", "sub_agents"]),
        (_team(escalates_to="nobody"), "INVALID", ["agents", "0", "escalates_to"]),
        (_team(config={"sub_agents": ["nobody"]}), "INVALID", ["agents", "0", "config", "sub_agents", "0"]),
        (_team(config={"sub_agents": ["writer"]}), "CYCLE", ["agents", "0"]),
        (_team(escalates_to="writer"), "CYCLE", ["agents", "0"]),
        ({"agents": [{"name": n, "is_router": True} for n in "ab"]}, "INVALID", ["agents", "1", "is_router"]),
    ],
)
async def test_a_template_of_which_agents_could_not_be_made_is_refused_by_the_path(
    gateway: Gateway, operator: Principal, config: Any, code: str, path: list[str]
) -> None:
    assert await refused(gateway, operator, CREATE, name="bad", config=config) == (code, ["input", "config", *path])


async def test_agents_of_a_template_know_each_other_by_id(
    gateway: Gateway, tenants: Tenants, operator: Principal
) -> None:
    template = (await done(gateway, operator, CREATE, name="team", config=TEAM))["id"]
    await settings(gateway, tenants.mine, default_model="claude-sonnet-4-6")
    made = {one["name"]: one for one in await done(gateway, operator, INSTANTIATE, templateId=template)}
    assert made["chief"]["config"] == {"sub_agents": [made["writer"]["id"], made["checker"]["id"]]}
    assert made["line"]["config"]["tasks"][0]["agent_id"] == made["writer"]["id"]
    assert made["writer"]["escalatesTo"] == {"id": made["checker"]["id"], "name": "checker"}
    assert (made["writer"]["model"], made["line"]["model"]) == ("claude-sonnet-4-6", None)
    # They are needed by each other like any others.
    assert (await refused(gateway, operator, DELETE, id=made["writer"]["id"]))[0] == "CONFLICT"
    assert await kinds(gateway, operator, [one["id"] for one in made.values()]) == ["agent.created"] * 4


async def test_a_router_that_is_there_takes_the_place_of_the_templates(gateway: Gateway, operator: Principal) -> None:
    router = await make(gateway, operator, "mine", isRouter=True)
    id = await _built_in(gateway, operator, "nonprofit")
    made = await done(gateway, operator, INSTANTIATE, templateId=id)
    assert [one["isRouter"] for one in made] == [False] * 3
    assert {one["escalatesTo"]["id"] for one in made} == {router["id"]}


async def test_the_model_is_the_one_that_is_said_and_must_be_allowed(
    gateway: Gateway, tenants: Tenants, operator: Principal
) -> None:
    template = (await done(gateway, operator, CREATE, name="team", config={"agents": [{"name": "one"}]}))["id"]
    at = ("INVALID", ["input", "model"])
    assert await refused(gateway, operator, INSTANTIATE, templateId=template) == at
    (made,) = await done(gateway, operator, INSTANTIATE, templateId=template, model="o3")
    assert made["model"] == "o3"
    await settings(gateway, tenants.mine, allowed_models=["gpt-4o"])
    assert await refused(gateway, operator, INSTANTIATE, templateId=template, model="o3") == at


async def test_a_retry_under_a_key_makes_the_agents_once(gateway: Gateway, operator: Principal) -> None:
    id = await _built_in(gateway, operator, "nonprofit")
    first = await done(gateway, operator, INSTANTIATE, templateId=id, idempotencyKey="once")
    again = await done(gateway, operator, INSTANTIATE, templateId=id, idempotencyKey="once")
    assert [one["id"] for one in again] == [one["id"] for one in first]
    assert (await gateway.data(operator, "{ agents { totalCount } }"))["agents"]["totalCount"] == 4


async def test_a_plan_that_has_no_room_for_all_makes_none(
    gateway: Gateway, tenants: Tenants, operator: Principal
) -> None:
    await room_for(gateway, tenants.mine, 3)
    id = await _built_in(gateway, operator, "nonprofit")
    assert (await refused(gateway, operator, INSTANTIATE, templateId=id))[0] == "LIMIT_EXCEEDED"
    assert (await gateway.data(operator, "{ agents { totalCount } }"))["agents"]["totalCount"] == 0


async def test_own_and_shared_templates_page_as_one_list_in_either_direction(
    gateway: Gateway, tenants: Tenants, operator: Principal
) -> None:
    for name in ("alpha", "omega", "middle"):
        await done(gateway, operator, CREATE, name=name, config=TEAM)
    other = await person(gateway, tenants.other, Role.OPERATOR)
    await done(gateway, other, CREATE, name="beta", config=TEAM)
    expected = sorted(["alpha", "omega", "middle", "municipal-full", "municipal-lite", "enterprise", "nonprofit"])
    for direction, names in (("ASC", expected), ("DESC", expected[::-1])):
        seen: list[str] = []
        after = None
        while True:
            order = {"field": "NAME", "direction": direction}
            page = (await gateway.data(operator, LIST, orderBy=order, first=2, after=after))["agentTemplates"]
            seen += [one["name"] for one in page["nodes"]]
            assert page["totalCount"] == len(expected)
            if not page["pageInfo"]["hasNextPage"]:
                break
            after = page["pageInfo"]["endCursor"]
        assert seen == names
    assert [one["name"] for one in (await gateway.data(operator, LIST))["agentTemplates"]["nodes"]][:3] == [
        "middle",
        "omega",
        "alpha",
    ]


async def test_viewers_see_templates_and_make_nothing_of_them(gateway: Gateway, tenants: Tenants) -> None:
    viewer = await person(gateway, tenants.mine, Role.VIEWER)
    id = await _built_in(gateway, viewer, "nonprofit")
    for document, said in ((INSTANTIATE, {"templateId": id}), (CREATE, {"name": "x", "config": TEAM})):
        answer = await gateway.answer(viewer, document, input=said)
        assert [one["extensions"]["code"] for one in answer["errors"]] == ["FORBIDDEN"]
