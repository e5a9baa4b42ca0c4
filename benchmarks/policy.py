"""This module is where it is measured how many requests one core evaluates against 200 rules, in its own CPU time."""

from __future__ import annotations

import statistics
import sys
import time
from dataclasses import dataclass, field
from itertools import cycle, islice
from typing import Any, Final
from uuid import UUID

from models import HitlMode, PolicyTier, TopicScope
from models.ids import uuid7
from resolvers.policy_evaluation import Question, RuleSet
from resolvers.risk_signals import DOMAINS, SIGNALS

RULES: Final = 200
TOPICS: Final = 20
PROMISED: Final = 20_000
"""Evaluations in a second of CPU time."""

QUERIES: Final = (
    "Please transfer $12,500 to vendor Apex Paving",
    "Draft a press release on the water main break",
    "Summarise NDA terms",
    "When does the library open on Sundays, and is there a story hour for children under six?",
    "My neighbour's fence stands on my lot. Whom do I ask about the zoning of our street, and what does it cost?",
    "How many vacation days does an employee have in the first year, and can they be taken over?",
    "Call the owner at (216) 555-0123 about the permit",
)


@dataclass(slots=True)
class Rule:
    """A rule as the evaluation sees one."""

    name: str
    conditions: dict[str, Any]
    hitl_mode: HitlMode
    tier: PolicyTier
    priority: int
    local_only: bool = False
    escalation_reason: str | None = "because"
    enabled: bool = True
    id: UUID = field(default_factory=uuid7)


@dataclass(slots=True)
class Topic:
    """A prohibited topic as the evaluation sees one."""

    topic: str
    scope: TopicScope = TopicScope.GLOBAL
    agent_id: UUID | None = None
    department: str | None = None


def rule_set(rules: int = RULES) -> RuleSet:
    """Rules of every kind: half of them look for three words, the others for domains, risks and confidence."""
    kinds: list[dict[str, Any]] = [
        {"domain": DOMAINS[0]},
        {"riskSignals": [SIGNALS[0]]},
        {"minConfidence": 0.2},
        {"domain": DOMAINS[1], "riskSignals": [SIGNALS[3]], "match": "all"},
    ]
    made = []
    for number in range(rules):
        words = {"keywords": [f"ordinance {number}", f"case-{number}", f"ward{number} plan"]}
        made.append(
            Rule(
                f"rule {number}",
                words if number % 2 else kinds[number // 2 % len(kinds)],
                list(HitlMode)[number % 3],
                list(PolicyTier)[number % 4],
                number,
            )
        )
    return RuleSet(made, [Topic(f"matter {number}") for number in range(TOPICS)])


def rate(evaluations: int, rules: RuleSet) -> float:
    """Evaluations in a second of this process's CPU time."""
    questions = [Question(one) for one in islice(cycle(QUERIES), evaluations)]
    start = time.process_time()
    for one in questions:
        rules.decide(one)
    return evaluations / (time.process_time() - start)


def run(rounds: int) -> None:
    """Print the median of ``rounds``."""
    rules = rule_set()
    found = [rate(PROMISED, rules) for _ in range(rounds)]
    sys.stdout.write(
        f"policies: {statistics.median(found):,.0f} evaluations a second of CPU time against {RULES} rules "
        f"(at least {PROMISED:,}; {min(found):,.0f} to {max(found):,.0f} in {rounds} rounds)\n"
    )
