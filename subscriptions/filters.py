"""This module is where filters are applied to an event's facets; the twins of the SQL conditions of dataloaders."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Any
from uuid import UUID

from models import search

Facets = Mapping[str, Any]
Test = Callable[[Facets, Any], bool]


def _stored(value: Any) -> Any:
    """A filter's value as facets hold it."""
    if isinstance(value, StrEnum):
        return value.value
    return str(value) if isinstance(value, UUID) else value


def any_of(name: str) -> Test:
    """The facet is one of the values."""
    return lambda facets, values: facets.get(name) in [_stored(value) for value in values]


def equals(name: str) -> Test:
    """The facet is the value."""
    return lambda facets, value: facets.get(name) == _stored(value)


def words(facets: Facets, text: str) -> bool:
    """Each word of ``text`` starts a word of the facet ``search``, a list of texts."""
    found = [word for one in facets.get("search", ()) for word in search.words(one)]
    wanted = search.words(text)
    return bool(wanted) and all(any(word.startswith(start) for word in found) for start in wanted)


def matcher(
    tests: Mapping[str, Test], given: Mapping[str, Any], always: Callable[[Facets, Mapping[str, Any]], bool] | None
) -> Callable[[Facets | None], bool]:
    """Whether facets pass every given filter; None (the entity did not exist then) passes none."""

    def matches(facets: Facets | None) -> bool:
        if facets is None or (always is not None and not always(facets, given)):
            return False
        return all(tests[name](facets, value) for name, value in given.items())

    return matches
