"""This module is where it is decided what the policies say about one request. Pure: no I/O, no clock, no tenant.

All rules that match apply: the most restrictive mode wins, one that demands to stay local is enough. The order of
evaluation, tier then priority, decides only whose reason is given. A prohibited topic escalates whatever else is said.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol
from uuid import UUID

from models.governance import STRONGEST_FIRST, HitlMode, PolicyTier, RiskLevel, TopicScope
from resolvers.policy_conditions import Conditions
from resolvers.policy_words import Words
from resolvers.risk_signals import LONGEST_TEXT, Reading, folded, read

MOST_WORDS_TOLD: Final = 3
_MOST_KEPT: Final = 64
_RISK_LEVELS: Final = (RiskLevel.LOW, RiskLevel.MEDIUM, RiskLevel.MEDIUM, RiskLevel.HIGH)


class Rule(Protocol):
    """What is read of a rule; a row of ``policy_rules`` has it."""

    id: Any
    name: Any
    tier: Any
    conditions: Any
    hitl_mode: Any
    local_only: Any
    escalation_reason: Any
    priority: Any
    enabled: Any


class Topic(Protocol):
    """What is read of a prohibited topic; a row of ``prohibited_topics`` has it."""

    topic: Any
    scope: Any
    agent_id: Any
    department: Any


@dataclass(frozen=True, slots=True)
class Question:
    """One request that policies are asked about; ``confidence`` (0 to 1) in the place of our own, where it is known."""

    text: str
    department: str | None = None
    agent_id: UUID | None = None
    agent_domain: str | None = None
    confidence: float | None = None


@dataclass(frozen=True, slots=True)
class Match:
    """One rule that matched, and why."""

    rule_id: UUID
    name: str
    tier: PolicyTier
    hitl_mode: HitlMode
    why: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Decision:
    """What the policies say. ``escalation_reason`` is None exactly when the mode is INFORM."""

    hitl_mode: HitlMode
    local_only: bool
    approval_required: bool
    escalation_reason: str | None
    escalation_rule_id: UUID | None
    """The rule whose reason it is; None where a prohibited topic or the text's length is the reason."""
    intent_domain: str
    intent_confidence: float
    risk_signals: tuple[str, ...]
    risk_level: RiskLevel
    matched: tuple[Match, ...]
    """In the order of evaluation."""
    prohibited_topics: tuple[str, ...]
    pii: tuple[str, ...] = ()
    """Which personal data the text seems to hold."""


@dataclass(frozen=True, slots=True)
class _Said:
    """What the rules say together, before anybody looks at topics."""

    matched: tuple[Match, ...]
    mode: HitlMode
    local_only: bool
    reason: str | None
    rule_id: UUID | None


_Traits = tuple[str, str | None, tuple[str, ...], int]
"""Of a request all that rules look at but its words: intent, agent's domain, risks, how many confidences it reaches."""


