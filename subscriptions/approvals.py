"""This module is where events of requests for approval are matched against a filter."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final

from subscriptions.filters import Facets, Test, any_of, equals, matcher, words


def _assigned(facets: Facets, wanted: Any) -> bool:
    # ``wanted`` is dataloaders.approvals.Assigned, which this layer does not know.
    holder, me = facets.get("assigned_to"), str(wanted.me) if wanted.me is not None else None
    if holder is None:
        return "unassigned" in wanted.to
    return ("mine" if holder == me else "others") in wanted.to


def _since(facets: Facets, moment: datetime) -> bool:
    return datetime.fromisoformat(facets["created_at"]) >= moment


def _until(facets: Facets, moment: datetime) -> bool:
    return datetime.fromisoformat(facets["created_at"]) < moment


_TESTS: Final[Mapping[str, Test]] = {
    "status": any_of("status"),
    "hitl_mode": any_of("hitl_mode"),
    "priority": any_of("priority"),
    "kind": any_of("kind"),
    "agent_id": equals("agent_id"),
    "user_id": equals("user_id"),
    "department": equals("department"),
    "assigned_department": equals("assigned_department"),
    "assignment": _assigned,
    "sla_state": any_of("sla_state"),
    "created_after": _since,
    "created_before": _until,
    "search": words,
}


def approval_matcher(given: Mapping[str, Any]) -> Callable[[Facets | None], bool]:
    """The twin of ``dataloaders.approvals.approvals``: the same filter over facets.

    But for ``search``: no event holds a word of what was asked, so it looks at names alone.
    """
    return matcher(_TESTS, given, None)
