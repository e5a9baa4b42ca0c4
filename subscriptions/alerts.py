"""This module is where events of alerts are matched against an alert filter."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final

from subscriptions.filters import Facets, Test, any_of, equals, matcher, words


def _moment(facets: Facets) -> datetime:
    return datetime.fromisoformat(facets["starts_at"])


_TESTS: Final[Mapping[str, Test]] = {
    "status": any_of("status"),
    "severity": any_of("severity"),
    "analyzed": equals("analyzed"),
    "analysis_status": any_of("analysis_status"),
    "alert_name": equals("alert_name"),
    "instance": equals("instance"),
    "job": equals("job"),
    "action_taken": any_of("action_taken"),
    "include_ignored": lambda _, __: True,
    "started_after": lambda facets, moment: _moment(facets) >= moment,
    "started_before": lambda facets, moment: _moment(facets) < moment,
    "search": words,
}


def _shown(facets: Facets, given: Mapping[str, Any]) -> bool:
    asked = "action_taken" in given or given.get("include_ignored", False)
    return bool(asked) or facets.get("action_taken") != "ignore"


def alert_matcher(given: Mapping[str, Any]) -> Callable[[Facets | None], bool]:
    """The twin of ``dataloaders.alerts.alerts``: the same filter over facets."""
    return matcher(_TESTS, given, _shown)
