"""This module is where the same page of a list is read for many rows at once: one statement, however many rows."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, Uuid, bindparam, func, literal, select, true
from sqlalchemy.orm import aliased

from dataloaders.pages import Direction, Listing, PageEdge, Sorter, Window
from models.database import TenantSession

_EARLIEST = datetime.min.replace(tzinfo=UTC)
_LATEST = datetime.max.replace(tzinfo=UTC)


@dataclass(slots=True)
class NestedPage:
    """One row's page of a list. ``count`` finds how many it has in all, for all rows together."""

    sorter: Sorter
    rows: list[Any] = field(default_factory=list)
    has_next: bool = False
    has_previous: bool = False
    count: Callable[[], Awaitable[int]] | None = None

    @property
    def edges(self) -> list[PageEdge]:
        """The rows with their cursors."""
        return [PageEdge(self.sorter.cursor(row), row) for row in self.rows]

    @property
    def info(self) -> NestedPage:
        """The page is its own page info."""
        return self

    @property
    def start_cursor(self) -> str | None:
        """Cursor of the first row; None on an empty page."""
        return self.sorter.cursor(self.rows[0]) if self.rows else None

    @property
    def end_cursor(self) -> str | None:
        """Cursor of the last row; None on an empty page."""
        return self.sorter.cursor(self.rows[-1]) if self.rows else None

    async def total_count(self) -> int:
        """How many rows match in all."""
        return await self.count() if self.count is not None else 0


@dataclass(frozen=True, slots=True)
class Nested:
    """Which part of a list is asked for each row: the rows whose column ``of`` holds it. Equal questions are one."""

    listing: Listing = field(compare=False)
    of: str
    window: Window
    given: Mapping[str, Any] = field(compare=False)
    order: tuple[str, Direction] | None
    said: str = ""
    """The list and what is given, in words, because filters hold lists."""

    @classmethod
    def asked(
        cls,
        listing: Listing,
        of: str,
        window: Window,
        given: Mapping[str, Any],
        order: tuple[str, Direction] | None,
    ) -> Nested:
        """The question. Raises BAD_REQUEST for a bad window."""
        assert window.size >= 0
        return cls(listing, of, window, given, order, f"{listing.model.__tablename__} {sorted(given.items())!r}")

    @property
    def sorter(self) -> Sorter:
        """How the rows are sorted."""
        name, direction = self.order or self.listing.default
        return Sorter(name, self.listing.orders[name], direction, self.listing.model)


@dataclass(frozen=True, slots=True)
class NestedPages:
    """The batch "this page of each row's list". Raises BAD_REQUEST for a cursor of another list."""

    asked: Nested

    async def __call__(self, session: TenantSession, keys: Sequence[UUID]) -> list[NestedPage]:
        """A page for each key, in their order; one statement."""
        asked, sorter = self.asked, self.asked.sorter
        window, size = asked.window, asked.window.size
        bounded = [
            sorter.beyond(cursor, later)
            for cursor, later in ((window.after, True), (window.before, False))
            if cursor is not None
        ]
        matching = asked.listing.statement(session.tenant_id, asked.given)
        found: dict[UUID, list[Any]] = {one: [] for one in keys}
        if matching is not None and size:
            parent = func.unnest(bindparam("keys", list(keys), ARRAY(Uuid))).table_valued("id", name="parent")
            parent = parent.render_derived()
            column = getattr(asked.listing.model, asked.of)
            page = sorter.sort(matching.where(column == parent.c.id, *bounded), window.backward).limit(size + 1)
            row = aliased(asked.listing.model, page.lateral("page"))
            for one in await session.scalars(select(row).select_from(parent.join(row, true()))):
                found[getattr(one, asked.of)].append(one)
        return [self._page(sorter, found[one]) for one in keys]

    def _page(self, sorter: Sorter, rows: list[Any]) -> NestedPage:
        window, size = self.asked.window, self.asked.window.size
        rows.sort(key=lambda row: (_moment(sorter, row), row.id), reverse=sorter.direction is Direction.DESC)
        more = len(rows) > size
        page = NestedPage(sorter, rows[-size:] if window.backward and size else rows[:size])
        page.has_next = window.before is not None if window.backward else more
        page.has_previous = more if window.backward else window.after is not None
        return page


@dataclass(frozen=True, slots=True)
class NestedCounts:
    """The batch "how many each row's list has in all"."""

    asked: Nested

    async def __call__(self, session: TenantSession, keys: Sequence[UUID]) -> list[int]:
        """A count for each key, in their order; one statement."""
        matching = self.asked.listing.statement(session.tenant_id, self.asked.given)
        if matching is None:
            return [0] * len(keys)
        column = getattr(self.asked.listing.model, self.asked.of)
        counted = matching.where(column == func.any(list(keys))).with_only_columns(column, func.count(literal(1)))
        found = {row[0]: row[1] for row in await session.execute(counted.group_by(column))}
        return [found.get(one, 0) for one in keys]


def _moment(sorter: Sorter, row: Any) -> Any:
    value = getattr(row, sorter.order.column.key)
    if value is not None:
        return value
    return _EARLIEST if sorter.direction is Direction.DESC else _LATEST
