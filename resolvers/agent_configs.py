"""This module is where an agent's configuration is held to what its type needs, and read for what it names.

As in JSON Schema, what a shape does not name is let through. Ids stand in it as the outside sees them, TypeIDs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal
from uuid import UUID

from pydantic import AfterValidator, ConfigDict, Field

from models import Agent, AgentType, McpServer, ReferenceKind, Tool
from models.errors import invalid
from models.ids import parse
from resolvers.placeholders import refuse_secrets
from resolvers.shapes import Shape, address, shaped
from resolvers.validation import document

CONFIG_LIMIT_BYTES: Final = 65_536
MOST_PARTS: Final = 50
CARD_PATH: Final = "/.well-known/agent.json"

_Text = Annotated[str, Field(max_length=10_000)]
_Name = Annotated[str, Field(min_length=1, max_length=255)]
_Texts = dict[str, _Text]
_Parts = Annotated[list[str], Field(max_length=MOST_PARTS)]
_SomeParts = Annotated[list[str], Field(min_length=1, max_length=MOST_PARTS)]


def _card(value: str) -> str:
    if not address(value).endswith(CARD_PATH):
        raise ValueError(f"This is the address of an agent card: it ends in {CARD_PATH}")
    return value


class ToolUse(Shape):
    """A tool of the catalog, and what its environment holds."""

    id: str
    envs: _Texts = Field(default_factory=dict)


class ServerUse(ToolUse):
    """An MCP server of the catalog, and which of its tools; all when none is named."""

    tools: list[_Name] = Field(default_factory=list, max_length=100)


class CustomServer(Shape):
    """An MCP server that is in no catalog."""

    url: Annotated[str, AfterValidator(address)]
    headers: _Texts = Field(default_factory=dict)


class BodyParameter(Shape):
    """One member of a request's body."""

    type: str
    required: bool = False
    description: _Text = ""


class HttpParameters(Shape):
    """What a request is made of."""

    path_params: dict[str, Any] = Field(default_factory=dict)
    query_params: dict[str, Any] = Field(default_factory=dict)
    body_params: dict[str, BodyParameter] = Field(default_factory=dict)


class ErrorHandling(Shape):
    """What is done when a request fails; ``timeout`` in seconds."""

    timeout: int = Field(default=30, ge=1, le=3_600)
    retry_count: int = Field(default=0, ge=0, le=10)
    fallback_response: dict[str, Any] = Field(default_factory=dict)


class HttpTool(Shape):
    """A request that the agent may send."""

    name: _Name
    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"]
    endpoint: Annotated[str, AfterValidator(address)]
    headers: _Texts = Field(default_factory=dict)
    values: dict[str, Any] = Field(default_factory=dict)
    description: _Text = ""
    parameters: HttpParameters = HttpParameters()
    error_handling: ErrorHandling = ErrorHandling()


class CustomTools(Shape):
    """Tools that are in no catalog."""

    http_tools: list[HttpTool] = Field(default_factory=list, max_length=MOST_PARTS)


class Graph(Shape):
    """A workflow's nodes and edges, which the runtime alone understands."""

    nodes: list[Any] = Field(max_length=1_000)
    edges: list[Any] = Field(max_length=5_000)


class LlmConfig(Shape):
    """A language model and what it is given."""

    tools: list[ToolUse] = Field(default_factory=list, max_length=MOST_PARTS)
    mcp_servers: list[ServerUse] = Field(default_factory=list, max_length=MOST_PARTS)
    custom_mcp_servers: list[CustomServer] = Field(default_factory=list, max_length=MOST_PARTS)
    custom_tools: CustomTools = CustomTools()
    agent_tools: _Parts = Field(default_factory=list)
    sub_agents: _Parts = Field(default_factory=list)
    workflow: Graph = Graph(nodes=[], edges=[])


class SequenceConfig(Shape):
    """Sub-agents, in order for a sequence and side by side for a parallel agent."""

    sub_agents: _SomeParts


class LoopConfig(SequenceConfig):
    """Sub-agents that run again and again."""

    max_iterations: int = Field(default=5, ge=1, le=1_000)
    condition: _Text = ""


class A2aConfig(Shape):
    """Where a remote agent's card is; nothing else is configured here."""

    model_config = ConfigDict(strict=True, extra="forbid", hide_input_in_errors=True)

    card_url: Annotated[str, AfterValidator(_card)]


class WorkflowConfig(Shape):
    """A graph, and the agents that it may call."""

    workflow: Graph
    sub_agents: _Parts = Field(default_factory=list)


