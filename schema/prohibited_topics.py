"""This module is where prohibited topics are seen from outside."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from strawberry import ID

import models
from dataloaders.governance import prohibited_topics
from dataloaders.pages import Direction
from models import Scope, TopicScope
from resolvers import prohibited_topics as use_cases
from schema.agents import Agent
from schema.commands import DeletePayload, UserError, command, payload, user_errors
from schema.common import Connection, Node, connection, found
from schema.declare import column, describe, node, root_fields, to_one
from schema.inputs import form, optional, required

describe(
    TopicScope,
    "Where a topic is prohibited.",
    GLOBAL="Everywhere.",
    AGENT="In requests to one agent.",
    DEPARTMENT="In requests from one department.",
)


class ProhibitedTopicOrderField(StrEnum):
    """What topics can be sorted by."""

    CREATED_AT = "created_at"


describe(ProhibitedTopicOrderField, "What prohibited topics can be sorted by.", CREATED_AT="When it was prohibited.")


@node(
    models.ProhibitedTopic,
    "Words that no request may touch without a human: one that does is escalated, whatever the rules say.",
    scope=Scope.POLICIES_READ,
)
class ProhibitedTopic(Node):
    """GraphQL type of models.ProhibitedTopic."""

    topic: str = column("The words, found anywhere in a request, whatever their case.")
    scope: TopicScope = column("Where it is prohibited.")
    scope_id: str | None = column("The agent's id or the department's name; null where it is prohibited everywhere.")
    agent: Agent | None = to_one(models.Agent, "The agent, where it is prohibited at one.", "agent_id")
    version: int = column("Rises with every change; say it back as expectedVersion.")
    created_at: datetime = column("When it was prohibited.")
    updated_at: datetime = column("When it last changed.")


@form("Which topics; fields combine with and, lists mean any of.")
class ProhibitedTopicFilter:
    """Filter of topics."""

    scope: list[TopicScope] | None = optional("Prohibited in one of these ways.")
    agent_id: ID | None = optional("Prohibited at this agent.", of="agent")


@form("How prohibited topics are sorted; ties are broken by id.")
class ProhibitedTopicOrder:
    """Order of topics."""

    field: ProhibitedTopicOrderField = required("What to sort by.")
    direction: Direction = required("Which end comes first.")


@form("A topic to prohibit.")
class CreateProhibitedTopicInput:
    """Input of createProhibitedTopic."""

    topic: str = required("One line of at most 200 characters.")
    scope: TopicScope | None = optional("GLOBAL when absent.")
    scope_id: str | None = optional("The agent's id or the department's name; with GLOBAL none.")
    idempotency_key: str | None = optional("Makes a retry safe for 24 hours; at most 255 characters.")


@form("Changes of a topic; absent stays.")
class UpdateProhibitedTopicInput:
    """Input of updateProhibitedTopic."""

    id: ID = required("Which one.", of="topic")
    expected_version: int = required("The version these changes were made from.")
    topic: str | None = optional("One line of at most 200 characters.")
    scope: TopicScope | None = optional("Where it is prohibited; said together with scopeId.")
    scope_id: str | None = optional("The agent's id or the department's name.")


@form("Which topic is allowed again.")
class DeleteProhibitedTopicInput:
    """Input of deleteProhibitedTopic."""

    id: ID = required("Which one.", of="topic")
    expected_version: int | None = optional("Refuse when it has changed since this version.")


@payload("A prohibited topic after a change.")
class ProhibitedTopicPayload:
    """Payload of mutations of topics."""

    prohibited_topic: ProhibitedTopic | None = column("The topic as it is now.")
    user_errors: list[UserError] = user_errors()


@root_fields
class ProhibitedTopicQueries:
    """Root fields over prohibited topics."""

    prohibited_topics: Connection[ProhibitedTopic] | None = connection(
        prohibited_topics,
        "What the tenant prohibits, newest first.",
        filter=ProhibitedTopicFilter,
        order=ProhibitedTopicOrder,
    )
    prohibited_topic: ProhibitedTopic | None = found(models.ProhibitedTopic, "One prohibited topic.")


@root_fields
class ProhibitedTopicMutations:
    """What can be done to prohibited topics."""

    create_prohibited_topic: ProhibitedTopicPayload | None = command(
        use_cases.create_prohibited_topic,
        "Prohibits a topic.",
        input=CreateProhibitedTopicInput,
        payload=ProhibitedTopicPayload,
        scope=Scope.POLICIES_WRITE,
    )
    update_prohibited_topic: ProhibitedTopicPayload | None = command(
        use_cases.update_prohibited_topic,
        "Changes a prohibited topic.",
        input=UpdateProhibitedTopicInput,
        payload=ProhibitedTopicPayload,
        scope=Scope.POLICIES_WRITE,
    )
    delete_prohibited_topic: DeletePayload | None = command(
        use_cases.delete_prohibited_topic,
        "Allows a topic again.",
        input=DeleteProhibitedTopicInput,
        payload=DeletePayload,
        scope=Scope.POLICIES_WRITE,
    )
