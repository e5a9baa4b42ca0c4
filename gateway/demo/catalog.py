"""This module is where the demo gets what agents can be given: shared MCP servers, and providers for each tenant."""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import select

from gateway.demo.together import SharingCall, together
from models import PLATFORM_TENANT_ID, LlmProviderType, McpServer, McpServerType
from resolvers.call import Services
from resolvers.catalog import create_mcp_server, create_tool
from resolvers.llm_providers import create_llm_provider
from resolvers.principal import Principal


def _server(package: str, key: str | None, *tools: str) -> dict[str, Any]:
    env = {key: f"env@@{key}"} if key else {}
    return {
        "config": {"command": "npx", "args": ["-y", package], "env": env},
        "environments": env,
        "tools": [
            {"id": tool, "name": tool, "description": "", "tags": [], "inputModes": ["text"], "outputModes": ["text"]}
            for tool in tools
        ],
    }


_SERVERS: Final = (
    (
        "Brave Search",
        McpServerType.OFFICIAL,
        _server("@modelcontextprotocol/server-brave-search", "BRAVE_API_KEY", "brave_web_search", "brave_local_search"),
    ),
    (
        "Github",
        McpServerType.OFFICIAL,
        _server("@modelcontextprotocol/server-github", "GITHUB_PERSONAL_ACCESS_TOKEN", "search_code", "create_issue"),
    ),
    (
        "Sequential Thinking",
        McpServerType.COMMUNITY,
        _server("@modelcontextprotocol/server-sequential-thinking", None, "sequentialthinking"),
    ),
)

_PROVIDERS: Final[tuple[tuple[str, LlmProviderType, str, dict[str, Any]], ...]] = (
    ("OpenAI", LlmProviderType.OPENAI, "gpt-4o", {"is_default": True, "api_key": "demo, which opens nothing"}),
    ("Anthropic", LlmProviderType.ANTHROPIC, "claude-sonnet-4-6", {}),
    ("Google", LlmProviderType.GOOGLE, "gemini-2.5-pro", {}),
    (
        "Own machines",
        LlmProviderType.OLLAMA,
        "llama3.3",
        {"is_enabled": False, "api_base_url": "http://ollama.example:11434"},
    ),
)


async def share(services: Services, platform: Principal) -> None:
    """Make the shared servers where there are none; one transaction. An earlier start's stay as they are."""
    async with services.database.session(PLATFORM_TENANT_ID) as session:
        found = await session.scalar(
            select(McpServer.id).where(McpServer.tenant_id == PLATFORM_TENANT_ID, McpServer.name == _SERVERS[0][0])
        )
    if found is not None:
        return
    async with together(services, platform) as call:
        for name, kind, said in _SERVERS:
            await create_mcp_server(call, name=name, description=f"{name} for every agent.", type=kind, **said)


async def furnish(call: SharingCall) -> None:
    """Give a tenant its model providers, one of each type, and what is its own."""
    for name, kind, model, said in _PROVIDERS:
        await create_llm_provider(call, name=name, provider_type=kind, model_id=model, **said)
    await create_mcp_server(
        call,
        name="House wiki",
        description="What everybody here should know.",
        type=McpServerType.CUSTOM,
        config={"url": "https://wiki.example/mcp", "headers": {"Authorization": "Bearer env@@WIKI_TOKEN"}},
        environments={"WIKI_TOKEN": "env@@WIKI_TOKEN"},
    )
    await create_tool(
        call,
        name="clock",
        description="Tells the time where somebody is.",
        config={"zone": "env@@ZONE"},
        environments={"ZONE": "UTC"},
    )
