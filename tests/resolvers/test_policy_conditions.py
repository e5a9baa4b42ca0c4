"""This module is where it is specified which conditions a rule can have; what could never match is refused."""

from __future__ import annotations

from typing import Any

import pytest

from models.errors import Refusal, RefusalCode
from resolvers.policy_conditions import KEYWORD_LIMIT, MOST_KEYWORDS, Conditions, conditions


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ({"domain": " Finance "}, {"domain": "Finance"}),
        ({"riskSignals": ["PII", "PII"]}, {"riskSignals": ["PII"]}),
        ({"keywords": [" Zoning ", "zoning"]}, {"keywords": ["Zoning", "zoning"]}),
        ({"minConfidence": 1}, {"minConfidence": 1.0}),
        ({"risk_signals": ["PII"], "min_confidence": 0.5}, {"riskSignals": ["PII"], "minConfidence": 0.5}),
        ({"domain": "Legal", "match": "all"}, {"domain": "Legal", "match": "all"}),
    ],
)
def test_conditions_are_kept_in_one_form(said: dict[str, Any], kept: dict[str, Any]) -> None:
    assert conditions(said) == kept


@pytest.mark.parametrize(
    ("said", "path"),
    [
        (None, []),
        ([], []),
        ("keywords", []),
        ({}, []),
        ({"match": "any"}, []),
        ({"intent": "Legal"}, ["intent"]),
        ({"Domain": "Legal"}, ["Domain"]),
        ({"domain": ""}, ["domain"]),
        ({"domain": 1}, ["domain"]),
        ({"domain": None}, ["domain"]),
        ({"domain": "x" * 101}, ["domain"]),
        ({"domain": "a\nb"}, ["domain"]),
        ({"domain": "\ud800"}, ["domain"]),
        ({"riskSignals": []}, ["riskSignals"]),
        ({"riskSignals": "PII"}, ["riskSignals"]),
        ({"riskSignals": ["PII", "pii"]}, ["riskSignals", "1"]),
        ({"riskSignals": [["PII"]]}, ["riskSignals", "0"]),
        ({"riskSignals": ["PII"] * 5}, ["riskSignals"]),
        ({"riskSignals": ["PII"], "risk_signals": ["PII"]}, ["risk_signals"]),
        ({"keywords": []}, ["keywords"]),
        ({"keywords": {}}, ["keywords"]),
        ({"keywords": ["a", ""]}, ["keywords", "1"]),
        ({"keywords": ["a", 5]}, ["keywords", "1"]),
        ({"keywords": ["a\x00"]}, ["keywords", "0"]),
        ({"keywords": ["\u200b\u200b"]}, ["keywords", "0"]),
        ({"keywords": ["x" * (KEYWORD_LIMIT + 1)]}, ["keywords", "0"]),
        ({"keywords": ["x"] * (MOST_KEYWORDS + 1)}, ["keywords"]),
        ({"minConfidence": 0}, ["minConfidence"]),
        ({"minConfidence": 1.01}, ["minConfidence"]),
        ({"minConfidence": "0.5"}, ["minConfidence"]),
        ({"minConfidence": True}, ["minConfidence"]),
        ({"minConfidence": float("nan")}, ["minConfidence"]),
        ({"domain": "Legal", "match": "none"}, ["match"]),
        ({"domain": "Legal", "match": None}, ["match"]),
    ],
)
def test_what_could_never_match_is_refused_by_its_path(said: Any, path: list[str]) -> None:
    with pytest.raises(Refusal) as refused:
        conditions(said)
    assert (refused.value.code, refused.value.field) == (RefusalCode.INVALID, ("input", "conditions", *path))


@pytest.mark.parametrize(
    "stored", [None, [], {}, {"keywords": 5}, {"riskSignals": [1]}, {"domain": []}, {"minConfidence": "x"}]
)
def test_what_is_stored_in_another_shape_asks_for_nothing(stored: Any) -> None:
    assert Conditions.of(stored) == Conditions()
