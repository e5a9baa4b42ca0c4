"""This module is where the MCP servers and tools that agents can be given are managed.

Security boundary: a configuration names secrets and holds none. Rows of the platform's own tenant are every tenant's to
see and use; who may write there is the platform's administrators alone.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, TypedDict, TypeVar, Unpack
from uuid import UUID

from pydantic import AfterValidator, Field

from dataloaders.catalog import agent_with
from models import McpServer, McpServerType, Tool
from models.errors import Refusal, RefusalCode, invalid
from resolvers.call import Call
from resolvers.changing import refuse_cleared
from resolvers.placeholders import NAME, refuse_secrets, refuse_unknown
from resolvers.shapes import Shape, address, shaped
from resolvers.shared import locked_own
from resolvers.uniqueness import flush_unique
from resolvers.unit_of_work import UnitOfWork
from resolvers.validation import document, line, prose

NAME_LIMIT: Final = 255
DESCRIPTION_LIMIT: Final = 10_000
CONFIG_LIMIT_BYTES: Final = 65_536
MOST_TOOLS: Final = 200
MOST_ENVIRONMENTS: Final = 100

_TAKEN: Final = {
    "uq_mcp_servers_name": ("name", "There is an MCP server of this name already."),
    "uq_tools_name": ("name", "There is a tool of this name already."),
}
_Text = Annotated[str, Field(max_length=10_000)]
_Word = Annotated[str, Field(min_length=1, max_length=255)]
_Words = Annotated[list[_Word], Field(max_length=100)]


class McpConfig(Shape):
    """How a server is reached: started by a command, or at an address."""

    command: _Word = "-"
    args: list[_Text] = Field(default_factory=list, max_length=100)
    env: dict[str, _Text] = Field(default_factory=dict)
    url: Annotated[str, AfterValidator(address)] = "-"
    headers: dict[str, _Text] = Field(default_factory=dict)


class McpTool(Shape):
    """A tool of a server, in the words of its agent card."""

    id: _Word
    name: _Word
    description: _Text = ""
    tags: _Words = Field(default_factory=list)
    examples: list[_Text] = Field(default_factory=list, max_length=100)
    inputModes: _Words = Field(default_factory=list)
    outputModes: _Words = Field(default_factory=list)


class McpTools(Shape):
    """A server's tools."""

    tools: list[McpTool] = Field(max_length=MOST_TOOLS)


class Environments(Shape):
    """Names of what a runtime has to know, with what is known of each."""

    environments: dict[str, Annotated[str, Field(max_length=1_000)]] = Field(max_length=MOST_ENVIRONMENTS)


class ToolFields(TypedDict, total=False):
    """What can be said of a tool when it is made and later; absent stays, None clears."""

    description: str | None
    config: dict[str, Any] | None
    environments: dict[str, Any] | None


class ServerFields(ToolFields, total=False):
    """What can be said of a server besides."""

    tools: list[Any] | None
    type: McpServerType


class ToolChanges(ToolFields, total=False):
    """What an update of a tool may say."""

    name: str


class ServerChanges(ServerFields, total=False):
    """What an update of a server may say."""

    name: str


Item = TypeVar("Item", McpServer, Tool)


async def create_mcp_server(call: Call, *, name: str, **said: Unpack[ServerFields]) -> McpServer:
    """A new server of the caller's tenant; shared when that is the platform's. Raises INVALID, ALREADY_EXISTS.

    Commits.
    """
    given: dict[str, Any] = {"config": None, "environments": None, "tools": None, **said, "name": name}
    server = McpServer(**_cleaned(given, McpConfig))
    _refuse_unreachable(server.config)
    return await _create(call, server, "mcp_server.created")


async def update_mcp_server(
    call: Call, *, id: UUID, expected_version: int, **changes: Unpack[ServerChanges]
) -> McpServer:
    """Change a server of the tenant's own. Raises INVALID, NOT_FOUND, CONFLICT, IMMUTABLE, ALREADY_EXISTS. Commits."""
    refuse_cleared(changes, "type")
    cleaned = _cleaned(dict(changes), McpConfig)
    _refuse_unreachable(cleaned.get("config", {"command": "-"}))
    async with call.work() as work:
        server = await locked_own(work, McpServer, id, expected_version=expected_version, what="MCP server")
        await _change(work, server, cleaned, "mcp_server.updated")
    return server


