"""This module is where policies are seen from outside: the rules, and what they say about a request."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from strawberry import ID

import models
from dataloaders.governance import policy_rules
from models import HitlMode, RiskLevel, Scope
from models.ids import parse
from resolvers import governance
from resolvers import policy_rules as use_cases
from resolvers.call import Call
from resolvers.policy_evaluation import Decision
from schema.commands import DeletePayload, UserError, command, payload, user_errors
from schema.common import JSON, Connection, Node, connection, found
from schema.declare import Argument, column, computed, describe, node, part, root_fields, to_one
from schema.inputs import form, optional, required

describe(
    HitlMode,
    "How much of a human a request needs; each is stronger than the one before.",
    INFORM="None: it goes through, and is logged.",
    DRAFT="The answer is a draft until somebody approves it.",
    ESCALATE="No model answers; somebody takes over.",
)
describe(
    RiskLevel,
    "How many kinds of risk a request shows.",
    LOW="None.",
    MEDIUM="One or two.",
    HIGH="Three or more.",
)

_CONDITIONS = (
    'Any of domain (text, matched whole), riskSignals (of "PII", "LEGAL_CONTRACT", "PUBLIC_STATEMENT", "FINANCIAL"), '
    "keywords (1 to 50, found anywhere in the text, whatever their case), minConfidence (0 to 1, fires below it); "
    'with "match": "all" every one that is given has to hold.'
)


@node(
    models.PolicyRule,
    "conditions: any of domain, riskSignals, keywords, minConfidence. Higher priority is evaluated first, which "
    "decides the reason, never the mode.",
    scope=Scope.POLICIES_READ,
)
class PolicyRule(Node):
    """GraphQL type of models.PolicyRule."""

    name: str = column("What people call it.")
    description: str | None = column("What it is for.")
    tier: str = column("constitutional, organization, department or standard; evaluated in this order.")
    conditions: JSON = column(_CONDITIONS)
    hitl_mode: HitlMode = column("How much of a human it asks for. The most restrictive of all that match wins.")
    local_only: bool = column("Whether only a local model may see the request.")
    approval_required: bool = column("Whether it asks for anything but INFORM.")
    escalation_reason: str | None = column("Why, in words for whoever asked.")
    priority: int = column("Within its tier, higher is evaluated first.")
    is_immutable: bool = column("Whether nobody can change it.")
    is_shared: bool = column("Whether it is the platform's, and holds for every tenant.")
    enabled: bool = column("Whether it is in force.")
    version: int = column("Rises with every change; say it back as expectedVersion.")
    created_at: datetime = column("When it was made.")
    updated_at: datetime = column("When it last changed.")


@part("One rule that matched, and why.")
class PolicyMatch:
    """Part of a decision."""

    rule: PolicyRule | None = to_one(models.PolicyRule, "The rule; null when it is gone by now.", "rule_id")
    name: str = column("What the rule was called.")
    hitl_mode: HitlMode = column("What it asks for.")
    reasons: list[str] = column("What of the request it matched, in words.", "why")


async def _matched(decision: Decision, call: Call) -> Any:
    return await governance.matched_rules(call, decision)


@part("What the policies in force say about one request, and which rules said it.")
class PolicyDecision:
    """GraphQL type of a Decision."""

    hitl_mode: HitlMode = column("How much of a human it needs: the most restrictive of all that matched.")
    local_only: bool = column("Whether only a local model may see it; one rule that says so is enough.")
    approval_required: bool = column("Whether the mode is anything but INFORM.")
    escalation_reason: str | None = column("Why the mode is what it is; null for INFORM.")
    escalation_rule: PolicyRule | None = to_one(
        models.PolicyRule, "Whose reason that is; null where a prohibited topic is.", "escalation_rule_id"
    )
    intent_domain: str = column("What it is about: Legal, Finance, HR, Comms, DevOps or General; or the agent's own.")
    intent_confidence: float = column("0 to 1: how sure that is; 0.3 where no word speaks for any.")
    risk_signals: list[str] = column("Of PII, LEGAL_CONTRACT, PUBLIC_STATEMENT, FINANCIAL those that it shows.")
    risk_level: RiskLevel = column("How many that are.")
    matched_rules: list[PolicyRule] = computed(
        _matched, "The rules that matched, in the order of evaluation.", cost=2, scope=Scope.POLICIES_READ, shared=True
    )
    matches: list[PolicyMatch] = column("Why each of them matched, in the same order.", "matched")
    prohibited_topics: list[str] = column("The prohibited topics that it touches.")


@form("A new rule of the caller's tenant; the platform's own hold for everybody.")
class CreatePolicyRuleInput:
    """Input of createPolicyRule."""

    name: str = required("One line of at most 255 characters.")
    description: str | None = optional("What it is for, at most 2,000 characters.")
    tier: str | None = optional("constitutional, organization, department or standard; standard when absent.")
    conditions: JSON = required(_CONDITIONS)
    hitl_mode: HitlMode = required("How much of a human it asks for.")
    local_only: bool | None = optional("Whether only a local model may see the request; false when absent.")
    escalation_reason: str | None = optional("Why, in words for whoever asked; at most 1,000 characters.")
    priority: int | None = optional("-10,000 to 10,000, higher first; 50 when absent.")
    enabled: bool | None = optional("Whether it is in force at once; true when absent.")
    note: str | None = optional("What the change is for, kept with the version; one line of at most 500 characters.")
    idempotency_key: str | None = optional("Makes a retry safe for 24 hours; at most 255 characters.")


@form("Changes of a rule; absent stays, null clears.")
class UpdatePolicyRuleInput:
    """Input of updatePolicyRule."""

    id: ID = required("Which one.", of="policy")
    expected_version: int = required("The version these changes were made from.")
    name: str | None = optional("One line of at most 255 characters.")
    description: str | None = optional("What it is for, at most 2,000 characters.")
    tier: str | None = optional("constitutional, organization, department or standard.")
    conditions: JSON | None = optional("The whole of them, in the place of what was there.")
    hitl_mode: HitlMode | None = optional("How much of a human it asks for.")
    local_only: bool | None = optional("Whether only a local model may see the request.")
    escalation_reason: str | None = optional("Why, in words for whoever asked; at most 1,000 characters.")
    priority: int | None = optional("-10,000 to 10,000, higher first.")
    enabled: bool | None = optional("Whether it is in force.")
    note: str | None = optional("What the change is for, kept with the version; one line of at most 500 characters.")


@form("Which rule goes.")
class DeletePolicyRuleInput:
    """Input of deletePolicyRule."""

    id: ID = required("Which one.", of="policy")
    expected_version: int | None = optional("Refuse when it has changed since this version.")
    note: str | None = optional("What the change is for, kept with the version; one line of at most 500 characters.")


@payload("A rule after a change.")
class PolicyRulePayload:
    """Payload of mutations of rules."""

    policy_rule: PolicyRule | None = column("The rule as it is now.")
    user_errors: list[UserError] = user_errors()


async def _evaluate(
    _: Any,
    call: Call,
    query: str,
    agent_id: str | None = None,
    department: str | None = None,
    confidence: float | None = None,
) -> Any:
    agent: UUID | None = parse(agent_id, "agent") if agent_id is not None else None
    return await governance.evaluate_policy(
        call, query=query, agent_id=agent, department=department, confidence=confidence
    )


@root_fields
class GovernanceQueries:
    """Root fields over policies."""

    evaluate_policy: PolicyDecision | None = computed(
        _evaluate,
        "Dry run: what would the policies say? It counts as no request; where the answer is not INFORM, that it was "
        "tried is kept among the audit events.",
        [
            Argument("query", str, "What somebody might ask, at most 131,072 characters. It is not kept."),
            Argument("agent_id", ID | None, "The agent that would be asked; null comes of one that is not there."),
            Argument("department", str | None, "The department of whoever might ask."),
            Argument("confidence", float | None, "0 to 1: how sure the intent is; our own guess when absent."),
        ],
        scope=Scope.POLICIES_EVALUATE,
        cost=20,
    )
    policy_rules: Connection[PolicyRule] | None = connection(
        policy_rules, "The tenant's rules and the platform's, in the order of evaluation."
    )
    policy_rule: PolicyRule | None = found(models.PolicyRule, "One rule.")


@root_fields
class GovernanceMutations:
    """What can be done to rules. IMMUTABLE for what the platform shares, and for what is part of the constitution."""

    create_policy_rule: PolicyRulePayload | None = command(
        use_cases.create_policy_rule,
        "Makes a rule. It can only make the policies stricter: the most restrictive rule that matches wins.",
        input=CreatePolicyRuleInput,
        payload=PolicyRulePayload,
        scope=Scope.POLICIES_WRITE,
    )
    update_policy_rule: PolicyRulePayload | None = command(
        use_cases.update_policy_rule,
        "Changes a rule of the tenant's own.",
        input=UpdatePolicyRuleInput,
        payload=PolicyRulePayload,
        scope=Scope.POLICIES_WRITE,
        keep_null=True,
    )
    delete_policy_rule: DeletePayload | None = command(
        use_cases.delete_policy_rule,
        "Takes a rule of the tenant's own away.",
        input=DeletePolicyRuleInput,
        payload=DeletePayload,
        scope=Scope.POLICIES_WRITE,
    )


__all__ = ["GovernanceMutations", "GovernanceQueries", "HitlMode", "PolicyDecision", "PolicyMatch", "PolicyRule"]
