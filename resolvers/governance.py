"""This module is where the policies in force are asked about a request, and where it is kept what they said."""

from __future__ import annotations

from uuid import UUID

from models import (
    Agent,
    AuditEvent,
    AuditSeverity,
    HitlMode,
    QueryEvent,
    RiskLevel,
    User,
)
from models.ids import encode, uuid7
from resolvers.call import Call
from resolvers.policy_evaluation import Decision, Question
from resolvers.unit_of_work import UnitOfWork

EVALUATED = "policy_evaluation"
"""The type of audit events that stand for an evaluation."""

_SEVERITIES = {
    HitlMode.INFORM: AuditSeverity.INFO,
    HitlMode.DRAFT: AuditSeverity.WARNING,
    HitlMode.ESCALATE: AuditSeverity.ERROR,
}


async def evaluate(call: Call, question: Question) -> Decision:
    """What the policies of the caller's tenant say, with all that is committed by now. One statement as a rule.

    Raises Unavailable. Writes nothing: whoever acts on the decision calls ``note_evaluation``.
    """
    rules = await call.services.rule_sets.current(call.services.database, call.tenant_id)
    return rules.decide(question)


async def note_evaluation(
    work: UnitOfWork,
    question: Question,
    decision: Decision,
    *,
    conversation_id: UUID | None = None,
    user_id: UUID | None = None,
    agent: Agent | None = None,
) -> QueryEvent:
    """Keep that a request was evaluated: one query event, and an audit event unless it went through. Does not commit.

    ``user_id`` is whose request it is, ``agent`` who is to answer it. The event may be completed until the COMMIT.
    """
    event = QueryEvent(
        id=uuid7(),
        occurred_at=work.now,
        user_id=user_id,
        department=question.department,
        agent_id=question.agent_id,
        agent_name=agent.name if agent is not None else None,
        conversation_id=conversation_id,
        query_text=question.text,
        hitl_mode=decision.hitl_mode,
        was_escalated=decision.hitl_mode is HitlMode.ESCALATE,
        guardrails_triggered=_triggered(decision),
    )
    work.add(event)
    note_refusal_to_answer(work, question, decision, conversation_id=conversation_id, user_id=user_id, agent=agent)
    return event


def note_refusal_to_answer(
    work: UnitOfWork,
    question: Question,
    decision: Decision,
    *,
    action: str = "request.evaluated",
    conversation_id: UUID | None = None,
    user_id: UUID | None = None,
    agent: Agent | None = None,
) -> None:
    """One audit event for a decision that is not INFORM. It holds ids, enum values and names of rules, never the text.

    Does not commit. What is escalated waits for a review.
    """
    if decision.hitl_mode is HitlMode.INFORM:
        return
    high = decision.risk_level is RiskLevel.HIGH and decision.hitl_mode is HitlMode.ESCALATE
    work.session.add(
        AuditEvent(
            tenant_id=work.tenant_id,
            occurred_at=work.now,
            actor_type=work.actor[0] if work.actor else None,
            actor_id=work.actor[1] if work.actor else None,
            event_type=EVALUATED,
            severity=AuditSeverity.CRITICAL if high else _SEVERITIES[decision.hitl_mode],
            user_id=user_id,
            user_department=question.department,
            agent_id=question.agent_id,
            agent_name=agent.name if agent is not None else None,
            conversation_id=conversation_id,
            action=action,
            intent_domain=decision.intent_domain,
            risk_signals=list(decision.risk_signals),
            hitl_mode=decision.hitl_mode,
            details={
                "riskLevel": decision.risk_level.value,
                "localOnly": decision.local_only,
                "intentConfidence": decision.intent_confidence,
                "rules": [encode("policy", one.rule_id) for one in decision.matched],
                "prohibitedTopics": len(decision.prohibited_topics),
                "subject": encode(User.__typeid__, user_id) if user_id is not None else None,
            },
            pii_detected=list(decision.pii),
            guardrails_triggered=_triggered(decision),
            requires_review=decision.hitl_mode is HitlMode.ESCALATE,
        )
    )


def _triggered(decision: Decision) -> list[str]:
    return [one.name for one in decision.matched]
