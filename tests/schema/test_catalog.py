"""This module is where MCP servers and tools are specified: one's own, what the platform shares, and placeholders."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Final

import pytest

from models import PLATFORM_TENANT_ID, Role, Scope, Tool
from models.ids import uuid7
from models.scopes import ROLE_SCOPES
from resolvers.principal import Principal
from tests.conftest import counted
from tests.report import record
from tests.schema.conftest import Gateway
from tests.schema.staff import answered, done, kinds, make, mutation, nobody, person, refused
from tests.world import Tenants

FIELDS: Final = "id name description config environments isShared version"
CREATE: Final = {
    "mcpServer": mutation("createMcpServer", "mcpServer", f"{FIELDS} type tools"),
    "tool": mutation("createTool", "tool", FIELDS),
}
UPDATE: Final = {
    "mcpServer": mutation("updateMcpServer", "mcpServer", f"{FIELDS} type tools"),
    "tool": mutation("updateTool", "tool", FIELDS),
}
DELETE: Final = {
    "mcpServer": mutation("deleteMcpServer", "deletedId", ""),
    "tool": mutation("deleteTool", "deletedId", ""),
}
EVENTS: Final = {"mcpServer": "mcp_server", "tool": "tool"}
KINDS: Final = list(CREATE)
BRAVE: Final[dict[str, Any]] = {
    "config": {"command": "npx", "args": ["-y", "brave"], "env": {"BRAVE_API_KEY": "env@@BRAVE_API_KEY"}},
    "environments": {"BRAVE_API_KEY": "env@@BRAVE_API_KEY"},
}


@pytest.fixture
async def admin(gateway: Gateway, tenants: Tenants) -> Principal:
    """Somebody of mine who may everything."""
    return await person(gateway, tenants.mine)


@pytest.fixture
async def platform(gateway: Gateway) -> AsyncIterator[Principal]:
    """A platform administrator at home, who leaves nothing behind."""
    who = Principal(
        tenant_id=PLATFORM_TENANT_ID,
        roles=frozenset({Role.ADMIN}),
        scopes=ROLE_SCOPES[Role.ADMIN] | {Scope.PLATFORM_ADMIN},
        is_platform_admin=True,
    )
    yield who
    for kind in KINDS:
        rows = (await gateway.data(who, f"{{ {kind}s(first: 100) {{ nodes {{ id }} }} }}"))[f"{kind}s"]["nodes"]
        for one in rows:
            await done(gateway, who, DELETE[kind], id=one["id"])


def _name() -> str:
    """A name that no other test gives; what is shared is shared by all tests, too."""
    return f"shared {uuid7()}"


async def _listed(gateway: Gateway, who: Principal, kind: str, **filter: Any) -> list[tuple[str, bool]]:
    name = f"{kind[0].upper()}{kind[1:]}"
    document = (
        f"query($filter: {name}Filter, $orderBy: {name}Order) {{ {kind}s(first: 100, filter: $filter, "
        "orderBy: $orderBy) { totalCount nodes { name isShared } } }"
    )
    order = {"field": "NAME", "direction": "ASC"}
    page = (await gateway.data(who, document, filter=filter, orderBy=order))[f"{kind}s"]
    assert page["totalCount"] == len(page["nodes"])
    return [(one["name"], one["isShared"]) for one in page["nodes"]]


@pytest.mark.parametrize("kind", KINDS)
async def test_ones_own_is_made_changed_and_forgotten(gateway: Gateway, admin: Principal, kind: str) -> None:
    made = await done(gateway, admin, CREATE[kind], name="Brave Search", description="Looks it up", **BRAVE)
    assert (made["config"], made["environments"]) == (BRAVE["config"], BRAVE["environments"])
    assert (made["isShared"], made["version"]) == (False, 1)
    said: dict[str, Any] = {"id": made["id"], "name": "Brave", "description": None}
    changed = await done(gateway, admin, UPDATE[kind], expectedVersion=1, **said)
    assert (changed["name"], changed["description"], changed["version"]) == ("Brave", None, 2)
    late = await answered(gateway, admin, UPDATE[kind], expectedVersion=1, **said)
    assert (late["userErrors"][0]["code"], late[kind]["version"]) == ("CONFLICT", 2)
    assert await refused(gateway, admin, CREATE[kind], name="Brave", **BRAVE) == ("ALREADY_EXISTS", ["input", "name"])
    assert await done(gateway, admin, DELETE[kind], id=made["id"], expectedVersion=2) == made["id"]
    verbs = ("created", "updated", "deleted")
    assert await kinds(gateway, admin, [made["id"]]) == [f"{EVENTS[kind]}.{verb}" for verb in verbs]


@pytest.mark.parametrize("kind", KINDS)
async def test_what_the_platform_makes_is_everybodys_to_see_and_nobodys_to_change(
    gateway: Gateway, tenants: Tenants, admin: Principal, platform: Principal, kind: str
) -> None:
    name = _name()
    shared = await done(gateway, platform, CREATE[kind], name=name, **BRAVE)
    assert shared["isShared"] is True
    assert await _listed(gateway, platform, kind, name=name) == [(name, True)]
    for tenant in (tenants.mine, tenants.other):
        viewer = await person(gateway, tenant, Role.VIEWER)
        found = await gateway.data(
            viewer,
            f"query($id: ID!) {{ {kind}(id: $id) {{ id isShared }} node(id: $id) {{ id }} }}",
            id=shared["id"],
        )
        assert found == {kind: {"id": shared["id"], "isShared": True}, "node": {"id": shared["id"]}}
    for document, said in ((UPDATE, {"expectedVersion": 1, "name": "mine"}), (DELETE, {})):
        assert await refused(gateway, admin, document[kind], id=shared["id"], **said) == ("IMMUTABLE", ["input", "id"])
    mine = await done(gateway, admin, CREATE[kind], name=name, **BRAVE)
    assert sorted(await _listed(gateway, admin, kind, name=name)) == [(name, False), (name, True)]
    assert await _listed(gateway, await person(gateway, tenants.other), kind, name=name) == [(name, True)]
    field = "mcp_servers" if kind == "mcpServer" else "tools"
    assert await make(gateway, admin, config={field: [{"id": shared["id"]}, {"id": mine["id"]}]})


async def test_an_administrator_of_the_platform_who_visits_writes_the_tenants_own(
    gateway: Gateway, tenants: Tenants
) -> None:
    visitor = Principal(
        tenant_id=tenants.mine,
        scopes=ROLE_SCOPES[Role.ADMIN] | {Scope.PLATFORM_ADMIN},
        is_platform_admin=True,
    )
    assert (await done(gateway, visitor, CREATE["tool"], name=_name()))["isShared"] is False


@pytest.mark.parametrize(
    ("said", "path"),
    [
        ({"name": ""}, ["name"]),
        ({"config": []}, ["config"]),
        ({"config": {}}, ["config"]),
        ({"config": {"command": "npx", "url": "https://x.example"}}, ["config"]),
        ({"config": {"url": "ftp://x.example"}}, ["config", "url"]),
        ({"config": {"command": "npx", "args": "x"}}, ["config", "args"]),
        ({"config": {"command": "npx", "env": {"A": "env@@B"}}}, ["config", "env", "A"]),
        ({"config": {"command": "npx", "args": ["--key=env@@"]}}, ["config", "args", "0"]),
        ({"config": {"url": "https://x.example", "headers": {"X-Token": "canary"}}}, ["config", "headers", "X-Token"]),
        ({"environments": []}, ["environments"]),
        ({"environments": {"9": "x"}}, ["environments"]),
        ({"environments": {"A": 1}}, ["environments"]),
        ({"environments": {"A_TOKEN": "canary"}}, ["environments", "A_TOKEN"]),
        ({"tools": {}}, ["tools"]),
        ({"tools": [{"id": "a"}]}, ["tools", "0", "name"]),
        ({"tools": [{"id": "a", "name": "a", "tags": "x"}]}, ["tools", "0", "tags"]),
    ],
)  # fmt: skip
async def test_a_server_that_could_not_run_is_refused_by_the_path(
    gateway: Gateway, admin: Principal, said: dict[str, Any], path: list[str]
) -> None:
    given = {"name": "server", "config": {"command": "npx"}, **said}
    answer = await answered(gateway, admin, CREATE["mcpServer"], **given)
    (error,) = answer["userErrors"]
    assert (error["code"], error["field"], answer["mcpServer"]) == ("INVALID", ["input", *path], None)
    assert "canary" not in error["message"]
    made = await done(gateway, admin, CREATE["mcpServer"], name="other", config={"command": "npx"})
    changed = await refused(gateway, admin, UPDATE["mcpServer"], id=made["id"], expectedVersion=1, **said)
    assert changed == ("INVALID", ["input", *path])


async def test_an_environment_that_the_configuration_names_cannot_go(gateway: Gateway, admin: Principal) -> None:
    made = await done(gateway, admin, CREATE["tool"], name="clock", **BRAVE)
    said: dict[str, Any] = {"id": made["id"], "expectedVersion": 1}
    assert await refused(gateway, admin, UPDATE["tool"], **said, environments={}) == (
        "INVALID",
        ["input", "config", "env", "BRAVE_API_KEY"],
    )
    assert (await done(gateway, admin, UPDATE["tool"], **said, config={}, environments=None))["environments"] == {}


@pytest.mark.parametrize("kind", KINDS)
async def test_another_tenants_is_not_there(gateway: Gateway, tenants: Tenants, admin: Principal, kind: str) -> None:
    made = await done(gateway, admin, CREATE[kind], name="mine", **BRAVE)
    stranger = await person(gateway, tenants.other)
    for bad in (made["id"], nobody("tool"), nobody("mcp"), "nonsense"):
        assert await gateway.data(stranger, f"query($id: ID!) {{ {kind}(id: $id) {{ id }} }}", id=bad) == {kind: None}
        for document, said in ((UPDATE, {"expectedVersion": 1, "name": "x"}), (DELETE, {})):
            assert await refused(gateway, stranger, document[kind], id=bad, **said) == ("NOT_FOUND", ["input", "id"])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("role", sorted(set(Role) - {Role.ADMIN}))
async def test_only_admins_change_the_catalog(
    gateway: Gateway, tenants: Tenants, admin: Principal, kind: str, role: Role
) -> None:
    made = await done(gateway, admin, CREATE[kind], name="mine", **BRAVE)
    who = await person(gateway, tenants.mine, role)
    for document, said in (
        (CREATE, {"name": "x", **BRAVE}),
        (UPDATE, {"id": made["id"], "expectedVersion": 1}),
        (DELETE, {"id": made["id"]}),
    ):
        answer = await gateway.answer(who, document[kind], input=said)
        assert [one["extensions"]["code"] for one in answer["errors"]] == ["FORBIDDEN"]


async def test_servers_are_filtered_by_where_they_come_from(gateway: Gateway, admin: Principal) -> None:
    for type in ("OFFICIAL", "COMMUNITY", "CUSTOM"):
        await done(gateway, admin, CREATE["mcpServer"], name=type.lower(), type=type, config={"command": "npx"})
    found = await _listed(gateway, admin, "mcpServer", type=["OFFICIAL", "CUSTOM"])
    assert [name for name, is_shared in found if not is_shared] == ["custom", "official"]


async def test_a_retry_under_a_key_makes_one_server(gateway: Gateway, admin: Principal) -> None:
    first = await done(gateway, admin, CREATE["mcpServer"], name="one", idempotencyKey="once", **BRAVE)
    again = await done(gateway, admin, CREATE["mcpServer"], name="one", idempotencyKey="once", **BRAVE)
    assert again["id"] == first["id"]


@pytest.mark.parametrize("count", [1, 50])
async def test_a_list_of_own_and_shared_is_one_statement_for_any_number_of_rows(
    gateway: Gateway, tenants: Tenants, count: int
) -> None:
    async with gateway.services.database.session(tenants.mine) as session:
        for number in range(count):
            session.add(Tool(tenant_id=tenants.mine, name=f"tool {number}"))
        await session.commit()
    with counted(gateway.services.database) as statements:
        who = await person(gateway, tenants.mine)
        page = (await gateway.data(who, "{ tools(first: 100) { nodes { id } } }"))["tools"]
    assert len(page["nodes"]) >= count
    assert len([one for one in statements if "tools" in one]) == 1
    record(5, "tools, own and shared", count, "1 statement")
