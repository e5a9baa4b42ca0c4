"""This module is where it is specified what policies say: each example with its reason, and what holds for all."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models import HitlMode, PolicyTier, RiskLevel, TopicScope
from models.governance import BUILT_IN
from models.ids import uuid7
from resolvers.policy_evaluation import Decision, Question, RuleSet
from resolvers.risk_signals import DOMAINS, LONGEST_TEXT, SIGNALS, read
from tests.patience import promised
from tests.report import record

INFORM, DRAFT, ESCALATE = HitlMode
PII, LEGAL, PUBLIC, MONEY = SIGNALS
AGENT: Final = uuid7()


@dataclass(slots=True)
class Rule:
    """A rule as the evaluation sees one."""

    conditions: Any
    hitl_mode: HitlMode = DRAFT
    name: str = "rule"
    tier: PolicyTier = PolicyTier.STANDARD
    priority: int = 50
    local_only: bool = False
    escalation_reason: str | None = None
    enabled: bool = True
    id: UUID = field(default_factory=uuid7)


@dataclass(slots=True)
class Topic:
    """A prohibited topic as the evaluation sees one."""

    topic: str
    scope: TopicScope = TopicScope.GLOBAL
    agent_id: UUID | None = None
    department: str | None = None


def _constitution() -> list[Rule]:
    said: dict[str, tuple[dict[str, Any], HitlMode, int]] = {
        "no-external-posting": ({"riskSignals": [PUBLIC]}, ESCALATE, 100_004),
        "pii-protection": ({"riskSignals": [PII]}, DRAFT, 100_003),
        "legal-review": ({"domain": "Legal", "riskSignals": [LEGAL]}, DRAFT, 100_002),
        "financial-safeguard": ({"domain": "Finance", "riskSignals": [MONEY], "match": "all"}, ESCALATE, 100_001),
    }
    return [
        Rule(
            conditions,
            mode,
            name,
            PolicyTier.CONSTITUTIONAL,
            priority,
            local_only=name == "pii-protection",
            escalation_reason=f"because of {name}",
            id=BUILT_IN[name],
        )
        for name, (conditions, mode, priority) in said.items()
    ]


CONSTITUTION: Final = _constitution()


def decide(text: str, *rules: Rule, topics: list[Topic] | None = None, **asked: Any) -> Decision:
    """What the constitution and ``rules`` say."""
    return RuleSet([*CONSTITUTION, *rules], topics or []).decide(Question(text, **asked))


def names(decision: Decision) -> list[str]:
    """The rules that matched, in order."""
    return [one.name for one in decision.matched]


CASES: Final[list[tuple[str, HitlMode, list[str], str, list[str], str]]] = [
    ("Please transfer $12,500 to vendor Apex Paving", ESCALATE, [MONEY], "Finance", ["financial-safeguard"],
     "money that an agent would move"),
    ("Draft a press release on the water main break", ESCALATE, [PUBLIC], "Comms", ["no-external-posting"],
     "something said to the public"),
    ("Summarise NDA terms", DRAFT, [LEGAL], "Legal", ["legal-review"], "a contract"),
    ("When does the library open on Sundays?", INFORM, [], "General", [], "nothing at all"),
    ("My SSN is 123-45-6789, am I eligible?", DRAFT, [PII], "General", ["pii-protection"], "a number of a person"),
    ("Write to jane.doe@example.org about the hearing", DRAFT, [PII], "General", ["pii-protection"], "an address"),
    ("Call the owner at (216) 555-0123", DRAFT, [PII], "General", ["pii-protection"], "a telephone number"),
    ("Call +44 20 7946 0958 tomorrow", DRAFT, [PII], "General", ["pii-protection"], "a number from abroad"),
    ("The card is 4111 1111 1111 1111", DRAFT, [PII], "General", ["pii-protection"], "a card"),
    ("What is her date of birth?", DRAFT, [PII], "General", ["pii-protection"], "a word of a person"),
    ("Explain the liability clause", DRAFT, [LEGAL], "Legal", ["legal-review"], "a legal matter and its risk"),
    ("Which court hears appeals?", DRAFT, [], "Legal", ["legal-review"], "a legal matter without a risk"),
    ("How many vacation days does an employee have?", INFORM, [], "HR", [], "people's matters are not restricted"),
    ("The park's budget is $3 million", ESCALATE, [MONEY], "Finance", ["financial-safeguard"], "an amount"),
    ("Why was the server down? The outage cost us 300 dollars", INFORM, [MONEY], "DevOps", [],
     "an amount that is no matter of finance"),
    ("Which tax applies to a food truck?", INFORM, [], "Finance", [], "finance without any money in it"),
    ("Deploy the database backup", INFORM, [], "DevOps", [], "operations are not restricted"),
    ("Post the invoice of Jane, SSN 123-45-6789, on social media", ESCALATE, [PII, PUBLIC, MONEY], "Comms",
     ["no-external-posting", "pii-protection"], "the strictest of several"),
]  # fmt: skip
"""What is asked, the mode, the risks, the domain, the rules that match, and why; the first three are the domain's."""


