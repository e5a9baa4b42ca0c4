"""This module is where requests for approval are seen from outside: one by one, as a queue, and counted."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from strawberry import ID

import models
from dataloaders.approvals import approvals, decisions_by_approval, queue_summary
from models import ApprovalKind, ApprovalStatus, Decision, HitlMode, Priority, Scope, SlaState
from resolvers import approval_access as access
from resolvers.call import Call
from schema.agents import Agent
from schema.approval_filters import ApprovalFilter, ApprovalOrder, prepared
from schema.common import Connection, Node, connection, found, own_without
from schema.declare import Nodes, column, computed, node, part, related, root_fields, to_one
from schema.users import User


def _own(row: models.ApprovalRequest, call: Call) -> Any:
    return access.is_own(call, row)


def _query(row: models.ApprovalRequest, call: Call) -> Any:
    return access.query_of(call, row)


def _text(name: str, description: str) -> Any:
    def read(row: models.ApprovalRequest, call: Call) -> Any:
        return access.text_of(call, row, name)

    said = f"{description} Null for whoever may not read it. That a person read another's is written down."
    return computed(read, said, cost=1, shared=True, noted=True)


async def _subject(row: models.ApprovalRequest, call: Call) -> Any:
    kind = Nodes.by_prefix.get(row.subject_type or "")
    if kind is None or row.subject_id is None or (kind.own is None and not call.allows(kind.scope)):
        return None
    subject = await call.load(kind.batch, row.subject_id)
    return subject if subject is not None and await kind.visible(subject, call) else None


@part("What one person said of a request.")
class ApprovalDecision:
    """GraphQL type of models.ApprovalDecision."""

    decision: Decision = column("What they said.")
    decided_by: User | None = to_one(models.User, "Who; null for a key.", "user_id")
    notes: str | None = column("Why.", scope=Scope.APPROVAL_TEXTS_READ)
    created_at: datetime = column("When they said it.")


@node(
    models.ApprovalRequest,
    "Something that waits for a person, or did. What was asked and answered is shown to whoever asked and with "
    "approval_texts:read.",
    scope=Scope.APPROVALS_READ,
    own=_own,
)
class Approval(Node):
    """GraphQL type of models.ApprovalRequest."""

    kind: ApprovalKind = column("What approval is asked for.")
    status: ApprovalStatus = column("Where it stands.")
    hitl_mode: HitlMode = column("What the policies said of it.")
    priority: Priority = column("How soon somebody has to decide.")
    user: User | None = to_one(models.User, "Whose request it is; null for a machine's own.", "user_id")
    user_department: str | None = column("The department it was asked in.")
    agent: Agent | None = to_one(models.Agent, "The agent that answers or wants to act.", "agent_id")
    agent_name: str | None = column("What that agent was called then.")
    original_query: str = computed(
        _query,
        "What was asked; empty for whoever may not read it. That a person read another's is written down.",
        cost=1,
        shared=True,
        noted=True,
    )
    proposed_response: str | None = _text("proposed_response", "What the agent would answer or do.")
    modified_response: str | None = _text("modified_response", "The answer as somebody edited it.")
    risk_signals: list[str] = column("The kinds of risk that the policies saw.")
    guardrails_triggered: list[str] = column("The rules that matched, by name.")
    escalation_reason: str | None = column("Why a person is asked.")
    subject_type: str | None = column("What kind of thing it is about.")
    subject_id: ID | None = column("What it is about.", "subject_typeid")
    subject: Node | None = computed(
        _subject, "What it is about, as it is now; null when gone or not for the caller.", shared=True
    )
    required_approvals: int = column("How many people have to approve it.")
    approvals_given: int = column("How many have.")
    decisions: list[ApprovalDecision] | None = related(
        decisions_by_approval, "What was said of it, oldest first; one rejection rejects."
    )
    sla_due_at: datetime = column("Until when somebody has to decide.")
    sla_state: SlaState = column("How it stands to that time; each change is an event.")
    escalated_at: datetime | None = column("When it escalated because nobody had decided in time.")
    escalations: int = column("How often it escalated.")
    expires_at: datetime | None = column("When it ends by itself; never when null.")
    assigned_to: User | None = to_one(models.User, "Who has it in hand.", "assigned_to")
    assigned_department: str | None = column("The department that is to decide it.")
    delegated_to: User | None = to_one(models.User, "Whom it was handed to.", "delegated_to")
    resolved_at: datetime | None = column("When it was decided, expired or was cancelled.")
    resolved_by: User | None = to_one(models.User, "Who decided or cancelled it.", "resolved_by")
    reviewer_notes: str | None = _text("reviewer_notes", "What they said about it.")
    version: int = column("Rises whenever it changes hands or status; say it back as expectedVersion.")
    created_at: datetime = column("When it was asked.")
    updated_at: datetime = column("When it last changed.")


@part("How many requests of one mode wait.")
class HitlModeCount:
    """One line of the summary."""

    mode: HitlMode = column("Which mode.")
    count: int = column("How many.")


@part("How many requests of one priority wait.")
class PriorityCount:
    """One line of the summary."""

    priority: Priority = column("Which priority.")
    count: int = column("How many.")


@part("What waits in the tenant, counted as it commits.")
class ApprovalQueueSummary:
    """What approvalQueueSummary answers."""

    pending: int = column("How many wait.")
    breached: int = column("How many of them nobody decided in time.")
    at_risk: int = column("How many of them have less than a quarter of their time left.")
    by_mode: list[HitlModeCount] = column("By what the policies said; every mode.")
    by_priority: list[PriorityCount] = column("By priority; every priority.")
    oldest_pending_at: datetime | None = column("When the oldest of them was asked.")


async def _summary(_: Any, call: Call) -> Any:
    async with call.services.database.session(call.tenant_id) as session:
        return await queue_summary(session)


@root_fields
class ApprovalQueries:
    """Root fields over requests for approval."""

    approvals: Connection[Approval] | None = connection(
        approvals,
        "Requests for approval; without approvals:read one's own.",
        filter=ApprovalFilter,
        order=ApprovalOrder,
        scope=Scope.SIGNED_IN,
        narrow=own_without(Scope.APPROVALS_READ),
        prepare=prepared,
    )
    approval: Approval | None = found(models.ApprovalRequest, "One request for approval.")
    approval_queue_summary: ApprovalQueueSummary | None = computed(
        _summary, "What waits, counted.", scope=Scope.APPROVALS_READ, cost=3, shared=True
    )
