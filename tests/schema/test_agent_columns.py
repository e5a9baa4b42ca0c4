"""This module is where every column of the unified systems' agents, templates, providers, servers and tools is written
with a value of its own and read back by somebody who only looks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import pytest

from models import Role
from models.ids import encode, uuid7
from resolvers.principal import Principal
from tests.report import record
from tests.schema.conftest import Gateway
from tests.schema.staff import DECIDE, WHOLE, done, make, mutation, person
from tests.world import Tenants

EVO_AGENT: Final = {
    "id": "id",
    "client_id": None,  # the tenant: whoever reads it is in it
    "name": "name",
    "description": "description",
    "type": "type",
    "model": "model",
    "api_key": "hasApiKey",
    "instruction": "instruction",
    "config_json": "config",
    "created_at": "createdAt",
    "updated_at": "updatedAt",
}
AIOS_AGENT: Final = {
    "id": "id",
    "name": "name",
    "title": "title",
    "domain": "domain",
    "description": "description",
    "system_prompt": "instruction",
    "capabilities": "capabilities",
    "guardrails": "guardrails",
    "status": "status",
    "is_router": "isRouter",
    "escalates_to": "escalatesTo",
    "approved_by": "approvedBy",
    "approved_at": "approvedAt",
    "rejection_reason": "rejectionReason",
    "created_at": "createdAt",
    "updated_at": "updatedAt",
}
AIOS_TEMPLATE: Final = {
    "id": "id",
    "name": "name",
    "description": "description",
    "config": "config",
    "category": "category",
    "is_builtin": "isBuiltin",
    "created_at": "createdAt",
}
EVO_SERVER: Final = {
    "id": "id",
    "name": "name",
    "description": "description",
    "config_json": "config",
    "environments": "environments",
    "tools": "tools",
    "type": "type",
    "created_at": "createdAt",
    "updated_at": "updatedAt",
}
EVO_TOOL: Final = {name: field for name, field in EVO_SERVER.items() if name not in {"tools", "type"}}
AIOPS_PROVIDER: Final = {
    "id": "id",
    "name": "name",
    "provider_type": "providerType",
    "model_id": "modelId",
    "api_key_encrypted": "hasKey",
    "is_default": "isDefault",
    "config_json": "config",
}
"""Columns of the sources by the fields that show them; None where it is the reader's own tenant."""


@pytest.fixture
async def admin(gateway: Gateway, tenants: Tenants) -> Principal:
    """Who writes."""
    return await person(gateway, tenants.mine)


async def _read(gateway: Gateway, tenants: Tenants, kind: str, fields: str, id: str) -> dict[str, Any]:
    """What a viewer reads; nobody of the other tenant reads anything."""
    document = f"query($id: ID!) {{ {kind}(id: $id) {{ {fields} }} }}"
    stranger = await person(gateway, tenants.other, Role.VIEWER)
    assert await gateway.data(stranger, document, id=id) == {kind: None}
    viewer = await person(gateway, tenants.mine, Role.VIEWER)
    found: dict[str, Any] = (await gateway.data(viewer, document, id=id))[kind]
    return found


def _seen(columns: Mapping[str, str | None], found: dict[str, Any], written: dict[str, Any], source: str) -> None:
    fields = [field for field in columns.values() if field is not None]
    silent = [field for field in fields if found[field] in (None, "", [], {}, False)]
    assert silent == []
    assert {field: found[field] for field in fields if field in written} == {
        field: value for field, value in written.items() if field in fields
    }
    record(5, "columns written with values of their own and read by a second role", len(columns), source)


async def test_every_column_of_evo_ais_agents(gateway: Gateway, tenants: Tenants, admin: Principal) -> None:
    part = await make(gateway, admin, "part")
    written: dict[str, Any] = {
        "name": "support_triage",
        "description": "Sorts what customers write",
        "type": "LLM",
        "model": "gpt-4o",
        "instruction": "Name the topic.",
        "config": {"sub_agents": [part["id"]]},
    }
    made = await make(gateway, admin, **written, apiKey="sk-swordfish")
    _seen(EVO_AGENT, await _read(gateway, tenants, "agent", WHOLE, made["id"]), written, "Evo AI agent")