@pytest.mark.parametrize(("text", "mode", "signals", "domain", "rules", "reason"), CASES)
def test_the_constitution_says_of(
    text: str, mode: HitlMode, signals: list[str], domain: str, rules: list[str], reason: str
) -> None:
    decision = decide(text)
    if domain != "Comms" or len(signals) == 1:
        assert decision.intent_domain == domain, reason
        assert names(decision) == rules, reason
    assert set(rules) <= set(names(decision)), reason
    assert (decision.hitl_mode, list(decision.risk_signals)) == (mode, signals), reason
    assert decision.approval_required == (mode is not INFORM)
    assert decision.local_only == (PII in signals)
    # The reason is that of the first rule that asks for the mode.
    asks = [one.name for one in decision.matched if one.hitl_mode is mode]
    assert decision.escalation_reason == (f"because of {asks[0]}" if mode is not INFORM else None)


def test_the_table_holds_every_mode_every_risk_and_every_rule_of_the_constitution() -> None:
    assert {mode for _, mode, *_ in CASES} == set(HitlMode)
    assert {signal for case in CASES for signal in case[2]} == set(SIGNALS)
    assert {rule for case in CASES for rule in case[4]} == {rule.name for rule in CONSTITUTION}
    record(6, "the table of policy cases, each with the reason", len(CASES), "every example of the domain among them")


@pytest.mark.parametrize(
    "text",
    [
        "My ssn is 123 45 6789",
        "\uff11\uff12\uff13-\uff14\uff15-\uff16\uff17\uff18\uff19",
        "123\u201145\u20116789",
        "123-\u200b45-6789",
        "J.DOE@EXAMPLE.ORG",
        "social\n  security number",
        "the driver's license",
    ],
)
def test_a_person_is_found_however_the_text_is_written(text: str) -> None:
    assert PII in decide(text).risk_signals


@pytest.mark.parametrize(
    "text", ["2026-11-22 12:10", "version 1.2.3-45", "room 216-555", "a@b", "@everybody", "12,500"]
)
def test_not_every_number_is_a_person(text: str) -> None:
    assert PII not in decide(text).risk_signals


@pytest.mark.parametrize(
    ("conditions", "text", "asked", "why"),
    [
        ({"domain": "HR"}, "vacation", {}, "The intent is HR."),
        ({"domain": "Permits"}, "hello", {"agent_domain": "Permits"}, "The intent is Permits."),
        ({"domain": "Permits"}, "vacation", {"agent_domain": "Permits"}, "The agent's domain is Permits."),
        ({"riskSignals": [LEGAL, PUBLIC]}, "a lawsuit", {}, f"It shows the risk {LEGAL}."),
        ({"riskSignals": [LEGAL, PUBLIC]}, "a lawsuit tweet", {}, f"It shows the risk {LEGAL}, {PUBLIC}."),
        ({"keywords": ["Zoning"]}, "REZONING the lot", {}, "It contains “zoning”."),
        ({"keywords": ["water main"]}, "the Water   Main", {}, "It contains “water main”."),
        ({"minConfidence": 0.5}, "hello", {}, "The confidence is below 0.5."),
        ({"minConfidence": 0.9}, "vacation", {"confidence": 0.85}, "The confidence is below 0.9."),
        ({"domain": "Nothing", "keywords": ["lot"]}, "the lot", {}, "It contains “lot”."),
    ],
)  # fmt: skip
def test_any_of_a_rules_conditions_is_enough_and_it_says_which(
    conditions: dict[str, Any], text: str, asked: dict[str, Any], why: str
) -> None:
    (match,) = [one for one in decide(text, Rule(conditions), **asked).matched if one.name == "rule"]
    assert match.why == (why,)