class Task(Shape):
    """One task and who does it."""

    agent_id: str
    description: _Text
    expected_output: _Text = ""
    enabled_tools: list[_Name] = Field(default_factory=list, max_length=100)


class TaskConfig(Shape):
    """Tasks in their order."""

    tasks: list[Task] = Field(min_length=1, max_length=MOST_PARTS)
    sub_agents: _Parts = Field(default_factory=list)


_SHAPES: Final[dict[AgentType, type[Shape]]] = {
    AgentType.LLM: LlmConfig,
    AgentType.SEQUENTIAL: SequenceConfig,
    AgentType.PARALLEL: SequenceConfig,
    AgentType.LOOP: LoopConfig,
    AgentType.A2A: A2aConfig,
    AgentType.WORKFLOW: WorkflowConfig,
    AgentType.TASK: TaskConfig,
    AgentType.CREW_AI: TaskConfig,
}


def configuration(kind: AgentType, value: Any, *field: str) -> dict[str, Any] | None:
    """What an agent of this type is configured with; None stands for nothing, where a type needs nothing.

    Raises INVALID with the path of the first member that is wrong, or that holds a key.
    """
    said = document(value, CONFIG_LIMIT_BYTES, *field) if value is not None else {}
    shaped(_SHAPES[kind], said, *field)
    refuse_secrets(said, *field)
    return said if value is not None else None


@dataclass(frozen=True, slots=True)
class Named:
    """One place of a configuration that names an agent; ``path`` is the way there within the configuration."""

    kind: ReferenceKind
    place: int
    path: tuple[str, ...]
    text: str

    @property
    def id(self) -> UUID:
        """Whom it names; NIL for what is no agent's id."""
        return parse(self.text, Agent.__typeid__)


def agents_in(config: dict[str, Any] | None) -> Iterator[Named]:
    """The agents that a configuration which was held to its shape names, in its order."""
    said = config or {}
    for name, kind in (("sub_agents", ReferenceKind.SUB_AGENT), ("agent_tools", ReferenceKind.TOOL)):
        for place, one in enumerate(_list(said, name)):
            if isinstance(one, str):
                yield Named(kind, place, (name, str(place)), one)
    for place, one in enumerate(_list(said, "tasks")):
        if isinstance(one, dict) and isinstance(one.get("agent_id"), str):
            yield Named(ReferenceKind.TASK, place, ("tasks", str(place), "agent_id"), one["agent_id"])


def renamed(config: dict[str, Any] | None, texts: dict[str, str]) -> dict[str, Any] | None:
    """The configuration with other words for the agents that it names; those that ``texts`` does not know stay."""
    if config is None:
        return None
    made = dict(config)
    for name in ("sub_agents", "agent_tools"):
        if isinstance(made.get(name), list):
            made[name] = [texts.get(one, one) if isinstance(one, str) else one for one in made[name]]
    if isinstance(made.get("tasks"), list):
        made["tasks"] = [_task(one, texts) for one in made["tasks"]]
    return made


def _task(task: Any, texts: dict[str, str]) -> Any:
    named = task.get("agent_id") if isinstance(task, dict) else None
    return {**task, "agent_id": texts.get(named, named)} if isinstance(named, str) else task


@dataclass(frozen=True, slots=True)
class Used:
    """One place of a configuration that names something of the catalog."""

    model: type[McpServer] | type[Tool]
    path: tuple[str, ...]
    id: UUID
    envs: dict[str, str]
    tools: list[str]


def catalog_in(config: dict[str, Any] | None) -> list[Used]:
    """The servers and tools of the catalog that a configuration names."""
    models: tuple[tuple[str, type[McpServer] | type[Tool]], ...] = (("mcp_servers", McpServer), ("tools", Tool))
    return [
        Used(model, (name, str(place)), parse(one["id"], model.__typeid__), one.get("envs", {}), one.get("tools", []))
        for name, model in models
        for place, one in enumerate(_list(config or {}, name))
        if isinstance(one, dict) and isinstance(one.get("id"), str)
    ]


def refuse_unfit(used: Used, row: McpServer | Tool, *field: str) -> None:
    """Refuse environments and tools that what is used does not have. Raises INVALID."""
    for name in used.envs:
        if name not in row.environments:
            raise invalid("It has no such environment.", "input", *field, *used.path, "envs")
    known = {one.get("name") for one in row.tools} if isinstance(row, McpServer) else set()
    for place, tool in enumerate(used.tools):
        if known and tool not in known:
            raise invalid("It has no such tool.", "input", *field, *used.path, "tools", str(place))


def _list(said: dict[str, Any], name: str) -> list[Any]:
    found = said.get(name)
    return found if isinstance(found, list) else []
