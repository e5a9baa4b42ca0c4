"""This module is where agents are seen from outside."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import strawberry
from strawberry import ID

import models
from dataloaders.agents import agents
from dataloaders.pages import Direction
from models import AgentStatus, AgentType, Scope
from schema.common import JSON, Connection, Node, connection, found
from schema.declare import column, describe, node, root_fields, to_one
from schema.inputs import form, optional, required
from schema.users import User

if TYPE_CHECKING:
    from schema.registry import Workspace

describe(
    AgentType,
    "How an agent works.",
    LLM="A language model with an instruction.",
    SEQUENTIAL="Runs its sub-agents one after the other.",
    PARALLEL="Runs its sub-agents side by side.",
    LOOP="Runs its sub-agents again and again until its condition holds.",
    A2A="A remote agent that speaks the agent-to-agent protocol.",
    WORKFLOW="A graph of nodes and edges.",
    TASK="A list of tasks given to agents.",
    CREW_AI="A crew of agents with tasks.",
)
describe(
    AgentStatus,
    "Whether an agent may work.",
    PENDING="Waits for a decision.",
    ACTIVE="May work.",
    DISABLED="Switched off.",
    REJECTED="Refused; it will not work.",
)


class AgentOrderField(StrEnum):
    """What agents can be sorted by."""

    CREATED_AT = "created_at"
    NAME = "name"
    UPDATED_AT = "updated_at"


describe(
    AgentOrderField,
    "What agents can be sorted by.",
    CREATED_AT="When it was created.",
    NAME="Its name.",
    UPDATED_AT="When it last changed.",
)


@node(models.Agent, "A definition of an agent: what it is, who approved it, where it runs.", scope=Scope.AGENTS_READ)
class Agent(Node):
    """GraphQL type of models.Agent."""

    name: str = column("Unique enough for people; letters, digits, _ and -.")
    title: str | None = column("What people call it.")
    domain: str | None = column("The field it works in, e.g. Finance; routing looks at it.")
    description: str | None = column("What it is for.")
    type: AgentType = column("How it works.")
    model: str | None = column("The language model it asks for, e.g. gpt-4o.")
    instruction: str | None = column("Its system prompt.")
    capabilities: list[str] = column("What it can do; routing looks at them.")
    guardrails: list[str] = column("What it must not do.")
    config: JSON | None = column("Settings whose shape depends on its type.")
    status: AgentStatus = column("Whether it may work.")
    is_router: bool = column("Whether it hands requests to the others; at most one agent of a tenant does.")
    escalates_to: Annotated[Agent, strawberry.lazy("schema.agents")] | None = to_one(
        models.Agent, "Whom it hands over to when it is stuck.", "escalates_to"
    )
    approved_by: User | None = to_one(models.User, "Who decided about it.", "approved_by")
    approved_at: datetime | None = column("When it was decided about.")
    rejection_reason: str | None = column("Why it was rejected.")
    has_api_key: bool = column(
        "Whether a model-provider key is stored. The key itself never leaves the gateway through GraphQL."
    )
    workspace: Annotated[Workspace, strawberry.lazy("schema.registry")] | None = to_one(
        models.Workspace, "Where it runs now.", "workspace_id"
    )
    version: int = column("Rises with every change; say it back as expectedVersion.")
    created_at: datetime = column("When it was created.")
    updated_at: datetime = column("When it last changed.")


@form("Which agents; fields combine with and, lists mean any of.")
class AgentFilter:
    """Filter of agents."""

    status: list[AgentStatus] | None = optional("One of these statuses.")
    type: list[AgentType] | None = optional("One of these types.")
    domain: str | None = optional("Exactly this domain.")
    workspace_id: ID | None = optional("Assigned to this workspace.", of="workspace")
    search: str | None = optional("Words of name, title and domain that start so; case does not matter.")


@form("How agents are sorted; ties are broken by id.")
class AgentOrder:
    """Order of agents."""

    field: AgentOrderField = required("What to sort by.")
    direction: Direction = required("Which end comes first.")


@root_fields
class AgentQueries:
    """Root fields over agents."""

    agents: Connection[Agent] | None = connection(agents, "The tenant's agents.", filter=AgentFilter, order=AgentOrder)
    agent: Agent | None = found(models.Agent, "One agent.")