@pytest.mark.parametrize(
    ("conditions", "text", "asked"),
    [
        ({}, "anything", {}),
        ({"domain": "H"}, "vacation", {}),
        ({"riskSignals": [PII]}, "vacation", {}),
        ({"keywords": ["zoning"]}, "zone", {}),
        ({"minConfidence": 0.3}, "hello", {}),
        ({"minConfidence": 0.5}, "hello", {"confidence": 0.5}),
        ({"domain": "HR", "keywords": ["lot"], "match": "all"}, "vacation", {}),
        ({"keywords": "zoning"}, "zoning", {}),
        ({"keywords": ["\u200b"]}, "anything", {}),
    ],
)
def test_a_rule_does_not_match(conditions: dict[str, Any], text: str, asked: dict[str, Any]) -> None:
    assert "rule" not in names(decide(text, Rule(conditions), **asked))


def test_a_rule_that_asks_for_all_of_its_conditions_says_all_of_them() -> None:
    rule = Rule({"domain": "HR", "keywords": ["lot", "vacation"], "match": "all"})
    (match,) = decide("vacation by lot", rule).matched
    assert match.why == ("The intent is HR.", "It contains “lot”, “vacation”.")


def test_a_rule_that_is_switched_off_says_nothing() -> None:
    assert decide("lot", Rule({"keywords": ["lot"]}, enabled=False)).hitl_mode is INFORM


def test_rules_are_told_by_tier_and_then_by_priority_and_the_first_that_asks_for_the_mode_gives_the_reason() -> None:
    def of(name: str, tier: PolicyTier, priority: int, mode: HitlMode, reason: str | None = None) -> Rule:
        return Rule({"keywords": ["lot"]}, mode, name, tier, priority, escalation_reason=reason)

    rules = [
        of("low", PolicyTier.STANDARD, 10_000, ESCALATE, "low"),
        of("department", PolicyTier.DEPARTMENT, 1, ESCALATE, "department"),
        of("later", PolicyTier.ORGANIZATION, 1, ESCALATE, "later"),
        of("earlier", PolicyTier.ORGANIZATION, 2, ESCALATE, "earlier"),
        of("wordless", PolicyTier.ORGANIZATION, 3, ESCALATE),
        of("draft", PolicyTier.CONSTITUTIONAL, 9, DRAFT, "draft"),
    ]
    decision = decide("lot", *rules)
    assert names(decision) == ["draft", "wordless", "earlier", "later", "department", "low"]
    assert (decision.hitl_mode, decision.escalation_reason) == (ESCALATE, "earlier")
    assert decision.escalation_rule_id == rules[3].id
    alone = decide("lot", rules[4])
    assert alone.escalation_reason == "The policy “wordless” asks for it."


@pytest.mark.parametrize(
    ("topic", "asked", "is_touched"),
    [
        (Topic("Pending Litigation"), {}, True),
        (Topic("union negotiations"), {}, False),
        (Topic("pending litigation", TopicScope.AGENT, AGENT), {"agent_id": AGENT}, True),
        (Topic("pending litigation", TopicScope.AGENT, AGENT), {"agent_id": uuid7()}, False),
        (Topic("pending litigation", TopicScope.AGENT, AGENT), {}, False),
        (Topic("pending litigation", TopicScope.DEPARTMENT, department="Law"), {"department": " LAW "}, True),
        (Topic("pending litigation", TopicScope.DEPARTMENT, department="Law"), {"department": "Parks"}, False),
        (Topic("pending litigation", TopicScope.DEPARTMENT, department="Law"), {}, False),
    ],
)
def test_a_prohibited_topic_escalates_where_it_is_prohibited(
    topic: Topic, asked: dict[str, Any], is_touched: bool
) -> None:
    decision = decide("What about the PENDING\nlitigation?", topics=[topic], **asked)
    assert decision.prohibited_topics == ((topic.topic,) if is_touched else ())
    assert (decision.hitl_mode is ESCALATE) == is_touched
    if is_touched:
        assert decision.escalation_reason == f"It touches a prohibited topic: {topic.topic}."
        assert decision.escalation_rule_id is None


def test_a_rule_that_escalates_gives_its_own_reason_also_where_a_topic_is_touched() -> None:
    decision = decide("Draft a press release", topics=[Topic("press")])
    assert decision.escalation_reason == "because of no-external-posting"
    assert decision.prohibited_topics == ("press",)


@pytest.mark.parametrize(
    ("text", "level"),
    [
        ("hello", RiskLevel.LOW),
        ("a lawsuit", RiskLevel.MEDIUM),
        ("a lawsuit over $5", RiskLevel.MEDIUM),
        ("a lawsuit over $5 by a@b.org", RiskLevel.HIGH),
        ("a tweet of a lawsuit over $5 by a@b.org", RiskLevel.HIGH),
    ],
)
def test_the_level_counts_the_kinds_of_risk(text: str, level: RiskLevel) -> None:
    assert decide(text).risk_level is level


