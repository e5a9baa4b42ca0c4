"""This module is where MCP servers and tools are seen from outside: the tenant's own, and what the platform shares."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from strawberry import ID

import models
from dataloaders.catalog import mcp_servers, tools
from dataloaders.pages import Direction
from models import McpServerType, Scope
from resolvers import catalog as use_cases
from schema.commands import DeletePayload, UserError, command, payload, user_errors
from schema.common import JSON, Connection, Node, connection, found
from schema.declare import column, describe, node, root_fields
from schema.inputs import form, optional, required

describe(
    McpServerType,
    "Where an MCP server comes from.",
    OFFICIAL="From whoever makes what it leads to.",
    COMMUNITY="From somebody else, for everybody.",
    CUSTOM="From the tenant itself.",
)


class McpServerOrderField(StrEnum):
    """What servers can be sorted by."""

    CREATED_AT = "created_at"
    NAME = "name"


class ToolOrderField(StrEnum):
    """What tools can be sorted by."""

    CREATED_AT = "created_at"
    NAME = "name"


describe(McpServerOrderField, "What MCP servers can be sorted by.", CREATED_AT="When it was created.", NAME="Its name.")
describe(ToolOrderField, "What tools can be sorted by.", CREATED_AT="When it was created.", NAME="Its name.")

_ENVIRONMENTS = "What a runtime has to know, by name; env@@NAME in config stands for one of these."


@node(models.McpServer, "A server of tools that speaks the Model Context Protocol.", scope=Scope.CATALOG_READ)
class McpServer(Node):
    """GraphQL type of models.McpServer."""

    name: str = column("What people call it; unique in its tenant.")
    description: str | None = column("What it is for.")
    type: McpServerType = column("Where it comes from.")
    config: JSON = column("How it is reached: command, args and env, or url and headers.")
    environments: JSON = column(_ENVIRONMENTS)
    tools: JSON = column("Its tools: id, name, description, tags, examples, inputModes, outputModes.")
    is_shared: bool = column("Whether it is the platform's, for everybody to use.")
    version: int = column("Rises with every change; say it back as expectedVersion.")
    created_at: datetime = column("When it was created.")
    updated_at: datetime = column("When it last changed.")


@node(models.Tool, "A tool that agents can be given by itself.", scope=Scope.CATALOG_READ)
class Tool(Node):
    """GraphQL type of models.Tool."""

    name: str = column("What people call it; unique in its tenant.")
    description: str | None = column("What it is for.")
    config: JSON = column("How it works; the runtime understands it.")
    environments: JSON = column(_ENVIRONMENTS)
    is_shared: bool = column("Whether it is the platform's, for everybody to use.")
    version: int = column("Rises with every change; say it back as expectedVersion.")
    created_at: datetime = column("When it was created.")
    updated_at: datetime = column("When it last changed.")


@form("Which MCP servers; fields combine with and, lists mean any of.")
class McpServerFilter:
    """Filter of servers."""

    name: str | None = optional("Exactly this name.")
    type: list[McpServerType] | None = optional("Coming from one of these.")


@form("Which tools; fields combine with and.")
class ToolFilter:
    """Filter of tools."""

    name: str | None = optional("Exactly this name.")


@form("How MCP servers are sorted; ties are broken by id.")
class McpServerOrder:
    """Order of servers."""

    field: McpServerOrderField = required("What to sort by.")
    direction: Direction = required("Which end comes first.")


@form("How tools are sorted; ties are broken by id.")
class ToolOrder:
    """Order of tools."""

    field: ToolOrderField = required("What to sort by.")
    direction: Direction = required("Which end comes first.")


@form("A new MCP server of the caller's tenant; the platform's own are shared.")
class CreateMcpServerInput:
    """Input of createMcpServer."""

    name: str = required("One line of at most 255 characters, unique in the tenant.")
    description: str | None = optional("At most 10,000 characters.")
    type: McpServerType | None = optional("CUSTOM when absent.")
    config: JSON = required("A command with args and env, or a url with headers. Keys are named env@@NAME.")
    environments: JSON | None = optional("Texts by name; every env@@NAME of the configuration must be here.")
    tools: JSON | None = optional("A list of at most 200 tools, each with id and name.")
    idempotency_key: str | None = optional("Makes a retry safe for 24 hours; at most 255 characters.")


@form("Changes of an MCP server; absent stays, null clears.")
class UpdateMcpServerInput:
    """Input of updateMcpServer."""

    id: ID = required("Which one.", of="mcp")
    expected_version: int = required("The version these changes were made from.")
    name: str | None = optional("One line of at most 255 characters, unique in the tenant.")
    description: str | None = optional("At most 10,000 characters.")
    type: McpServerType | None = optional("Where it comes from.")
    config: JSON | None = optional("The whole of it, in the place of what was there.")
    environments: JSON | None = optional("All of them, in the place of what was there.")
    tools: JSON | None = optional("All of them, in the place of what was there.")


@form("Which MCP server goes.")
class DeleteMcpServerInput:
    """Input of deleteMcpServer."""

    id: ID = required("Which one.", of="mcp")
    expected_version: int | None = optional("Refuse when it has changed since this version.")


@form("A new tool of the caller's tenant; the platform's own are shared.")
class CreateToolInput:
    """Input of createTool."""

    name: str = required("One line of at most 255 characters, unique in the tenant.")
    description: str | None = optional("At most 10,000 characters.")
    config: JSON | None = optional("At most 64 KiB. Keys are named env@@NAME.")
    environments: JSON | None = optional("Texts by name; every env@@NAME of the configuration must be here.")
    idempotency_key: str | None = optional("Makes a retry safe for 24 hours; at most 255 characters.")


@form("Changes of a tool; absent stays, null clears.")
class UpdateToolInput:
    """Input of updateTool."""

    id: ID = required("Which one.", of="tool")
    expected_version: int = required("The version these changes were made from.")
    name: str | None = optional("One line of at most 255 characters, unique in the tenant.")
    description: str | None = optional("At most 10,000 characters.")
    config: JSON | None = optional("The whole of it, in the place of what was there.")
    environments: JSON | None = optional("All of them, in the place of what was there.")


@form("Which tool goes.")
class DeleteToolInput:
    """Input of deleteTool."""

    id: ID = required("Which one.", of="tool")
    expected_version: int | None = optional("Refuse when it has changed since this version.")


@payload("An MCP server after a change.")
class McpServerPayload:
    """Payload of server mutations."""

    mcp_server: McpServer | None = column("The server as it is now.")
    user_errors: list[UserError] = user_errors()


@payload("A tool after a change.")
class ToolPayload:
    """Payload of tool mutations."""

    tool: Tool | None = column("The tool as it is now.")
    user_errors: list[UserError] = user_errors()


@root_fields
class CatalogQueries:
    """Root fields over servers and tools."""

    mcp_servers: Connection[McpServer] | None = connection(
        mcp_servers, "The tenant's MCP servers, and the shared ones.", filter=McpServerFilter, order=McpServerOrder
    )
    mcp_server: McpServer | None = found(models.McpServer, "One MCP server.")
    tools: Connection[Tool] | None = connection(
        tools, "The tenant's tools, and the shared ones.", filter=ToolFilter, order=ToolOrder
    )
    tool: Tool | None = found(models.Tool, "One tool.")


@root_fields
class CatalogMutations:
    """What can be done to servers and tools. IMMUTABLE for what the platform shares, except for the platform."""

    create_mcp_server: McpServerPayload | None = command(
        use_cases.create_mcp_server,
        "Makes an MCP server.",
        input=CreateMcpServerInput,
        payload=McpServerPayload,
        scope=Scope.CATALOG_WRITE,
    )
    update_mcp_server: McpServerPayload | None = command(
        use_cases.update_mcp_server,
        "Changes an MCP server of the tenant's own.",
        input=UpdateMcpServerInput,
        payload=McpServerPayload,
        scope=Scope.CATALOG_WRITE,
        keep_null=True,
    )
    delete_mcp_server: DeletePayload | None = command(
        use_cases.delete_mcp_server,
        "Forgets an MCP server of the tenant's own. CONFLICT while its agents use it.",
        input=DeleteMcpServerInput,
        payload=DeletePayload,
        scope=Scope.CATALOG_WRITE,
    )
    create_tool: ToolPayload | None = command(
        use_cases.create_tool,
        "Makes a tool.",
        input=CreateToolInput,
        payload=ToolPayload,
        scope=Scope.CATALOG_WRITE,
    )
    update_tool: ToolPayload | None = command(
        use_cases.update_tool,
        "Changes a tool of the tenant's own.",
        input=UpdateToolInput,
        payload=ToolPayload,
        scope=Scope.CATALOG_WRITE,
        keep_null=True,
    )
    delete_tool: DeletePayload | None = command(
        use_cases.delete_tool,
        "Forgets a tool of the tenant's own. CONFLICT while its agents use it.",
        input=DeleteToolInput,
        payload=DeletePayload,
        scope=Scope.CATALOG_WRITE,
    )
