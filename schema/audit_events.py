"""This module is where events of governance and security are seen from outside, and reviewed."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any

from strawberry import ID

import models
from dataloaders.audit import audit_events
from dataloaders.pages import Direction
from models import AuditSeverity, Scope
from models.ids import encode
from resolvers import audit_events as use_cases
from resolvers.call import Call
from schema.activity import ACTORS, Actor, actor_of
from schema.agents import Agent
from schema.commands import UserError, command, payload, user_errors
from schema.common import JSON, Connection, Node, connection, found
from schema.declare import Nodes, column, computed, describe, node, root_fields, to_one
from schema.governance import HitlMode
from schema.inputs import form, optional, required
from schema.users import User

describe(
    AuditSeverity,
    "How grave an event of governance or security is.",
    INFO="Good to know.",
    WARNING="Something was held back.",
    ERROR="Something was stopped.",
    CRITICAL="Something was stopped that shows many risks.",
)


class AuditEventOrderField(StrEnum):
    """What audit events can be sorted by."""

    OCCURRED_AT = "occurred_at"


describe(AuditEventOrderField, "What audit events can be sorted by.", OCCURRED_AT="When it was.")


async def _reviewer(row: models.AuditEvent, call: Call) -> Any:
    batch = ACTORS.get(row.reviewed_by_type or "")
    if batch is None or row.reviewed_by is None:
        return None
    found = await call.load(batch, row.reviewed_by)
    return (
        found if found is not None and await Nodes.by_prefix[row.reviewed_by_type or ""].visible(found, call) else None
    )


def _conversation(row: models.AuditEvent, _: Call) -> Any:
    return encode(models.Conversation.__typeid__, row.conversation_id) if row.conversation_id is not None else None


@node(
    models.AuditEvent,
    "One event of governance or security. It holds ids, enum values and names of rules, never what was said; nothing "
    "of it changes but its review, once.",
    scope=Scope.AUDIT_EVENTS_READ,
)
class AuditEvent(Node):
    """GraphQL type of models.AuditEvent."""

    occurred_at: datetime = column("When it was.")
    event_type: str = column("What kind of event it is, e.g. policy_evaluation.")
    severity: AuditSeverity = column("How grave it is.")
    action: str = column("What was done, noun.verb.")
    actor: Actor | None = computed(
        actor_of, "Who did it; null for the gateway itself, and for whom the caller may not see.", shared=True
    )
    user: User | None = to_one(models.User, "Whose request it was.", "user_id")
    user_department: str | None = column("The department it came from.")
    agent: Agent | None = to_one(models.Agent, "The agent that was asked; null when it is gone.", "agent_id")
    agent_name: str | None = column("What the agent was called.")
    conversation_id: ID | None = computed(_conversation, "The conversation it was in.", cost=0, shared=True)
    intent_domain: str | None = column("What the request was about.")
    risk_signals: list[str] = column("The kinds of risk it showed.")
    hitl_mode: HitlMode | None = column("What the policies said.")
    provider: str | None = column("The model's provider.")
    model: str | None = column("The model.")
    details: JSON = column("More of it: ids, enum values and numbers.")
    pii_detected: list[str] = column(
        "Which personal data the request seemed to hold: ssn, card, phone, email, keyword."
    )
    guardrails_triggered: list[str] = column("The names of the rules that matched.")
    requires_review: bool = column("Whether somebody has to look at it.")
    reviewed_at: datetime | None = column("When somebody did.")
    reviewed_by: Actor | None = computed(_reviewer, "Who did; null for whom the caller may not see.", shared=True)
    review_note: str | None = column("What they said.")


@form("Which events; fields combine with and, lists mean any of.")
class AuditEventFilter:
    """Filter of audit events."""

    event_type: list[str] | None = optional("Of one of these kinds, each matched whole.")
    severity: list[AuditSeverity] | None = optional("Of one of these severities.")
    user_id: ID | None = optional("Of requests of this person.", of="user")
    agent_id: ID | None = optional("Of requests to this agent.", of="agent")
    awaits_review: bool | None = optional("Whether somebody still has to look at it.")
    occurred_after: datetime | None = optional("Not before this time.")
    occurred_before: datetime | None = optional("Before this time.")


@form("How audit events are sorted.")
class AuditEventOrder:
    """Order of audit events."""

    field: AuditEventOrderField = required("What to sort by.")
    direction: Direction = required("Which end comes first.")


@form("An event that was looked at.")
class ReviewAuditEventInput:
    """Input of reviewAuditEvent."""

    id: ID = required("Which one.", of="audit_event")
    note: str | None = optional("What there is to say, at most 2,000 characters.")


@payload("An audit event after its review.")
class ReviewAuditEventPayload:
    """Payload of reviewAuditEvent."""

    audit_event: AuditEvent | None = column("The event as it is now.")
    user_errors: list[UserError] = user_errors()


@root_fields
class AuditEventQueries:
    """Root fields over audit events."""

    audit_events: Connection[AuditEvent] | None = connection(
        audit_events,
        "Events of governance and security, newest first.",
        filter=AuditEventFilter,
        order=AuditEventOrder,
    )
    audit_event: AuditEvent | None = found(models.AuditEvent, "One event.")


@root_fields
class AuditEventMutations:
    """What can be done about audit events."""

    review_audit_event: ReviewAuditEventPayload | None = command(
        use_cases.review_audit_event,
        "Says that somebody has looked at an event that asks for it. ALREADY_DECIDED the second time.",
        input=ReviewAuditEventInput,
        payload=ReviewAuditEventPayload,
        scope=Scope.AUDIT_EVENTS_REVIEW,
    )