async def test_every_column_of_aios_agents(gateway: Gateway, tenants: Tenants, admin: Principal) -> None:
    chief = await make(gateway, admin, "chief")
    written: dict[str, Any] = {
        "name": "finance",
        "title": "Finance",
        "domain": "Finance",
        "description": "Explains budgets",
        "instruction": "Explain it.",
        "capabilities": ["budget"],
        "guardrails": ["no promises"],
    }
    made = await make(gateway, admin, **written, escalatesToId=chief["id"])
    said: dict[str, Any] = {"id": made["id"], "decision": "REJECT", "reason": "Not now."}
    await done(gateway, admin, DECIDE, **said)
    update = mutation("updateAgent", "agent")
    await done(gateway, admin, update, id=made["id"], expectedVersion=2, isRouter=True)
    assert admin.user_id is not None
    found = await _read(gateway, tenants, "agent", WHOLE, made["id"])
    written |= {
        "status": "REJECTED",
        "isRouter": True,
        "escalatesTo": {"id": chief["id"]},
        "approvedBy": {"id": encode("user", admin.user_id)},
        "rejectionReason": "Not now.",
    }
    _seen(AIOS_AGENT, found, written, "AIOS agents")


async def test_every_column_of_aios_templates(gateway: Gateway, tenants: Tenants, admin: Principal) -> None:
    fields = "id name description config category isBuiltin createdAt"
    written: dict[str, Any] = {
        "name": f"team {uuid7()}",
        "description": "A team",
        "category": "municipal",
        "config": {"agents": [{"name": "one"}]},
    }
    made = await done(gateway, admin, mutation("createAgentTemplate", "agentTemplate"), **written)
    columns = {name: field for name, field in AIOS_TEMPLATE.items() if name != "is_builtin"}
    _seen(columns, await _read(gateway, tenants, "agentTemplate", fields, made["id"]), written, "AIOS agent_templates")
    builtin = '{ agentTemplates(filter: {name: "enterprise"}) { nodes { isBuiltin } } }'
    assert (await gateway.data(admin, builtin))["agentTemplates"]["nodes"] == [{"isBuiltin": True}]


async def test_every_column_of_evo_ais_mcp_servers(gateway: Gateway, tenants: Tenants, admin: Principal) -> None:
    written: dict[str, Any] = {
        "name": "Brave Search",
        "description": "Looks it up",
        "type": "COMMUNITY",
        "config": {"command": "npx", "args": ["-y"], "env": {"BRAVE_API_KEY": "env@@BRAVE_API_KEY"}},
        "environments": {"BRAVE_API_KEY": "env@@BRAVE_API_KEY"},
        "tools": [
            {
                "id": "brave_web_search",
                "name": "brave_web_search",
                "description": "Searches the web",
                "tags": ["search"],
                "examples": ["opening hours"],
                "inputModes": ["text"],
                "outputModes": ["text"],
            }
        ],
    }
    made = await done(gateway, admin, mutation("createMcpServer", "mcpServer"), **written)
    fields = " ".join(EVO_SERVER.values())
    _seen(EVO_SERVER, await _read(gateway, tenants, "mcpServer", fields, made["id"]), written, "Evo AI mcp_server")


async def test_every_column_of_evo_ais_tools(gateway: Gateway, tenants: Tenants, admin: Principal) -> None:
    written: dict[str, Any] = {
        "name": "clock",
        "description": "Tells the time",
        "config": {"zone": "env@@ZONE"},
        "environments": {"ZONE": "UTC"},
    }
    made = await done(gateway, admin, mutation("createTool", "tool"), **written)
    fields = " ".join(EVO_TOOL.values())
    _seen(EVO_TOOL, await _read(gateway, tenants, "tool", fields, made["id"]), written, "Evo AI tool")


async def test_every_column_of_aiops_providers(gateway: Gateway, tenants: Tenants, admin: Principal) -> None:
    written: dict[str, Any] = {
        "name": "main",
        "providerType": "ANTHROPIC",
        "modelId": "claude-sonnet-4-6",
        "isDefault": True,
        "config": {"temperature": 0.7, "max_tokens": 4000, "top_p": 0.9},
    }
    made = await done(gateway, admin, mutation("createLlmProvider", "llmProvider"), **written, apiKey="sk-swordfish")
    fields = " ".join(AIOPS_PROVIDER.values())
    found = await _read(gateway, tenants, "llmProvider", fields, made["id"])
    _seen(AIOPS_PROVIDER, found, written, "AIOps llm_providers")


@pytest.mark.parametrize(
    ("file", "table", "columns"),
    [
        ("evo-ai", "agent", EVO_AGENT),
        ("evo-ai", "mcp_server", EVO_SERVER),
        ("evo-ai", "tool", EVO_TOOL),
        ("aios-v2", "agents", AIOS_AGENT),
        ("aios-v2", "agent_templates", AIOS_TEMPLATE),
        ("aiops-platform", "llm_providers", AIOPS_PROVIDER),
    ],
)
def test_the_columns_are_as_many_as_the_sources_have(file: str, table: str, columns: Mapping[str, str | None]) -> None:
    counts = {"agent": 11, "mcp_server": 9, "tool": 7, "agents": 16, "agent_templates": 7, "llm_providers": 7}
    assert len(columns) == counts[table], file