async def delete_mcp_server(call: Call, *, id: UUID, expected_version: int | None = None) -> str:
    """Forget a server of the tenant's own; its TypeID. Raises NOT_FOUND, IMMUTABLE, CONFLICT while agents use it.

    Commits. What the platform shares may be in use by anybody, and goes all the same.
    """
    async with call.work() as work:
        server = await locked_own(work, McpServer, id, expected_version=expected_version, what="MCP server")
        await _delete(work, server, "mcp_server.deleted")
    return server.typeid


async def create_tool(call: Call, *, name: str, **said: Unpack[ToolFields]) -> Tool:
    """A new tool of the caller's tenant; shared when it is the platform's. Raises INVALID, ALREADY_EXISTS. Commits."""
    given: dict[str, Any] = {"config": None, "environments": None, **said, "name": name}
    return await _create(call, Tool(**_cleaned(given, Shape)), "tool.created")


async def update_tool(call: Call, *, id: UUID, expected_version: int, **changes: Unpack[ToolChanges]) -> Tool:
    """Change a tool of the tenant's own. Raises INVALID, NOT_FOUND, CONFLICT, IMMUTABLE, ALREADY_EXISTS. Commits."""
    cleaned = _cleaned(dict(changes), Shape)
    async with call.work() as work:
        tool = await locked_own(work, Tool, id, expected_version=expected_version, what="tool")
        await _change(work, tool, cleaned, "tool.updated")
    return tool


async def delete_tool(call: Call, *, id: UUID, expected_version: int | None = None) -> str:
    """Forget a tool of the tenant's own; its TypeID. Raises NOT_FOUND, IMMUTABLE, CONFLICT while agents use it.

    Commits.
    """
    async with call.work() as work:
        tool = await locked_own(work, Tool, id, expected_version=expected_version, what="tool")
        await _delete(work, tool, "tool.deleted")
    return tool.typeid


async def _create(call: Call, item: Item, kind: str) -> Item:
    refuse_unknown(item.config, item.environments, "config")
    async with call.work() as work:
        work.add(item)
        await flush_unique(work, _TAKEN)
        work.tell(item, kind, None)
    return item


async def _change(work: UnitOfWork, item: McpServer | Tool, cleaned: dict[str, Any], kind: str) -> None:
    before = item.facets()
    changed = sorted(name for name, value in cleaned.items() if getattr(item, name) != value)
    config, environments = (cleaned.get(name, getattr(item, name)) for name in ("config", "environments"))
    refuse_unknown(config, environments, "config")
    for name in changed:
        setattr(item, name, cleaned[name])
    if changed:
        await flush_unique(work, _TAKEN)
        work.tell(item, kind, before, {"changed": changed})


async def _delete(work: UnitOfWork, item: McpServer | Tool, kind: str) -> None:
    if await agent_with(work.session, item.typeid) is not None:
        raise Refusal(RefusalCode.CONFLICT, "Agents are configured with it.", field=("input", "id"), current=item)
    await work.session.delete(item)
    await work.session.flush()
    work.tell(item, kind, item.facets(), gone=True)


def _cleaned(said: dict[str, Any], shape: type[Shape]) -> dict[str, Any]:
    cleaned = dict(said)
    if "name" in cleaned:
        cleaned["name"] = line(cleaned["name"] or "", NAME_LIMIT, "name")
    if cleaned.get("description") is not None:
        cleaned["description"] = prose(cleaned["description"], DESCRIPTION_LIMIT, "description")
    if "config" in cleaned:
        config = cleaned["config"]
        cleaned["config"] = document({} if config is None else config, CONFIG_LIMIT_BYTES, "config")
        shaped(shape, cleaned["config"], "config")
        refuse_secrets(cleaned["config"], "config")
    if "environments" in cleaned:
        cleaned["environments"] = _environments(cleaned["environments"])
    if "tools" in cleaned:
        tools = cleaned["tools"]
        whole = document({"tools": [] if tools is None else tools}, CONFIG_LIMIT_BYTES, "tools")
        cleaned["tools"] = shaped(McpTools, whole)["tools"]
    return cleaned


def _environments(value: Any) -> dict[str, Any]:
    said = document({} if value is None else value, CONFIG_LIMIT_BYTES, "environments")
    shaped(Environments, {"environments": said})
    for name in said:
        if not NAME.fullmatch(name):
            raise invalid(
                "A name has 1 to 128 letters, digits and _, and begins with a letter or _.", "input", "environments"
            )
    refuse_secrets(said, "environments")
    return said


def _refuse_unreachable(config: dict[str, Any]) -> None:
    if ("command" in config) == ("url" in config):
        raise invalid("A server has either a command or a url.", "input", "config")
