"""This module is where the policies in force are asked about a request, and where it is kept what they said."""

from __future__ import annotations

from typing import Final
from uuid import UUID

from dataloaders.base import by_id
from models import Agent, AuditEvent, AuditSeverity, HitlMode, PolicyRule, QueryEvent, RiskLevel
from models.errors import BadRequest
from models.ids import encode, uuid7
from resolvers.call import Call
from resolvers.policy_evaluation import Decision, Question
from resolvers.risk_signals import LONGEST_TEXT
from resolvers.unit_of_work import UnitOfWork

DEPARTMENT_LIMIT: Final = 255
EVALUATED: Final = "policy_evaluation"
"""The type of audit events that stand for an evaluation."""

_SEVERITIES: Final = {
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


async def evaluate_policy(
    call: Call,
    *,
    query: str,
    agent_id: UUID | None = None,
    department: str | None = None,
    confidence: float | None = None,
) -> Decision | None:
    """What the policies would say, for whoever tries them; None of an agent that is not there. Raises BAD_REQUEST,
    Unavailable.

    A dry run is no request: it leaves no query event. One that would not go through leaves an audit event, so that
    nobody feels their way around the policies unseen; commits that.
    """
    if len(query) > LONGEST_TEXT or "\x00" in query:
        raise BadRequest(f"A query is text of at most {LONGEST_TEXT:,} characters.")
    if department is not None and (len(department) > DEPARTMENT_LIMIT or "\x00" in department):
        raise BadRequest(f"A department is text of at most {DEPARTMENT_LIMIT} characters.")
    if confidence is not None and not 0 <= confidence <= 1:
        raise BadRequest("A confidence is a number from 0 to 1.")
    agent: Agent | None = await call.load(by_id(Agent), agent_id) if agent_id is not None else None
    if agent_id is not None and agent is None:
        return None
    question = Question(query, department, agent_id, agent.domain if agent is not None else None, confidence)
    decision = await evaluate(call, question)
    if decision.hitl_mode is not HitlMode.INFORM:
        async with call.work() as work:
            note_event(work, question, decision, user_id=call.who.member_id, agent=agent, is_dry_run=True)
    return decision


async def matched_rules(call: Call, decision: Decision) -> list[PolicyRule]:
    """The rules that matched, in the order of evaluation, without those that are gone by now."""
    found = await call.loaders.of(by_id(PolicyRule)).load_many([one.rule_id for one in decision.matched])
    return [one for one in found if one is not None]


async def note_evaluation(
    work: UnitOfWork,
    question: Question,
    decision: Decision,
    *,
    id: UUID | None = None,
    conversation_id: UUID | None = None,
    user_id: UUID | None = None,
    agent: Agent | None = None,
) -> QueryEvent:
    """Keep that a request was evaluated: one query event, and an audit event unless it went through. Does not commit.

    ``id`` is what the query event is found by again, ``user_id`` whose request it is, ``agent`` who is to answer it.
    The event may be completed until the COMMIT.
    """
    event = QueryEvent(
        id=id or uuid7(),
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
    note_event(work, question, decision, conversation_id=conversation_id, user_id=user_id, agent=agent)
    return event


def note_event(
    work: UnitOfWork,
    question: Question,
    decision: Decision,
    *,
    is_dry_run: bool = False,
    conversation_id: UUID | None = None,
    user_id: UUID | None = None,
    agent: Agent | None = None,
) -> None:
    """One audit event for a decision that is not INFORM. It holds ids, enum values and names of rules, never the text.

    Does not commit. A request that is escalated waits for a review; a dry run does not.
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
            action="policy.tried" if is_dry_run else "request.evaluated",
            intent_domain=decision.intent_domain,
            risk_signals=list(decision.risk_signals),
            hitl_mode=decision.hitl_mode,
            details={
                "riskLevel": decision.risk_level.value,
                "localOnly": decision.local_only,
                "intentConfidence": decision.intent_confidence,
                "rules": [encode(PolicyRule.__typeid__, one.rule_id) for one in decision.matched],
                "prohibitedTopics": len(decision.prohibited_topics),
            },
            pii_detected=list(decision.pii),
            guardrails_triggered=_triggered(decision),
            requires_review=decision.hitl_mode is HitlMode.ESCALATE and not is_dry_run,
        )
    )


def _triggered(decision: Decision) -> list[str]:
    return [one.name for one in decision.matched]
