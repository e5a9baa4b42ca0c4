"""This module is where agents are seen from outside."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import strawberry
from strawberry import ID

import models
from dataloaders.agents import agents, sub_agents_by_agent, users_by_agent
from dataloaders.conversations import conversations
from dataloaders.pages import Direction
from models import AgentStatus, AgentType, Decision, Scope
from models.ids import parse
from resolvers import agents as use_cases
from resolvers.agent_documents import export_agent, import_agent
from resolvers.call import Call
from schema.approval_filters import approvals_of
from schema.assignments import AgentAssignment, assignments_by
from schema.commands import DeletePayload, UserError, command, payload, user_errors
from schema.common import JSON, Connection, Node, connection, found, own_without
from schema.conversation_filters import ConversationFilter, ConversationOrder
from schema.declare import Argument, column, computed, describe, node, related, root_fields, to_one
from schema.inputs import form, optional, required
from schema.llm_providers import LlmProvider
from schema.users import User

if TYPE_CHECKING:
    from schema.approvals import Approval
    from schema.conversations import Conversation
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
describe(
    Decision,
    "What somebody who may decide says.",
    APPROVE="It may.",
    REJECT="It may not.",
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
    llm_provider: LlmProvider | None = to_one(
        models.LlmProvider, "Which model provider it asks; the tenant's default when null.", "llm_provider_id"
    )
    instruction: str | None = column("Its system prompt.")
    capabilities: list[str] = column("What it can do; routing looks at them.")
    guardrails: list[str] = column("What it must not do.")
    config: JSON | None = column("Settings whose shape depends on its type.")
    status: AgentStatus = column("Whether it may work.")
    is_router: bool = column("Whether it hands requests to the others; at most one agent of a tenant does.")
    escalates_to: Annotated[Agent, strawberry.lazy("schema.agents")] | None = to_one(
        models.Agent, "Whom it hands over to when it is stuck.", "escalates_to"
    )
    sub_agents: list[Annotated[Agent, strawberry.lazy("schema.agents")]] | None = related(
        sub_agents_by_agent, "The agents that its configuration names, as parts, tools or in tasks; each once.", cost=2
    )
    used_by: list[Annotated[Agent, strawberry.lazy("schema.agents")]] | None = related(
        users_by_agent, "The agents whose configuration names it, by name, at most 50.", cost=2
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
    assignments: Connection[AgentAssignment] | None = assignments_by(
        "agent_id", "Where it worked, the present place and the past ones."
    )
    conversations: Connection[Annotated[Conversation, strawberry.lazy("schema.conversations")]] | None = connection(
        conversations,
        "Its conversations; without conversations:read one's own.",
        filter=ConversationFilter,
        order=ConversationOrder,
        scope=Scope.SIGNED_IN,
        narrow=own_without(Scope.CONVERSATIONS_READ),
        of="agent_id",
    )
    approvals: Connection[Annotated[Approval, strawberry.lazy("schema.approvals")]] | None = approvals_of(
        "agent_id", "Its requests for approval; without approvals:read one's own."
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


@form("A new agent. It waits for a decision, unless it is the router.")
class CreateAgentInput:
    """Input of createAgent."""

    name: str = required("1 to 255 letters, digits, _ and -.")
    type: AgentType = required("How it works; it stays so.")
    title: str | None = optional("One line of at most 255 characters.")
    domain: str | None = optional("One line of at most 100 characters.")
    description: str | None = optional("At most 10,000 characters.")
    model: str | None = optional("Needed by the type LLM; one of the tenant's allowed_models where there are some.")
    llm_provider_id: ID | None = optional("Which model provider it asks.", of="provider")
    instruction: str | None = optional("At most 100,000 characters.")
    capabilities: list[str] | None = optional("At most 100 lines.")
    guardrails: list[str] | None = optional("At most 100 lines.")
    config: JSON | None = optional("What its type needs (docs/agents.md); at most 64 KiB. Agents are named by id.")
    api_key: str | None = optional("Its own key for the model provider. Never shown again.", secret=True)
    is_router: bool | None = optional("Whether it hands requests to the others; needs agents:decide.")
    escalates_to_id: ID | None = optional("Whom it hands over to when it is stuck.", of="agent")
    workspace_id: ID | None = optional("Where it runs; no other agent may be there.", of="workspace")
    idempotency_key: str | None = optional("Makes a retry safe for 24 hours; at most 255 characters.")


@form("Changes of an agent; absent stays, null clears.")
class UpdateAgentInput:
    """Input of updateAgent."""

    id: ID = required("Which one.", of="agent")
    expected_version: int = required("The version these changes were made from.")
    name: str | None = optional("1 to 255 letters, digits, _ and -.")
    title: str | None = optional("One line of at most 255 characters.")
    domain: str | None = optional("One line of at most 100 characters.")
    description: str | None = optional("At most 10,000 characters.")
    model: str | None = optional("Needed by the type LLM.")
    llm_provider_id: ID | None = optional("Which model provider it asks.", of="provider")
    instruction: str | None = optional("At most 100,000 characters.")
    capabilities: list[str] | None = optional("At most 100 lines.")
    guardrails: list[str] | None = optional("At most 100 lines.")
    config: JSON | None = optional("The whole of what its type needs, in the place of what was there.")
    api_key: str | None = optional("In the place of the key before; null forgets it.", secret=True)
    status: AgentStatus | None = optional("DISABLED switches an active agent off, ACTIVE on again.")
    is_router: bool | None = optional("Whether it hands requests to the others.")
    escalates_to_id: ID | None = optional("Whom it hands over to when it is stuck.", of="agent")


@form("A decision about an agent that waits for one.")
class DecideAgentInput:
    """Input of decideAgent."""

    id: ID = required("Which one.", of="agent")
    decision: Decision = required("Whether it may work.")
    reason: str | None = optional("Why it is rejected; at most 1,000 characters.")


@form("Which agent goes.")
class DeleteAgentInput:
    """Input of deleteAgent."""

    id: ID = required("Which one.", of="agent")
    expected_version: int | None = optional("Refuse when it has changed since this version.")


@form("An agent as a document, as exportAgent makes it.")
class ImportAgentInput:
    """Input of importAgent."""

    document: JSON = required("At most 256 KiB.")
    idempotency_key: str | None = optional("Makes a retry safe for 24 hours; at most 255 characters.")


@payload("An agent after a change.")
class AgentPayload:
    """Payload of agent mutations."""

    agent: Agent | None = column("The agent as it is now.")
    user_errors: list[UserError] = user_errors()


def _export(_: Any, call: Call, id: str) -> Any:
    return export_agent(call, id=parse(id, models.Agent.__typeid__))


@root_fields
class AgentQueries:
    """Root fields over agents."""

    agents: Connection[Agent] | None = connection(agents, "The tenant's agents.", filter=AgentFilter, order=AgentOrder)
    agent: Agent | None = found(models.Agent, "One agent.")
    export_agent: JSON | None = computed(
        _export,
        "One agent as a document for importAgent, here or in another tenant: without keys, approvals and times.",
        [Argument("id", ID, "Its TypeID.")],
        scope=Scope.AGENTS_READ,
        cost=5,
    )


@root_fields
class AgentMutations:
    """What can be done to agents."""

    create_agent: AgentPayload | None = command(
        use_cases.create_agent,
        "Makes an agent that waits for a decision; a router is active at once, and a tenant has one.",
        input=CreateAgentInput,
        payload=AgentPayload,
        scope=Scope.AGENTS_WRITE,
    )
    update_agent: AgentPayload | None = command(
        use_cases.update_agent,
        "Changes an agent, switches it off or on again.",
        input=UpdateAgentInput,
        payload=AgentPayload,
        scope=Scope.AGENTS_WRITE,
        keep_null=True,
    )
    decide_agent: AgentPayload | None = command(
        use_cases.decide_agent,
        "Lets a pending agent work, or rejects it.",
        input=DecideAgentInput,
        payload=AgentPayload,
        scope=Scope.AGENTS_DECIDE,
    )
    delete_agent: DeletePayload | None = command(
        use_cases.delete_agent,
        "Takes an agent out of use for good, with its keys and its place. CONFLICT while other agents are made of it "
        "or hand over to it.",
        input=DeleteAgentInput,
        payload=DeletePayload,
        scope=Scope.AGENTS_WRITE,
    )
    import_agent: AgentPayload | None = command(
        import_agent,
        "Makes an agent as a document describes it; like any other, it waits for a decision.",
        input=ImportAgentInput,
        payload=AgentPayload,
        scope=Scope.AGENTS_WRITE,
    )
