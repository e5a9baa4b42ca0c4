"""This module is where it stands how large a document may be, and how one that is larger is told so."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from models.errors import LimitExceeded


@dataclass(frozen=True, slots=True)
class Limits:
    """The largest that is answered; see docs/limits.md for what is counted how."""

    characters: int = 65_536
    tokens: int = 1000
    depth: int = 10
    aliases: int = 15
    root_fields: int = 10
    directives: int = 20
    fragments: int = 100
    list_items: int = 100
    page_size: int = 100
    repeats: int = 10
    cost: int = 5000
    # Introspection is measured apart: every tool's own query passes, and nothing much larger.
    introspection_depth: int = 15
    introspection_lists: int = 3


LIMITS: Final = Limits()
_LARGEST: Final = 10**9
DEFAULT_PAGE: Final = 20
PLAIN_LIST: Final = 10
"""How many rows a list without pages is taken to have: children of a workspace, guardrails, recommendations."""
INTROSPECTION_COST: Final = 500

_WORDS: Final = {
    "characters": "characters in the document",
    "tokens": "tokens in the document",
    "depth": "levels of fields",
    "aliases": "aliases in the document",
    "rootFields": "root fields in one operation",
    "directives": "directives in the document",
    "fragments": "fragments in the document",
    "listItems": "items in one list",
    "pageSize": "items in one page",
    "repeats": "times the same field in one selection",
    "cost": "points of cost",
    "introspectionDepth": "levels of introspection",
    "introspectionLists": "lists of introspection in each other",
    "nesting": "levels of lists and objects in one value",
    "comparisons": "comparisons of fields that could be merged",
}


def exceeded(limit: str, actual: int, maximum: int, *, at_least: bool = False) -> LimitExceeded:
    """The refusal, with its numbers for people and for programs; ``at_least`` where counting stopped on the way."""
    # Fragments in fragments multiply beyond what JSON has numbers for.
    actual = min(actual, _LARGEST)
    found = f"at least {actual:,}" if at_least else f"{actual:,}"
    message = f"At most {maximum:,} {_WORDS[limit]} are allowed, not {found}."
    return LimitExceeded(message, limit=limit, actual=actual, maximum=maximum)


def only_once(field: str, actual: int) -> LimitExceeded:
    """The refusal of an operation that tries one secret after the other."""
    message = f"At most one {field} is allowed in one operation, not {actual}."
    return LimitExceeded(message, limit=field, actual=actual, maximum=1)
