"""This module is where it is known what an operation costs: a number, or a short sum over its variables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from graphql import (
    GraphQLInputObjectType,
    GraphQLInputType,
    GraphQLNonNull,
    is_input_object_type,
    is_list_type,
)

from schema.limits import DEFAULT_PAGE, LIMITS, Limits, exceeded

_DEEPEST_VALUE: Final = 32


@dataclass(frozen=True, slots=True)
class Step:
    """The place of a sum among the steps of its operation."""

    index: int


Cost = int | Step


@dataclass(frozen=True, slots=True)
class Size:
    """How many rows variables ask for: a page's length, or one row for each item of a list."""

    variables: tuple[str, ...]
    known: int | None = None
    """What stands beside them in the document."""

    def rows(self, variables: Mapping[str, Any]) -> int:
        """The largest that is said. What is no number counts as a page here and is refused later."""
        said = [self.known, *(variables.get(name) for name in self.variables)]
        counts = [len(one) if isinstance(one, list) else one for one in said]
        # A whole number may come with a decimal point.
        numbers = [int(one) for one in counts if isinstance(one, int | float)]
        return max(0, *numbers) if numbers else DEFAULT_PAGE


@dataclass(frozen=True, slots=True)
class Sum:
    """``base`` and every term: so many times the cost beside it."""

    base: int
    terms: tuple[tuple[int | Size, Cost], ...]


@dataclass(slots=True)
class Tally:
    """The sums of one document, each after those that it is made of: working one out never takes more than one pass."""

    sums: list[Sum] = field(default_factory=list)

    def add(self, base: int, terms: list[tuple[int | Size, Cost]]) -> Cost:
        """A cost; a number where no variable matters."""
        open_terms = []
        for times, cost in terms:
            if isinstance(times, int) and isinstance(cost, int):
                base += times * cost
            elif cost != 0 and times != 0:
                open_terms.append((times, cost))
        if not open_terms:
            return base
        if base == 0 and len(open_terms) == 1 and open_terms[0][0] == 1:
            return open_terms[0][1]
        self.sums.append(Sum(base, tuple(open_terms)))
        return Step(len(self.sums) - 1)


@dataclass(frozen=True, slots=True)
class Price:
    """What one operation costs and which of its variables have to be looked at."""

    cost: Cost
    sums: Sequence[Sum] = ()
    pages: Sequence[Size] = ()
    lists: tuple[tuple[str, GraphQLInputType], ...] = ()
    defaults: Mapping[str, Any] = field(default_factory=dict)
    is_guarded: bool = False
    """Whether it tries a secret: counted against the caller's network."""
    limits: Limits = LIMITS

    def of(self, variables: Mapping[str, Any] | None) -> int:
        """The points with these variables. Raises LIMIT_EXCEEDED for too many of them, and for lists too long."""
        given = {**self.defaults, **(variables or {})} if self.defaults else variables or {}
        for size in self.pages:
            if (rows := size.rows(given)) > self.limits.page_size:
                raise exceeded("pageSize", rows, self.limits.page_size)
        for name, kind in self.lists:
            if name in given:
                _check_lists(kind, given[name], self.limits, 0)
        cost = self.cost if isinstance(self.cost, int) else self._work_out(given)
        if cost > self.limits.cost:
            raise exceeded("cost", cost, self.limits.cost)
        return cost

    def _work_out(self, variables: Mapping[str, Any]) -> int:
        values: list[int] = []
        for one in self.sums:
            total = one.base
            for times, cost in one.terms:
                rows = times if isinstance(times, int) else times.rows(variables)
                total += rows * (cost if isinstance(cost, int) else values[cost.index])
            values.append(total)
        assert isinstance(self.cost, Step)
        return values[self.cost.index]


def has_lists(kind: GraphQLInputType, seen: frozenset[str] = frozenset()) -> bool:
    """Whether a value of this type can hold a list; what JSON scalars hold is their own."""
    if isinstance(kind, GraphQLNonNull):
        kind = kind.of_type
    if is_list_type(kind):
        return True
    if not is_input_object_type(kind) or kind.name in seen:
        return False
    return any(has_lists(one.type, seen | {kind.name}) for one in kind.fields.values())


def _check_lists(kind: GraphQLInputType, value: Any, limits: Limits, depth: int) -> None:
    if depth > _DEEPEST_VALUE:
        raise exceeded("nesting", depth, _DEEPEST_VALUE, at_least=True)
    if isinstance(kind, GraphQLNonNull):
        kind = kind.of_type
    if is_list_type(kind) and isinstance(value, list):
        if len(value) > limits.list_items:
            raise exceeded("listItems", len(value), limits.list_items)
        for one in value:
            if isinstance(one, list | dict):
                _check_lists(kind.of_type, one, limits, depth + 1)
    elif isinstance(kind, GraphQLInputObjectType) and isinstance(value, dict):
        for name, one in kind.fields.items():
            if isinstance(value.get(name), list | dict):
                _check_lists(one.type, value[name], limits, depth + 1)
