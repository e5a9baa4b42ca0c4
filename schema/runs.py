"""This module is where agents' work is seen from outside: runs, what they cost, and the tools that were used."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import strawberry
from strawberry import ID

import models
from dataloaders.pages import Direction
from dataloaders.runs import agent_runs, tool_executions, tools_by_run
from models import RunStatus, Scope, ToolKind, ToolStatus
from resolvers import runs as use_cases
from resolvers.call import Call
from resolvers.conversation_access import is_own_agent, is_own_by_id, is_owner
from schema.agents import Agent
from schema.commands import UserError, command, payload, user_errors
from schema.common import JSON, Connection, Node, connection, found, own_without
from schema.declare import column, describe, node, related, root_fields, to_one
from schema.inputs import form, optional, required
from schema.messages import Message
from schema.users import User

if TYPE_CHECKING:
    from schema.conversations import Conversation

describe(
    RunStatus,
    "Where a run stands.",
    ACTIVE="It is at work.",
    COMPLETED="It is done.",
    FAILED="It could not be done.",
    CANCELLED="It was given up.",
)
describe(
    ToolKind,
    "Where a tool comes from.",
    MCP="A server of the model context protocol.",
    SKILL="A skill of the platform.",
)
describe(
    ToolStatus,
    "How the use of a tool ended.",
    SUCCESS="With a result.",
    ERROR="With an error.",
    TIMEOUT="It took too long.",
)


class AgentRunOrderField(StrEnum):
    """What runs can be sorted by."""

    STARTED_AT = "started_at"


class ToolExecutionOrderField(StrEnum):
    """What uses of tools can be sorted by."""

    CREATED_AT = "created_at"


describe(AgentRunOrderField, "What runs can be sorted by.", STARTED_AT="When it began.")
describe(ToolExecutionOrderField, "What uses of tools can be sorted by.", CREATED_AT="When it was recorded.")


def _own_run(row: models.AgentRun, call: Call) -> Any:
    return is_owner(call.principal, row.user_id) or is_own_agent(call, row.agent_id)


def _own_execution(row: models.ToolExecution, call: Call) -> Any:
    return is_owner(call.principal, row.user_id) or is_own_by_id(call, row.conversation_id)


@node(
    models.ToolExecution,
    "One use of a tool: what went in, what came out, how long it took.",
    scope=Scope.RUNS_READ,
    own=_own_execution,
)
class ToolExecution(Node):
    """GraphQL type of models.ToolExecution."""

    kind: ToolKind = column("Where the tool comes from.")
    tool_name: str = column("Which tool.")
    server_name: str | None = column("The server it is of.")
    run: Annotated[AgentRun, strawberry.lazy("schema.runs")] | None = to_one(
        models.AgentRun, "The run it was used in.", "run_id"
    )
    conversation: Annotated[Conversation, strawberry.lazy("schema.conversations")] | None = to_one(
        models.Conversation, "The conversation it was used in.", "conversation_id"
    )
    message: Message | None = to_one(models.Message, "The message that called it.", "message_id")
    input: JSON | None = column("What went in.")
    output: JSON | None = column("What came out.")
    status: ToolStatus = column("How it ended.")
    error_message: str | None = column("What went wrong.")
    duration_milliseconds: int | None = column("How long it took.", "duration_ms")
    created_at: datetime = column("When it was recorded.")


@node(
    models.AgentRun,
    "One agent's work: its state, what it used, how it ended.",
    scope=Scope.RUNS_READ,
    own=_own_run,
)
class AgentRun(Node):
    """GraphQL type of models.AgentRun."""

    conversation: Annotated[Conversation, strawberry.lazy("schema.conversations")] | None = to_one(
        models.Conversation, "The conversation it works in.", "conversation_id"
    )
    user: User | None = to_one(models.User, "Whose conversation that is.", "user_id")
    agent: Agent | None = to_one(models.Agent, "Who works; null when it is gone.", "agent_id")
    agent_name: str = column("What the agent was called.")
    state: JSON = column("What the agent remembers of it.")
    status: RunStatus = column("Where it stands.")
    input_tokens: int = column("Tokens that went in.")
    output_tokens: int = column("Tokens that came out.")
    total_cost_usd: float = column("What it cost, in dollars, with six places.", "total_cost")
    started_at: datetime = column("When it began.")
    ended_at: datetime | None = column("When it ended.")
    duration_milliseconds: int | None = column("How long it took.", "duration_ms")
    tool_executions: list[ToolExecution] | None = related(
        tools_by_run, "The tools that were used, newest first, at most 200.", cost=2
    )
    created_at: datetime = column("When it was recorded.")
    updated_at: datetime = column("When it last changed.")


@form("Which runs; fields combine with and, lists mean any of.")
class AgentRunFilter:
    """Filter of runs."""

    status: list[RunStatus] | None = optional("One of these statuses.")
    agent_id: ID | None = optional("Of this agent.", of="agent")
    conversation_id: ID | None = optional("In this conversation.", of="conversation")
    user_id: ID | None = optional("In conversations of this person.", of="user")


@form("How runs are sorted; ties are broken by id.")
class AgentRunOrder:
    """Order of runs."""

    field: AgentRunOrderField = required("What to sort by.")
    direction: Direction = required("Which end comes first.")


@form("Which uses of tools; fields combine with and, lists mean any of.")
class ToolExecutionFilter:
    """Filter of uses of tools."""

    kind: list[ToolKind] | None = optional("One of these kinds.")
    status: list[ToolStatus] | None = optional("Ended in one of these ways.")
    run_id: ID | None = optional("In this run.", of="run")
    conversation_id: ID | None = optional("In this conversation.", of="conversation")
    message_id: ID | None = optional("Called by this message.", of="message")
    tool_name: str | None = optional("Of exactly this tool.")


@form("How uses of tools are sorted; ties are broken by id.")
class ToolExecutionOrder:
    """Order of uses of tools."""

    field: ToolExecutionOrderField = required("What to sort by.")
    direction: Direction = required("Which end comes first.")


@form("A run that begins.")
class StartRunInput:
    """Input of startRun."""

    agent_id: ID | None = optional("Who works.", of="agent")
    agent_name: str | None = optional("What the agent is called; its own name when absent.")
    conversation_id: ID | None = optional("The conversation it works in.", of="conversation")
    state: JSON | None = optional("What the agent remembers, a JSON object of at most 131,072 bytes.")
    idempotency_key: str | None = optional("Makes a retry safe for 24 hours; at most 255 characters.")


@form("What a run has used so far.")
class UpdateRunInput:
    """Input of updateRun."""

    id: ID = required("Which one.", of="run")
    state: JSON | None = optional("What the agent remembers now.")
    input_tokens: int | None = optional("Tokens that went in so far.")
    output_tokens: int | None = optional("Tokens that came out so far.")
    total_cost_usd: float | None = optional("What it cost so far, in dollars.")


@form("How a run ended.")
class FinishRunInput:
    """Input of finishRun."""

    id: ID = required("Which one.", of="run")
    status: RunStatus = required("COMPLETED, FAILED or CANCELLED.")
    state: JSON | None = optional("What the agent remembers at the end.")
    input_tokens: int | None = optional("Tokens that went in.")
    output_tokens: int | None = optional("Tokens that came out.")
    total_cost_usd: float | None = optional("What it cost, in dollars.")


@form("A tool that was used.")
class RecordToolExecutionInput:
    """Input of recordToolExecution."""

    kind: ToolKind = required("Where the tool comes from.")
    tool_name: str = required("Which tool, one line of at most 255 characters.")
    status: ToolStatus = required("How it ended.")
    server_name: str | None = optional("The server it is of.")
    run_id: ID | None = optional("The run it was used in.", of="run")
    conversation_id: ID | None = optional("The conversation it was used in; the run's when absent.", of="conversation")
    message_id: ID | None = optional("The message of that conversation that called it.", of="message")
    input: JSON | None = optional("What went in, at most 131,072 bytes.")
    output: JSON | None = optional("What came out, at most 131,072 bytes.")
    error_message: str | None = optional("What went wrong, at most 8,192 bytes.")
    duration_milliseconds: int | None = optional("How long it took.")
    idempotency_key: str | None = optional("Makes a retry safe for 24 hours; at most 255 characters.")


@payload("A run after a change.")
class AgentRunPayload:
    """Payload of mutations of runs."""

    agent_run: AgentRun | None = column("The run as it is now.")
    user_errors: list[UserError] = user_errors()


@payload("The use of a tool that was recorded.")
class ToolExecutionPayload:
    """Payload of recordToolExecution."""

    tool_execution: ToolExecution | None = column("What was recorded.")
    user_errors: list[UserError] = user_errors()


@root_fields
class RunQueries:
    """Root fields over runs and tools."""

    agent_runs: Connection[AgentRun] | None = connection(
        agent_runs,
        "Runs, newest first; without runs:read those in one's own conversations.",
        filter=AgentRunFilter,
        order=AgentRunOrder,
        scope=Scope.SIGNED_IN,
        narrow=own_without(Scope.RUNS_READ),
    )
    agent_run: AgentRun | None = found(models.AgentRun, "One run.")
    tool_executions: Connection[ToolExecution] | None = connection(
        tool_executions,
        "Uses of tools, newest first; without runs:read those in one's own conversations.",
        filter=ToolExecutionFilter,
        order=ToolExecutionOrder,
        scope=Scope.SIGNED_IN,
        narrow=own_without(Scope.RUNS_READ),
    )


@root_fields
class RunMutations:
    """What agents say of their work."""

    start_run: AgentRunPayload | None = command(
        use_cases.start_run,
        "An agent begins to work.",
        input=StartRunInput,
        payload=AgentRunPayload,
        scope=Scope.RUNS_WRITE,
    )
    update_run: AgentRunPayload | None = command(
        use_cases.update_run,
        "What a run has used so far; the amounts are sums, not what was added.",
        input=UpdateRunInput,
        payload=AgentRunPayload,
        scope=Scope.RUNS_WRITE,
    )
    finish_run: AgentRunPayload | None = command(
        use_cases.finish_run,
        "An agent's work ends; its duration is what lies between.",
        input=FinishRunInput,
        payload=AgentRunPayload,
        scope=Scope.RUNS_WRITE,
    )
    record_tool_execution: ToolExecutionPayload | None = command(
        use_cases.record_tool_execution,
        "A tool was used.",
        input=RecordToolExecutionInput,
        payload=ToolExecutionPayload,
        scope=Scope.RUNS_WRITE,
    )
