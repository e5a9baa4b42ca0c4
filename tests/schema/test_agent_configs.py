"""This module is where it is specified what an agent of each type is configured with, and whom it may be made of."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import pytest

from models import Role
from models.ids import NIL, encode
from resolvers.principal import Principal
from tests.report import record
from tests.schema.conftest import Gateway
from tests.schema.staff import CREATE, DELETE, UPDATE, answered, done, make, mutation, nobody, person, refused
from tests.world import Tenants

CARD: Final = "https://partner.example/.well-known/agent.json"
HTTP: Final = {"name": "crm", "method": "POST", "endpoint": "https://crm.example/contacts/{id}"}
SERVER: Final = mutation("createMcpServer", "mcpServer")
TOOL: Final = mutation("createTool", "tool")


@pytest.fixture
async def admin(gateway: Gateway, tenants: Tenants) -> Principal:
    """Somebody of mine who may everything."""
    return await person(gateway, tenants.mine)


def _of(part: str) -> dict[str, tuple[str, dict[str, Any] | None]]:
    task = {"agent_id": part, "description": "Do it", "expected_output": "Done", "enabled_tools": ["search"]}
    workflow = {"nodes": [{"id": "a"}], "edges": [["a", "a"]]}
    return {
        "an llm without any": ("LLM", None),
        "an llm with all": (
            "LLM",
            {
                "sub_agents": [part],
                "agent_tools": [part],
                "custom_mcp_servers": [{"url": "https://mcp.example/sse", "headers": {"X-Version": "1"}}],
                "custom_tools": {
                    "http_tools": [
                        {
                            **HTTP,
                            "headers": {"Authorization": "Bearer env@@CRM_TOKEN"},
                            "values": {"source": "chat"},
                            "description": "Writes a contact",
                            "parameters": {
                                "path_params": {"id": "the contact"},
                                "query_params": {"page": ["1"]},
                                "body_params": {"name": {"type": "string", "required": True, "description": "x"}},
                            },
                            "error_handling": {"timeout": 30, "retry_count": 2, "fallback_response": {"ok": False}},
                        }
                    ]
                },
                "workflow": workflow,
                "of_its_own": {"kept": True},
            },
        ),
        "a sequence": ("SEQUENTIAL", {"sub_agents": [part, part]}),
        "a parallel": ("PARALLEL", {"sub_agents": [part]}),
        "a loop": ("LOOP", {"sub_agents": [part], "max_iterations": 3, "condition": "score >= 0.9"}),
        "a remote agent": ("A2A", {"card_url": CARD}),
        "a workflow": ("WORKFLOW", {"workflow": workflow, "sub_agents": [part]}),
        "a list of tasks": ("TASK", {"tasks": [task]}),
        "a crew": ("CREW_AI", {"tasks": [task, task], "sub_agents": [part]}),
    }


@pytest.mark.parametrize("case", list(_of("")))
async def test_each_type_takes_what_it_needs_and_gives_it_back(gateway: Gateway, admin: Principal, case: str) -> None:
    part = await make(gateway, admin, "part")
    kind, config = _of(part["id"])[case]
    made = await make(gateway, admin, "whole", type=kind, **({"config": config} if config else {}))
    assert (made["type"], made["config"]) == (kind, config)


WRONG: Final[list[tuple[str, Any, list[str]]]] = [
    ("LLM", [], []),
    ("LLM", "text", []),
    ("LLM", {"sub_agents": "one"}, ["sub_agents"]),
    ("LLM", {"sub_agents": [1]}, ["sub_agents", "0"]),
    ("LLM", {"sub_agents": ["agent_x"] * 51}, ["sub_agents"]),
    ("LLM", {"tools": [{"envs": {}}]}, ["tools", "0", "id"]),
    ("LLM", {"mcp_servers": [{"id": "mcp_x", "tools": [""]}]}, ["mcp_servers", "0", "tools", "0"]),
    ("LLM", {"custom_mcp_servers": [{"url": "ftp://x"}]}, ["custom_mcp_servers", "0", "url"]),
    (
        "LLM",
        {"custom_tools": {"http_tools": [{**HTTP, "method": "FETCH"}]}},
        ["custom_tools", "http_tools", "0", "method"],
    ),
    (
        "LLM",
        {"custom_tools": {"http_tools": [{**HTTP, "error_handling": {"timeout": 0}}]}},
        ["custom_tools", "http_tools", "0", "error_handling", "timeout"],
    ),
    ("LLM", {"api_key": "x" * 32}, ["api_key"]),
    (
        "LLM",
        {"custom_mcp_servers": [{"url": "https://x.example", "headers": {"Authorization": "Bearer canary"}}]},
        ["custom_mcp_servers", "0", "headers", "Authorization"],
    ),
    ("SEQUENTIAL", None, ["sub_agents"]),
    ("SEQUENTIAL", {"sub_agents": []}, ["sub_agents"]),
    ("PARALLEL", {"agents": ["x"]}, ["sub_agents"]),
    ("LOOP", {"max_iterations": 3}, ["sub_agents"]),
    ("LOOP", {"sub_agents": ["agent_x"], "max_iterations": 0}, ["max_iterations"]),
    ("LOOP", {"sub_agents": ["agent_x"], "max_iterations": "3"}, ["max_iterations"]),
    ("A2A", None, ["card_url"]),
    ("A2A", {"card_url": "https://partner.example/agent.json"}, ["card_url"]),
    ("A2A", {"card_url": "partner.example/.well-known/agent.json"}, ["card_url"]),
    ("A2A", {"card_url": CARD, "sub_agents": []}, []),
    ("WORKFLOW", {}, ["workflow"]),
    ("WORKFLOW", {"workflow": {"nodes": []}}, ["workflow", "edges"]),
    ("TASK", {"tasks": []}, ["tasks"]),
    ("TASK", {"tasks": [{"description": "x"}]}, ["tasks", "0", "agent_id"]),
    ("CREW_AI", {"tasks": [{"agent_id": "agent_x", "description": 1}]}, ["tasks", "0", "description"]),
]


@pytest.mark.parametrize(("kind", "config", "path"), WRONG)
async def test_a_wrong_configuration_is_refused_by_the_path_of_what_is_wrong(
    gateway: Gateway, admin: Principal, kind: str, config: Any, path: list[str]
) -> None:
    said: dict[str, Any] = {"name": "x", "type": kind, "model": "gpt-4o"}
    answer = await answered(gateway, admin, CREATE, **said, **({} if config is None else {"config": config}))
    (error,) = answer["userErrors"]
    assert (answer["agent"], error["code"], error["field"]) == (None, "INVALID", ["input", "config", *path])
    assert "canary" not in error["message"]
    assert (await gateway.data(admin, "{ agents { totalCount } }"))["agents"]["totalCount"] == 0
    record(5, "a wrong configuration, by type", 1, f"{kind}: INVALID at {'.'.join(path) or 'config'}")


async def test_a_deeply_nested_configuration_is_refused(gateway: Gateway, admin: Principal) -> None:
    deep: Any = "x"
    for _ in range(100):
        deep = [deep]
    said: dict[str, Any] = {"name": "x", "type": "LLM", "model": "gpt-4o", "config": {"deep": deep}}
    assert await refused(gateway, admin, CREATE, **said) == ("INVALID", ["input", "config"])


def _naming(kind: str, named: str) -> tuple[str, dict[str, Any], list[str]]:
    """A configuration that names an agent in one of the places where one can be named."""
    places: dict[str, tuple[str, dict[str, Any], list[str]]] = {
        "sub-agent": ("SEQUENTIAL", {"sub_agents": [named]}, ["sub_agents", "0"]),
        "tool": ("LLM", {"agent_tools": [named]}, ["agent_tools", "0"]),
        "task": ("TASK", {"tasks": [{"agent_id": named, "description": "x"}]}, ["tasks", "0", "agent_id"]),
    }
    return places[kind]


@pytest.mark.parametrize("place", ["sub-agent", "tool", "task"])
async def test_whom_a_configuration_names_is_there_and_of_the_same_tenant(
    gateway: Gateway, tenants: Tenants, admin: Principal, place: str
) -> None:
    theirs = await make(gateway, await person(gateway, tenants.other), "theirs")
    gone = await make(gateway, admin, "gone")
    await done(gateway, admin, DELETE, id=gone["id"])
    messages = set()
    for bad in (theirs["id"], gone["id"], nobody("agent"), nobody("user"), encode("agent", NIL), "nonsense", ""):
        kind, config, path = _naming(place, bad)
        said: dict[str, Any] = {"name": "x", "type": kind, "model": "gpt-4o", "config": config}
        (error,) = (await answered(gateway, admin, CREATE, **said))["userErrors"]
        assert (error["code"], error["field"]) == ("NOT_FOUND", ["input", "config", *path])
        messages.add(error["message"])
    assert len(messages) == 1
    record(5, "foreign, deleted, unknown and malformed sub-agents", 7, f"{place}: one and the same NOT_FOUND")


@pytest.mark.parametrize("place", ["sub-agent", "tool", "task"])
@pytest.mark.parametrize("length", [1, 2, 5])
async def test_no_agent_is_made_of_itself(gateway: Gateway, admin: Principal, place: str, length: int) -> None:
    first = await make(gateway, admin, "first")
    above = first["id"]
    for number in range(length - 1):
        kind, config, _ = _naming(place, above)
        above = (await make(gateway, admin, f"over_{number}", type=kind, model="gpt-4o", config=config))["id"]
    said: dict[str, Any] = {"id": first["id"], "expectedVersion": 1, "config": {"sub_agents": [above]}}
    answer = await answered(gateway, admin, UPDATE, **said)
    (error,) = answer["userErrors"]
    assert (error["code"], error["field"]) == ("CYCLE", ["input", "config", "sub_agents", "0"])
    assert (answer["agent"]["config"], answer["agent"]["version"]) == (None, 1)
    record(5, "cycles of sub-agents", length, f"through {place}s: CYCLE, nothing changed")


async def test_two_that_become_part_of_each_other_at_once_never_close_a_cycle(
    gateway: Gateway, admin: Principal
) -> None:
    one, two = await make(gateway, admin, "one"), await make(gateway, admin, "two")

    def of(part: dict[str, Any]) -> dict[str, Any]:
        return {"expectedVersion": 1, "config": {"sub_agents": [part["id"]]}}

    answers = await asyncio.gather(
        answered(gateway, admin, UPDATE, id=one["id"], **of(two)),
        answered(gateway, admin, UPDATE, id=two["id"], **of(one)),
    )
    codes = sorted(str([error["code"] for error in answer["userErrors"]]) for answer in answers)
    assert codes == ["['CYCLE']", "[]"]


async def test_an_agent_may_be_part_of_many_and_a_part_that_is_taken_out_may_turn_around(
    gateway: Gateway, admin: Principal
) -> None:
    leaf = await make(gateway, admin, "leaf")
    left = await make(gateway, admin, "left", config={"sub_agents": [leaf["id"]]})
    right = await make(gateway, admin, "right", config={"agent_tools": [leaf["id"]]})
    top = await make(gateway, admin, "top", type="PARALLEL", config={"sub_agents": [left["id"], right["id"]]})
    empty = await done(gateway, admin, UPDATE, id=left["id"], expectedVersion=1, config={})
    turned = {"sub_agents": [left["id"]]}
    assert (await done(gateway, admin, UPDATE, id=leaf["id"], expectedVersion=1, config=turned))["config"] == turned
    assert (empty["config"], top["config"]["sub_agents"]) == ({}, [left["id"], right["id"]])


async def test_what_an_agent_uses_of_the_catalog_is_there_and_fits(
    gateway: Gateway, tenants: Tenants, admin: Principal
) -> None:
    server: dict[str, Any] = {
        "config": {"command": "npx", "env": {"BRAVE_API_KEY": "env@@BRAVE_API_KEY"}},
        "environments": {"BRAVE_API_KEY": "env@@BRAVE_API_KEY"},
        "tools": [{"id": "brave_web_search", "name": "brave_web_search"}],
    }
    mine = (await done(gateway, admin, SERVER, name="Brave", **server))["id"]
    tool = (await done(gateway, admin, TOOL, name="clock"))["id"]
    stranger = await person(gateway, tenants.other)
    theirs = (await done(gateway, stranger, SERVER, name="Brave", **server))["id"]
    use = {"id": mine, "envs": {"BRAVE_API_KEY": "env@@BRAVE_API_KEY"}, "tools": ["brave_web_search"]}
    fine = {"mcp_servers": [use], "tools": [{"id": tool}]}
    made = await make(gateway, admin, config=fine)
    assert made["config"] == fine
    wrong: list[tuple[dict[str, Any], str, list[str]]] = [
        ({"mcp_servers": [{**use, "id": theirs}]}, "NOT_FOUND", ["mcp_servers", "0", "id"]),
        ({"mcp_servers": [use, {"id": tool}]}, "NOT_FOUND", ["mcp_servers", "1", "id"]),
        ({"tools": [{"id": mine}]}, "NOT_FOUND", ["tools", "0", "id"]),
        ({"mcp_servers": [{**use, "envs": {"OTHER": "x"}}]}, "INVALID", ["mcp_servers", "0", "envs"]),
        ({"mcp_servers": [{**use, "tools": ["other"]}]}, "INVALID", ["mcp_servers", "0", "tools", "0"]),
        (
            {"mcp_servers": [{**use, "envs": {"BRAVE_API_KEY": "canary"}}]},
            "INVALID",
            ["mcp_servers", "0", "envs", "BRAVE_API_KEY"],
        ),
    ]
    for config, code, path in wrong:
        said: dict[str, Any] = {"name": "x", "type": "LLM", "model": "gpt-4o", "config": config}
        assert await refused(gateway, admin, CREATE, **said) == (code, ["input", "config", *path])
    for document, id in (("deleteMcpServer", mine), ("deleteTool", tool)):
        delete = mutation(document, "deletedId", "")
        assert await refused(gateway, admin, delete, id=id) == ("CONFLICT", ["input", "id"])


async def test_a_viewer_reads_the_configuration(gateway: Gateway, tenants: Tenants, admin: Principal) -> None:
    made = await make(gateway, admin, type="A2A", config={"card_url": CARD})
    viewer = await person(gateway, tenants.mine, Role.VIEWER)
    found = await gateway.data(viewer, "query($id: ID!) { agent(id: $id) { config } }", id=made["id"])
    assert found == {"agent": {"config": {"card_url": CARD}}}
