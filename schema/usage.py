"""This module is where it is seen from outside what was asked, what was answered, and what that cost."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any

from strawberry import ID

import models
from dataloaders.pages import Direction
from dataloaders.usage import query_events
from models import Scope
from resolvers import usage
from resolvers.call import Call
from resolvers.conversation_access import is_owner
from schema.agents import Agent
from schema.common import Connection, Node, connection, found, own_without
from schema.conversations import Conversation
from schema.declare import column, computed, describe, node, root_fields, to_one
from schema.governance import HitlMode
from schema.inputs import form, optional, required
from schema.users import User


class QueryEventOrderField(StrEnum):
    """What query events can be sorted by."""

    OCCURRED_AT = "occurred_at"


describe(QueryEventOrderField, "What query events can be sorted by.", OCCURRED_AT="When it was asked.")


def _own(row: models.QueryEvent, call: Call) -> bool:
    return is_owner(call.principal, row.user_id)


def _query(row: models.QueryEvent, call: Call) -> Any:
    return usage.query_text_of(call, row)


async def _response(row: models.QueryEvent, call: Call) -> Any:
    return await usage.response_text_of(call, row)


@node(
    models.QueryEvent,
    "One request that the policies were asked about, and what became of it. Its texts go with whoever asked.",
    scope=Scope.QUERY_EVENTS_READ,
    own=_own,
)
class QueryEvent(Node):
    """GraphQL type of models.QueryEvent."""

    occurred_at: datetime = column("When it was asked.")
    user: User | None = to_one(models.User, "Who asked.", "user_id")
    department: str | None = column("The department it came from.")
    agent: Agent | None = to_one(models.Agent, "The agent that was asked; null when it is gone.", "agent_id")
    agent_name: str | None = column("What the agent was called.")
    conversation: Conversation | None = to_one(models.Conversation, "The conversation it was in.", "conversation_id")
    query_text: str = computed(
        _query,
        "What was asked. That a person read another's is written down.",
        cost=0,
        shared=True,
        noted=True,
    )
    response_text: str | None = computed(
        _response,
        "What was answered. That a person read another's is written down.",
        cost=0,
        shared=True,
        noted=True,
    )
    latency_milliseconds: int = column("How long the answer took.", "latency_ms")
    tokens_in: int = column("Tokens that went in.")
    tokens_out: int = column("Tokens that came out.")
    cost_usd: float = column("What it cost, in dollars, with six places.")
    hitl_mode: HitlMode = column("What the policies said.")
    was_escalated: bool = column("Whether it was escalated.")
    was_approved: bool = column("Whether a person approved it; false until then, and for good where it was rejected.")
    guardrails_triggered: list[str] = column("The names of the rules that matched.")
    success: bool = column("Whether it could be answered.")
    error_message: str | None = column("Why not.")
    created_at: datetime = column("When it was recorded.")


@form("Which query events; fields combine with and, lists mean any of.")
class QueryEventFilter:
    """Filter of query events."""

    user_id: ID | None = optional("Asked by this person.", of="user")
    agent_id: ID | None = optional("Asked of this agent.", of="agent")
    conversation_id: ID | None = optional("In this conversation.", of="conversation")
    department: str | None = optional("From exactly this department.")
    hitl_mode: list[HitlMode] | None = optional("Of which the policies said one of these.")
    occurred_after: datetime | None = optional("Not before this time.")
    occurred_before: datetime | None = optional("Before this time.")


@form("How query events are sorted; ties are broken by id.")
class QueryEventOrder:
    """Order of query events."""

    field: QueryEventOrderField = required("What to sort by.")
    direction: Direction = required("Which end comes first.")


@root_fields
class UsageQueries:
    """Root fields over what was asked."""

    query_events: Connection[QueryEvent] | None = connection(
        query_events,
        "What was asked, newest first; without query_events:read what one asked oneself.",
        filter=QueryEventFilter,
        order=QueryEventOrder,
        scope=Scope.SIGNED_IN,
        narrow=own_without(Scope.QUERY_EVENTS_READ),
    )
    query_event: QueryEvent | None = found(models.QueryEvent, "One query event.")