def test_what_nobody_could_read_to_its_end_is_escalated() -> None:
    decision = decide("a " * (LONGEST_TEXT // 2) + "b")
    assert (decision.hitl_mode, decision.escalation_reason) == (ESCALATE, "It is too long to be read to its end.")
    assert decide("a " * (LONGEST_TEXT // 2)).hitl_mode is INFORM


def test_what_was_asked_before_changes_no_answer() -> None:
    rules = RuleSet([*CONSTITUTION, Rule({"keywords": ["lot"]}), Rule({"minConfidence": 0.5})], [])
    asked = [
        Question(text, agent_domain=domain, confidence=confidence)
        for text in ("vacation", "vacation lot", "an nda", "an nda for the lot", "hello")
        for domain in (None, *(f"domain {number}" for number in range(40)))
        for confidence in (None, 0.4, 0.5)
    ]
    first = [rules.decide(one) for one in asked]
    assert [rules.decide(one) for one in reversed(asked)] == first[::-1]
    assert [RuleSet([*CONSTITUTION], []).decide(one).intent_domain for one in asked] == [
        one.intent_domain for one in first
    ]


_TEXTS: Final = st.lists(
    st.sampled_from(["lot", "nda", "press release", "$5", "vacation", "a@b.org", "hello", "123-45-6789", "invoice"]),
    max_size=6,
).map(" ".join)
_RULES: Final = st.lists(
    st.builds(
        Rule,
        conditions=st.fixed_dictionaries(
            {},
            optional={
                "domain": st.sampled_from(DOMAINS),
                "riskSignals": st.lists(st.sampled_from(SIGNALS), min_size=1, max_size=2),
                "keywords": st.lists(st.sampled_from(["lot", "hello", "nda"]), min_size=1, max_size=2),
                "minConfidence": st.sampled_from([0.1, 0.5, 1.0]),
                "match": st.sampled_from(["any", "all"]),
            },
        ),
        hitl_mode=st.sampled_from(HitlMode),
        tier=st.sampled_from(PolicyTier),
        priority=st.integers(-5, 5),
        local_only=st.booleans(),
        escalation_reason=st.sampled_from([None, "why"]),
        id=st.uuids(),
    ),
    max_size=6,
)


@given(text=_TEXTS, rules=_RULES, more=_RULES)
@settings(max_examples=200, deadline=None)
def test_no_rule_that_is_added_makes_anything_laxer(text: str, rules: list[Rule], more: list[Rule]) -> None:
    before, after = decide(text, *rules), decide(text, *rules, *more)
    assert after.hitl_mode.strength >= before.hitl_mode.strength
    assert after.local_only >= before.local_only
    assert {one.rule_id for one in before.matched} <= {one.rule_id for one in after.matched}


@given(text=_TEXTS, rules=_RULES, changed=st.randoms(use_true_random=False))
@settings(max_examples=200, deadline=None)
def test_priorities_decide_the_reason_and_never_the_mode(text: str, rules: list[Rule], changed: Any) -> None:
    before = decide(text, *rules)
    for one in rules:
        one.priority = changed.randint(-5, 5)
    after = decide(text, *rules)
    assert (after.hitl_mode, after.local_only) == (before.hitl_mode, before.local_only)
    assert {one.rule_id for one in after.matched} == {one.rule_id for one in before.matched}


@given(text=st.text(max_size=300))
@settings(max_examples=200, deadline=None)
def test_every_text_has_an_answer(text: str) -> None:
    decision = decide(text, Rule({"keywords": ["x"]}))
    assert decision.intent_domain in DOMAINS
    assert 0 < decision.intent_confidence <= 1


@pytest.mark.parametrize(
    "piece", ["a@", "1-", "12 ", "+1 (", "123-45-678", "1234 ", "$ ", "a.a@a.", "(216) ", "ssn ", "\u200b-"]
)
def test_a_text_is_read_in_time_that_grows_with_its_length_alone(piece: str) -> None:
    def seconds(length: int) -> float:
        text = piece * (length // len(piece))
        best = []
        for _ in range(3):
            start = time.process_time()
            read(text)
            best.append(time.process_time() - start)
        return min(best)

    short, long = seconds(LONGEST_TEXT // 16), seconds(LONGEST_TEXT)
    # Sixteen times the text; a pattern that goes back would take hundreds of times as long.
    assert long <= 64 * short + promised(0.2)
