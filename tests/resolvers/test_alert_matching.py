"""This module is where rules' patterns are specified, and held against a slow matcher that nobody could get wrong."""

from __future__ import annotations

import time
from functools import lru_cache
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models import AlertAction
from models.ids import uuid7
from resolvers.alert_matching import Rule, RuleBook, Subject, folded, glob
from tests.patience import promised

FEW: Final = st.text(alphabet="abA?*ßİ", max_size=8)


def rule(name: str = "*", severity: str = "*", instance: str = "*", job: str = "*") -> Rule:
    """A rule with these patterns."""
    return Rule(uuid7(), (name, severity, instance, job), AlertAction.MANUAL)


def subject(
    name: str | None = "HighCPUUsage",
    severity: str | None = "critical",
    instance: str | None = "web-1",
    job: str | None = "node",
) -> Subject:
    """An alert as rules see it."""
    return Subject(name, severity, instance, job)


@pytest.mark.parametrize(
    ("pattern", "text", "matches"),
    [
        ("HighCPUUsage", "HighCPUUsage", True),
        ("highcpuusage", "HIGHCPUUSAGE", True),
        ("HighCPU", "HighCPUUsage", False),
        ("High*", "HighCPUUsage", True),
        ("*Usage", "HighCPUUsage", True),
        ("*CPU*", "HighCPUUsage", True),
        ("*CPU*CPU*", "HighCPUUsage", False),
        ("High*Usage", "HighUsag", False),
        ("aa*aa", "aaa", False),
        ("web-?", "web-1", True),
        ("web-?", "web-12", False),
        ("web-?*", "web-", False),
        ("*?", "x", True),
        ("a.c", "abc", False),
        ("[abc]", "a", False),
        ("**", "x", True),
        ("ÄRGER*", "ärgerlich", True),
    ],
)
def test_a_pattern_is_anchored_and_knows_no_case(pattern: str, text: str, matches: bool) -> None:
    assert glob(pattern)(folded(text)) is matches


def _slowly(pattern: str, text: str) -> bool:
    @lru_cache(None)
    def match(i: int, j: int) -> bool:
        if i == len(pattern):
            return j == len(text)
        if pattern[i] == "*":
            return match(i + 1, j) or (j < len(text) and match(i, j + 1))
        return j < len(text) and pattern[i] in {"?", text[j]} and match(i + 1, j + 1)

    return match(0, 0)


@given(FEW, st.text(alphabet="abAßİ", min_size=1, max_size=8))
def test_every_pattern_says_what_a_slow_matcher_says(pattern: str, text: str) -> None:
    assert glob(pattern)(folded(text)) is _slowly(folded(pattern), folded(text))


@pytest.mark.parametrize("value", [None, ""])
def test_what_is_empty_matches_a_bare_star_alone(value: str | None) -> None:
    for pattern, matches in (("*", True), ("**", False), ("?*", False), ("x", False)):
        assert (RuleBook([rule(instance=pattern)]).first(subject(instance=value)) is not None) is matches


def test_all_four_must_match_and_the_first_in_the_order_decides() -> None:
    postgres, noise, rest = rule("*Postgres*", "critical"), rule(severity="info"), rule()
    book = RuleBook([postgres, noise, rest])
    assert book.first(subject("PostgresDown")) is postgres
    assert book.first(subject("PostgresDown", "warning")) is rest
    assert book.first(subject(severity="INFO")) is noise
    assert book.first(subject()) is rest
    assert RuleBook([rule("*", "*", "web-*", "*"), rest]).first(subject(job="x")) is not rest
    assert RuleBook([postgres, noise]).first(subject()) is None
    assert RuleBook([]).first(subject()) is None


def test_more_than_sixty_four_rules_are_told_apart() -> None:
    rules = [rule(f"Alert{n}") for n in range(200)]
    book = RuleBook(rules)
    assert all(book.first(subject(f"alert{n}")) is rules[n] for n in range(200))


def test_what_is_remembered_is_what_would_be_found() -> None:
    book = RuleBook([rule("A*", instance="host-1*"), rule("A*")])
    first = [book.first(subject("A", instance=f"host-{n}")) for n in range(6_000)]
    assert [book.first(subject("A", instance=f"host-{n}")) for n in range(6_000)] == first


@pytest.mark.parametrize("pattern", ["*a" * 127, "?*" * 127, "a?" * 127, "*a?" * 85, "a" * 255])
def test_no_pattern_takes_long_over_any_text(pattern: str) -> None:
    matches = glob(pattern)
    start = time.process_time()
    for text in ("a" * 500, "a" * 499 + "b", "ab" * 250):
        matches(text)
    assert time.process_time() - start < promised(0.05)
