"""This module is where the demo's tenants have rules and prohibited topics, and requests that were judged by them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from uuid import UUID

from sqlalchemy import select

from dataloaders.governance import rules_in_force, topics_of
from gateway.demo.together import SharingCall
from models import Agent, AuditEvent, HitlMode, TopicScope, User
from resolvers.audit_events import review_audit_event
from resolvers.governance import note_evaluation
from resolvers.policy_evaluation import Question, RuleSet
from resolvers.policy_rules import create_policy_rule, update_policy_rule
from resolvers.prohibited_topics import create_prohibited_topic

_RULES: Final[tuple[dict[str, Any], ...]] = (
    {
        "name": "council-matters",
        "description": "What the council decides is not announced before.",
        "tier": "organization",
        "conditions": {"keywords": ["council vote", "closed session"]},
        "hitl_mode": HitlMode.ESCALATE,
        "escalation_reason": "The council has not decided yet.",
        "priority": 80,
    },
    {
        "name": "permits-are-drafts",
        "description": "Whether a permit is granted is said by a person.",
        "tier": "department",
        "conditions": {"domain": "Permits", "keywords": ["permit granted"], "match": "any"},
        "hitl_mode": HitlMode.DRAFT,
        "local_only": True,
    },
    {
        "name": "unclear-requests",
        "description": "Switched off since the concierge asks back.",
        "conditions": {"minConfidence": 0.2},
        "hitl_mode": HitlMode.DRAFT,
        "enabled": False,
    },
)
_ASKED: Final = (
    "When does the library open on Sundays?",
    "Please transfer $12,500 to vendor Apex Paving",
    "Draft a press release on the water main break",
    "Summarise NDA terms",
    "What is the state of the union negotiations?",
)


async def govern(call: SharingCall, agents: Mapping[str, UUID]) -> None:
    """Rules of every tier and mode, topics of every scope, and requests of which one was reviewed."""
    made = [await create_policy_rule(call, **one) for one in _RULES]
    await update_policy_rule(call, id=made[0].id, expected_version=made[0].version, priority=90)
    agent_id = next(iter(agents.values()))
    agent = await call.shared.session.get_one(Agent, (call.tenant_id, agent_id))
    await create_prohibited_topic(call, topic="pending litigation")
    await create_prohibited_topic(call, topic="union negotiations", scope=TopicScope.DEPARTMENT, scope_id="Law")
    await create_prohibited_topic(call, topic="salaries", scope=TopicScope.AGENT, scope_id=agent.typeid)
    asker = await call.shared.session.scalar(
        select(User.id).where(User.tenant_id == call.tenant_id).order_by(User.id).limit(1)
    )
    # Read in this transaction: what is in force for everybody else is not committed yet.
    rules = RuleSet(await rules_in_force(call.shared.session), await topics_of(call.shared.session))
    for words in _ASKED:
        await _ask(call, rules, Question(words, "Law", agent.id, agent.domain), agent, asker)
    await call.shared.session.flush()
    first = await call.shared.session.scalar(
        select(AuditEvent.id)
        .where(AuditEvent.tenant_id == call.tenant_id, AuditEvent.requires_review)
        .order_by(AuditEvent.id)
        .limit(1)
    )
    if first is not None:
        await review_audit_event(call, id=first, note="Handed over to the treasurer.")


async def _ask(call: SharingCall, rules: RuleSet, question: Question, agent: Agent, asker: UUID | None) -> None:
    decision = rules.decide(question)
    event = await note_evaluation(call.shared, question, decision, user_id=asker, agent=agent)
    if decision.hitl_mode is HitlMode.INFORM:
        event.response_text = "From one to five."
        event.latency_ms, event.tokens_in, event.tokens_out = 840, 412, 188
