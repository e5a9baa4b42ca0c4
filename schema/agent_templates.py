"""This module is where templates of agents are seen from outside, and where a query finds its agent."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any

from strawberry import ID

import models
from dataloaders.agents import agent_templates
from dataloaders.pages import Direction
from models import Scope
from resolvers import agent_templates as use_cases
from resolvers import routing
from resolvers.call import Call
from schema.agents import Agent
from schema.commands import DeletePayload, UserError, command, payload, user_errors
from schema.common import JSON, Connection, Node, connection, found
from schema.declare import Argument, column, computed, describe, node, part, root_fields
from schema.inputs import form, optional, required


class AgentTemplateOrderField(StrEnum):
    """What templates can be sorted by."""

    CREATED_AT = "created_at"
    NAME = "name"


describe(
    AgentTemplateOrderField,
    "What templates can be sorted by.",
    CREATED_AT="When it was created.",
    NAME="Its name.",
)


@node(
    models.AgentTemplate,
    "A set of agents that can be made at once. The platform's are there for everybody to use.",
    scope=Scope.AGENTS_READ,
)
class AgentTemplate(Node):
    """GraphQL type of models.AgentTemplate."""

    name: str = column("What people call it; unique in its tenant.")
    description: str = column("What it is for.")
    config: JSON = column("Its agents: a list agents, in which they name each other by name.")
    category: str = column("What kind of organisation it is for, e.g. municipal.")
    is_builtin: bool = column("Whether it came with the gateway, and stays as it is.")
    is_shared: bool = column("Whether it is the platform's, for everybody to use.")
    version: int = column("Rises with every change; say it back as expectedVersion.")
    created_at: datetime = column("When it was created.")
    updated_at: datetime = column("When it last changed.")


@form("Which templates; fields combine with and.")
class AgentTemplateFilter:
    """Filter of templates."""

    category: str | None = optional("Exactly this category.")
    name: str | None = optional("Exactly this name.")


@form("How templates are sorted; ties are broken by id.")
class AgentTemplateOrder:
    """Order of templates."""

    field: AgentTemplateOrderField = required("What to sort by.")
    direction: Direction = required("Which end comes first.")


@form("A new template of the caller's tenant; the platform's own are shared.")
class CreateAgentTemplateInput:
    """Input of createAgentTemplate."""

    name: str = required("One line of at most 255 characters, unique in the tenant.")
    description: str | None = optional("At most 10,000 characters.")
    config: JSON = required('{"agents": [{"name": …, "type": "llm", …}]}, 1 to 50 of them, at most 128 KiB.')
    category: str | None = optional("One line of at most 100 characters; general when absent.")
    idempotency_key: str | None = optional("Makes a retry safe for 24 hours; at most 255 characters.")


@form("Changes of a template; absent stays, null clears.")
class UpdateAgentTemplateInput:
    """Input of updateAgentTemplate."""

    id: ID = required("Which one.", of="template")
    expected_version: int = required("The version these changes were made from.")
    name: str | None = optional("One line of at most 255 characters, unique in the tenant.")
    description: str | None = optional("At most 10,000 characters.")
    config: JSON | None = optional("The whole of it, in the place of what was there.")
    category: str | None = optional("One line of at most 100 characters.")


@form("Which template goes.")
class DeleteAgentTemplateInput:
    """Input of deleteAgentTemplate."""

    id: ID = required("Which one.", of="template")
    expected_version: int | None = optional("Refuse when it has changed since this version.")


@form("Agents as a template describes them.")
class CreateAgentsFromTemplateInput:
    """Input of createAgentsFromTemplate."""

    template_id: ID = required("Which template.", of="template")
    model: str | None = optional("The model of all of them, in the place of what template and tenant say.")
    idempotency_key: str | None = optional("Makes a retry safe for 24 hours; at most 255 characters.")


@payload("A template after a change.")
class AgentTemplatePayload:
    """Payload of template mutations."""

    agent_template: AgentTemplate | None = column("The template as it is now.")
    user_errors: list[UserError] = user_errors()


@payload("Agents that were made together.")
class AgentsPayload:
    """Payload of createAgentsFromTemplate."""

    agents: list[Agent] | None = column("The agents in the template's order; null when none was made.")
    user_errors: list[UserError] = user_errors()


@part("One thing that speaks for an agent.")
class RouteReason:
    """Part of a route."""

    reason: str = column("What it is, in words.")
    points: float = column("How much it counts.")


@part("An agent that could answer.")
class RouteChoice:
    """Part of a route."""

    agent: Agent | None = column("The agent.")
    score: float = column("The sum of the points.")
    confidence: float = column("0 to 1: the score by eight, 1 at most.")
    reasons: list[RouteReason] = column("What speaks for it.")


@part("Which agent a query is for, and why.")
class Route:
    """Answer of routeQuery."""

    agent: Agent | None = column("The agent that fits best; null where none is active.")
    score: float = column("The sum of the points; 0 where nothing speaks for anybody and it is the oldest.")
    confidence: float = column("0 to 1: the score by eight, 1 at most.")
    reasons: list[RouteReason] = column("What speaks for it.")
    alternatives: list[RouteChoice] = column("Up to five others that fit at all, best first.")


def _route(_: Any, call: Call, query: str, domain: str | None = None) -> Any:
    return routing.route_query(call, query=query, domain=domain)


@root_fields
class AgentTemplateQueries:
    """Root fields over templates, and routing."""

    agent_templates: Connection[AgentTemplate] | None = connection(
        agent_templates,
        "The tenant's templates, and the shared ones.",
        filter=AgentTemplateFilter,
        order=AgentTemplateOrder,
    )
    agent_template: AgentTemplate | None = found(models.AgentTemplate, "One template.")
    route_query: Route | None = computed(
        _route,
        "Which of the active agents a query is for; the oldest 1,000 are looked at. 5 points for the domain that is "
        "asked for, or else that the query's words are about, 3 for one that the query names, 2 for the agent's name, "
        "1.5 for each capability, 0.5 for each longer word of the description.",
        [
            Argument("query", str, "What somebody asked, at most 10,000 characters. It is not kept."),
            Argument(
                "domain",
                str | None,
                "The field it is known to be about, e.g. Finance; read from the query when absent.",
            ),
        ],
        scope=Scope.AGENTS_READ,
        cost=20,
    )


@root_fields
class AgentTemplateMutations:
    """What can be done to templates. IMMUTABLE for what the platform shares, except for the platform."""

    create_agent_template: AgentTemplatePayload | None = command(
        use_cases.create_agent_template,
        "Makes a template.",
        input=CreateAgentTemplateInput,
        payload=AgentTemplatePayload,
        scope=Scope.AGENTS_WRITE,
    )
    update_agent_template: AgentTemplatePayload | None = command(
        use_cases.update_agent_template,
        "Changes a template of the tenant's own; agents made from it stay as they are.",
        input=UpdateAgentTemplateInput,
        payload=AgentTemplatePayload,
        scope=Scope.AGENTS_WRITE,
        keep_null=True,
    )
    delete_agent_template: DeletePayload | None = command(
        use_cases.delete_agent_template,
        "Forgets a template of the tenant's own.",
        input=DeleteAgentTemplateInput,
        payload=DeletePayload,
        scope=Scope.AGENTS_WRITE,
    )
    create_agents_from_template: AgentsPayload | None = command(
        use_cases.create_agents_from_template,
        "Makes the template's agents at once: each waits for a decision, a router is active. Where the tenant has a "
        "router, that one takes the place of the template's.",
        input=CreateAgentsFromTemplateInput,
        payload=AgentsPayload,
        scope=Scope.AGENTS_WRITE,
        cost=50,
    )
