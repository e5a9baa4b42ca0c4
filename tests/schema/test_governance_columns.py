"""This module is where every column of AIOS' policies, topics, versions and events has its home and is read back."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

import pytest

from models import (
    Agent,
    AgentType,
    AuditEvent,
    AuditSeverity,
    Conversation,
    ConversationKind,
    GovernanceVersion,
    HitlMode,
    PolicyRule,
    PolicyTier,
    ProhibitedTopic,
    QueryEvent,
    TopicScope,
    User,
    UserStatus,
)
from models.ids import encode, uuid7
from tests.report import record
from tests.schema.conftest import Gateway
from tests.schema.staff import person
from tests.world import Tenants

THEN: Final = datetime(2026, 1, 31, 12, tzinfo=UTC)
SAID: Final = "2026-01-31T12:00:00Z"

# Column of the seed → what is asked for here.
RULE: Final[Mapping[str, str]] = {
    "id": "id",
    "name": "name",
    "description": "description",
    "tier": "tier",
    "conditions": "conditions",
    "hitl_mode": "hitlMode",
    "local_only": "localOnly",
    "approval_required": "approvalRequired",
    "escalation_reason": "escalationReason",
    "priority": "priority",
    "is_immutable": "isImmutable",
    "created_at": "createdAt",
}
TOPIC: Final[Mapping[str, str]] = {
    "id": "id",
    "topic": "topic",
    "scope": "scope",
    "scope_id": "scopeId",
    "created_at": "createdAt",
}
VERSION: Final[Mapping[str, str]] = {
    "id": "id",
    "description": "description",
    "rules_snapshot": "rulesSnapshot",
    "changed_by": "changedBy { id }",
    "created_at": "createdAt",
}
QUERY: Final[Mapping[str, str]] = {
    "id": "id",
    "timestamp": "occurredAt",
    "user_id": "user { id }",
    "department": "department",
    "agent_id": "agent { id }",
    "agent_name": "agentName",
    "query_text": "queryText",
    "response_text": "responseText",
    "latency_ms": "latencyMilliseconds",
    "tokens_in": "tokensIn",
    "tokens_out": "tokensOut",
    "cost_usd": "costUsd",
    "hitl_mode": "hitlMode",
    "was_escalated": "wasEscalated",
    "was_approved": "wasApproved",
    "guardrails_triggered": "guardrailsTriggered",
    "success": "success",
    "error_message": "errorMessage",
    "session_id": "conversation { id }",
}
AUDIT: Final[Mapping[str, str]] = {
    "id": "id",
    "timestamp": "occurredAt",
    "event_type": "eventType",
    "severity": "severity",
    "user_id": "user { id }",
    "user_department": "userDepartment",
    "agent_id": "agent { id }",
    "agent_name": "agentName",
    "action": "action",
    "details": "details",
    "pii_detected": "piiDetected",
    "guardrails_triggered": "guardrailsTriggered",
    "requires_review": "requiresReview",
    "reviewed_by": "reviewedBy { ... on User { id } }",
}
LEGACY: Final[Mapping[str, str]] = {
    "id": "id",
    "session_id": "conversationId",
    "action": "action",
    "intent_domain": "intentDomain",
    "risk_signals": "riskSignals",
    "hitl_mode": "hitlMode",
    "provider": "provider",
    "model": "model",
    "created_at": "occurredAt",
}


async def _rows(gateway: Gateway, tenants: Tenants) -> dict[str, Any]:
    """One row of each, every column with a value of its own; with whom they refer to."""
    mine: dict[str, Any] = {"tenant_id": tenants.mine}
    user = User(**mine, id=uuid7(), display_name="Ada", status=UserStatus.ACTIVE)
    agent = Agent(**mine, id=uuid7(), name="concierge", type=AgentType.LLM)
    talk = Conversation(**mine, id=uuid7(), kind=ConversationKind.CHAT)
    rule = PolicyRule(
        **mine, id=uuid7(), name="rule", description="what for", tier=PolicyTier.DEPARTMENT,
        conditions={"domain": "HR"}, hitl_mode=HitlMode.DRAFT, local_only=True, approval_required=True,
        escalation_reason="why", priority=7, is_immutable=True, created_at=THEN,
    )  # fmt: skip
    topic = ProhibitedTopic(
        **mine, id=uuid7(), topic="wages", scope=TopicScope.DEPARTMENT, department="Law", created_at=THEN
    )
    version = GovernanceVersion(
        **mine, id=uuid7(), version_no=1, description="first", rules_snapshot={"rules": [1]}, changed_by=user.id,
        created_at=THEN,
    )  # fmt: skip
    query = QueryEvent(
        **mine, id=uuid7(), occurred_at=THEN, user_id=user.id, department="Law", agent_id=agent.id, agent_name="c",
        conversation_id=talk.id, query_text="why?", response_text="because", latency_ms=1, tokens_in=2, tokens_out=3,
        cost_usd=Decimal("0.000004"), hitl_mode=HitlMode.ESCALATE, was_escalated=True, was_approved=True,
        guardrails_triggered=["rule"], success=False, error_message="too late",
    )  # fmt: skip
    event = AuditEvent(
        **mine, id=uuid7(), occurred_at=THEN, event_type="escalation", severity=AuditSeverity.CRITICAL,
        user_id=user.id, user_department="Law", agent_id=agent.id, agent_name="c", conversation_id=talk.id,
        action="chat", intent_domain="HR", risk_signals=["PII"], hitl_mode=HitlMode.ESCALATE, provider="openai",
        model="gpt-4o", details={"n": 1}, pii_detected=["ssn"], guardrails_triggered=["rule"], requires_review=True,
        reviewed_by_type="user", reviewed_by=user.id, reviewed_at=THEN,
    )  # fmt: skip
    async with gateway.services.database.session(tenants.mine) as session:
        session.add_all([user, agent, talk])
        await session.flush()
        session.add_all([rule, topic, version, query, event])
        await session.commit()
    return {"user": user, "agent": agent, "talk": talk, "rule": rule, "topic": topic} | {
        "version": version, "query": query, "event": event,
    }  # fmt: skip


def _expected(rows: dict[str, Any], kind: str) -> dict[str, Any]:
    """What each column reads as."""
    user, agent = ({"id": rows[one].typeid} for one in ("user", "agent"))
    talk = rows["talk"].typeid
    event = {
        "id": rows["event"].typeid, "timestamp": SAID, "event_type": "escalation", "severity": "CRITICAL",
        "user_id": user, "user_department": "Law", "agent_id": agent, "agent_name": "c", "action": "chat",
        "details": {"n": 1}, "pii_detected": ["ssn"], "guardrails_triggered": ["rule"], "requires_review": True,
        "reviewed_by": user, "session_id": talk, "intent_domain": "HR", "risk_signals": ["PII"],
        "hitl_mode": "ESCALATE", "provider": "openai", "model": "gpt-4o", "created_at": SAID,
    }  # fmt: skip
    return {
        "rule": {
            "id": rows["rule"].typeid, "name": "rule", "description": "what for", "tier": "department",
            "conditions": {"domain": "HR"}, "hitl_mode": "DRAFT", "local_only": True, "approval_required": True,
            "escalation_reason": "why", "priority": 7, "is_immutable": True, "created_at": SAID,
        },
        "topic": {
            "id": rows["topic"].typeid, "topic": "wages", "scope": "DEPARTMENT", "scope_id": "Law", "created_at": SAID,
        },
        "version": {
            "id": rows["version"].typeid, "description": "first", "rules_snapshot": {"rules": [1]}, "changed_by": user,
            "created_at": SAID,
        },
        "query": {
            "id": rows["query"].typeid, "timestamp": SAID, "user_id": user, "department": "Law", "agent_id": agent,
            "agent_name": "c", "query_text": "why?", "response_text": "because", "latency_ms": 1, "tokens_in": 2,
            "tokens_out": 3, "cost_usd": 0.000004, "hitl_mode": "ESCALATE", "was_escalated": True,
            "was_approved": True, "guardrails_triggered": ["rule"], "success": False, "error_message": "too late",
            "session_id": {"id": talk},
        },
        "audit": event,
        "legacy": event,
    }[kind]  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "field", "row", "columns"),
    [
        ("rule", "policyRule", "rule", RULE),
        ("topic", "prohibitedTopic", "topic", TOPIC),
        ("version", "governanceVersion", "version", VERSION),
        ("query", "queryEvent", "query", QUERY),
        ("audit", "auditEvent", "event", AUDIT),
        ("legacy", "auditEvent", "event", LEGACY),
    ],
)
async def test_every_column_has_a_home_and_is_read_back(
    gateway: Gateway, tenants: Tenants, kind: str, field: str, row: str, columns: Mapping[str, str]
) -> None:
    rows = await _rows(gateway, tenants)
    admin = await person(gateway, tenants.mine)
    asked = " ".join(columns.values())
    answer = await gateway.data(
        admin, f"query($id: ID!) {{ {field}(id: $id) {{ {asked} }} }}", id=encode(rows[row].__typeid__, rows[row].id)
    )
    expected = _expected(rows, kind)
    assert answer[field] == {asked.split()[0]: expected[name] for name, asked in columns.items()}
    record(6, f"columns of AIOS with a home: {kind}", len(columns), "written and read back")
