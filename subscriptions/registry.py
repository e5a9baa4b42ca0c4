"""This module is where the fleet's events are matched against a workspace filter."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from subscriptions.filters import Facets, Test, any_of, equals, matcher, words

_TESTS: Final[Mapping[str, Test]] = {
    "status": any_of("status"),
    "parent_id": equals("parent_id"),
    "tier": any_of("tier"),
    "search": words,
}


def _present(facets: Facets, given: Mapping[str, Any]) -> bool:
    return "status" in given or facets.get("status") != "removed"


def workspace_matcher(given: Mapping[str, Any]) -> Callable[[Facets | None], bool]:
    """The twin of ``dataloaders.registry.workspaces``: the same filter over facets."""
    return matcher(_TESTS, given, _present)