class RuleSet:
    """A tenant's rules and topics, made ready once for any number of questions."""

    def __init__(self, rules: Iterable[Rule], topics: Iterable[Topic]) -> None:
        self._rules = sorted((one for one in rules if one.enabled), key=_place)
        self._asked: list[int] = []
        """How many kinds of conditions must hold of each rule."""
        self._by_domain: dict[str, list[int]] = {}
        self._by_signal: dict[str, list[int]] = {}
        self._by_word: dict[str, list[int]] = {}
        self._by_confidence: dict[float, list[int]] = {}
        for place, rule in enumerate(self._rules):
            self._index(place, Conditions.of(rule.conditions))
        self._words = Words(self._by_word)
        self._confidences = sorted(self._by_confidence)
        self._topics = [(folded(one.topic), one) for one in topics]
        # Requests with the same traits and none of the words are answered alike, and nearly all are such.
        self._wordless: dict[_Traits, _Said] = {}

    def decide(self, question: Question) -> Decision:
        """What the policies say about ``question``; in time linear in its text."""
        text = question.text
        reading = read(text if len(text) <= LONGEST_TEXT else text[:LONGEST_TEXT], question.agent_domain)
        confidence = reading.confidence if question.confidence is None else question.confidence
        said = self._say(reading, question.agent_domain, confidence)
        topics = self._prohibited(reading.folded, question)
        mode, reason, rule_id = said.mode, said.reason, said.rule_id
        if mode is not HitlMode.ESCALATE and (topics or len(text) > LONGEST_TEXT):
            mode, rule_id = HitlMode.ESCALATE, None
            reason = (
                f"It touches a prohibited topic: {topics[0]}." if topics else "It is too long to be read to its end."
            )
        return Decision(
            hitl_mode=mode,
            local_only=said.local_only,
            approval_required=mode is not HitlMode.INFORM,
            escalation_reason=reason,
            escalation_rule_id=rule_id,
            intent_domain=reading.domain,
            intent_confidence=confidence,
            risk_signals=reading.signals,
            risk_level=_RISK_LEVELS[min(len(reading.signals), 3)],
            matched=said.matched,
            prohibited_topics=topics,
            pii=reading.pii,
        )

    def _index(self, place: int, asked: Conditions) -> None:
        kinds = bool(asked.risk_signals) + bool(asked.keywords)
        if asked.domain is not None:
            self._by_domain.setdefault(asked.domain.casefold(), []).append(place)
            kinds += 1
        for one in asked.risk_signals:
            self._by_signal.setdefault(one, []).append(place)
        for one in asked.keywords:
            self._by_word.setdefault(one, []).append(place)
        if asked.min_confidence is not None:
            self._by_confidence.setdefault(asked.min_confidence, []).append(place)
            kinds += 1
        self._asked.append(kinds if asked.all_of_them else 1)

    def _say(self, reading: Reading, agent_domain: str | None, confidence: float) -> _Said:
        words = self._words.within(reading.folded)
        traits = reading.domain, agent_domain, reading.signals, bisect_right(self._confidences, confidence)
        if words:
            return self._together(traits, words)
        said = self._wordless.get(traits)
        if said is None:
            if len(self._wordless) >= _MOST_KEPT:
                self._wordless.clear()
            said = self._wordless[traits] = self._together(traits, ())
        return said

    def _together(self, traits: _Traits, words: Sequence[str]) -> _Said:
        matched = self._matched(traits, words)
        mode = max((rule.hitl_mode for rule, _ in matched), key=lambda one: one.strength, default=HitlMode.INFORM)
        reason, rule_id = _reason([rule for rule, _ in matched], mode)
        return _Said(
            tuple(Match(one.id, one.name, one.tier, one.hitl_mode, why) for one, why in matched),
            mode,
            any(rule.local_only for rule, _ in matched),
            reason,
            rule_id,
        )

    def _matched(self, traits: _Traits, words: Sequence[str]) -> Sequence[tuple[Rule, tuple[str, ...]]]:
        """The rules that match, in the order of evaluation, each with its reasons."""
        domain, agent_domain, signals, reached = traits
        found: dict[int, dict[str, str]] = {}
        for place in self._by_domain.get(domain.casefold(), ()):
            found.setdefault(place, {})["domain"] = f"The intent is {domain}."
        if agent_domain is not None and agent_domain != domain:
            for place in self._by_domain.get(agent_domain.casefold(), ()):
                found.setdefault(place, {}).setdefault("domain", f"The agent's domain is {agent_domain}.")
        for one in signals:
            for place in self._by_signal.get(one, ()):
                _add(found.setdefault(place, {}), "signals", "It shows the risk", one)
        for word in words:
            for place in self._by_word[word]:
                _add(found.setdefault(place, {}), "words", "It contains", f"“{word}”")
        for least in self._confidences[reached:]:
            for place in self._by_confidence[least]:
                found.setdefault(place, {})["confidence"] = f"The confidence is below {least:g}."
        return [
            (self._rules[place], tuple(why.values()))
            for place, why in sorted(found.items())
            if len(why) >= self._asked[place]
        ]

    def _prohibited(self, text: str, question: Question) -> tuple[str, ...]:
        found = [one for words, one in self._topics if words and words in text]
        return tuple(one.topic for one in found if _holds(one, question))


def _place(rule: Rule) -> tuple[int, int, int]:
    # As the list of rules is sorted: by standing, the highest first, ties by id.
    return STRONGEST_FIRST.index(rule.tier), -rule.priority, -rule.id.int


def _add(why: dict[str, str], kind: str, words: str, one: str) -> None:
    said = why.get(kind)
    if said is None:
        why[kind] = f"{words} {one}."
    elif said.count(", ") < MOST_WORDS_TOLD - 1:
        why[kind] = f"{said[:-1]}, {one}."


def _holds(topic: Topic, question: Question) -> bool:
    if topic.scope is TopicScope.AGENT:
        return bool(question.agent_id == topic.agent_id)
    if topic.scope is TopicScope.DEPARTMENT:
        return question.department is not None and folded(question.department) == folded(topic.department)
    return True


def _reason(matched: Sequence[Rule], mode: HitlMode) -> tuple[str | None, UUID | None]:
    """Why the mode is what it is: the words of the first rule that asks for it and has any; its id."""
    if mode is HitlMode.INFORM:
        return None, None
    asking = [rule for rule in matched if rule.hitl_mode is mode]
    rule = next((one for one in asking if one.escalation_reason), asking[0])
    return rule.escalation_reason or f"The policy “{rule.name}” asks for it.", rule.id
