"""This module is where lists are read: declared filters and orders, keyset cursors, never OFFSET."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from functools import cached_property
from typing import Any, Final
from uuid import UUID

import orjson
from sqlalchemy import (
    ColumnElement,
    DateTime,
    Integer,
    Select,
    Text,
    Uuid,
    any_,
    bindparam,
    case,
    func,
    literal,
    select,
    tuple_,
    type_coerce,
    union_all,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstrumentedAttribute, aliased

from dataloaders.base import is_shared, seen_by, tenant_of
from dataloaders.narrowed import Narrowed, as_given
from models import PLATFORM_TENANT_ID
from models.database import Database, database_trouble
from models.errors import BadRequest
from models.search import sought

DEFAULT_PAGE: Final = 20
MAX_PAGE: Final = 100
_CURSOR_MAX: Final = 1024
_LARGEST: Final = 2**63 - 1


class Direction(StrEnum):
    """Which end comes first."""

    ASC = "asc"
    DESC = "desc"


@dataclass(frozen=True, slots=True)
class Window:
    """The page that is asked for; 20 rows from the front when nothing is said."""

    first: int | None = None
    after: str | None = None
    last: int | None = None
    before: str | None = None

    @property
    def size(self) -> int:
        """Rows wanted. Raises BAD_REQUEST for a size below 0, over 100, or given from both ends."""
        if self.first is not None and self.last is not None:
            raise BadRequest("Ask for first or for last, not for both.")
        size = self.last if self.last is not None else self.first if self.first is not None else DEFAULT_PAGE
        if not 0 <= size <= MAX_PAGE:
            raise BadRequest(f"A page holds 0 to {MAX_PAGE} items.")
        return size

    @property
    def backward(self) -> bool:
        """Whether the page is counted from the end."""
        return self.last is not None or (self.before is not None and self.first is None and self.after is None)


Condition = Callable[[Any], ColumnElement[bool] | None]
"""From a filter's value to SQL; None when the value can match nothing."""


def any_of(column: InstrumentedAttribute[Any]) -> Condition:
    """The column is one of the values."""

    def condition(values: list[Any]) -> ColumnElement[bool] | None:
        texts = [str(value.value) if isinstance(value, StrEnum) else value for value in values]
        kind = column.type if not texts or not isinstance(texts[0], str) else Text()
        array = bindparam(None, texts, type_=ARRAY(kind), unique=True)
        return column == any_(array) if texts else None

    return condition


def any_text_of(column: InstrumentedAttribute[str]) -> Condition:
    """The text column is one of the values, whatever these hold."""
    # The database cannot hold a NUL, so nothing equals a text with one; asking would be an error.
    one_of = any_of(column)
    return lambda values: one_of([value for value in values if "\x00" not in value])


def equals(column: InstrumentedAttribute[Any]) -> Condition:
    """The column is the value."""
    # The database cannot hold a NUL, so nothing equals a text with one; asking would be an error.
    return lambda value: None if isinstance(value, str) and "\x00" in value else column == value


def overlaps(column: InstrumentedAttribute[Any]) -> Condition:
    """The array column holds one of the values."""
    array = type_coerce(column, ARRAY(Text))
    return lambda values: array.overlap([str(value.value) for value in values]) if values else None


def words(model: Any) -> Condition:
    """Each word of the text starts a word of the row's searched columns. Raises BAD_REQUEST for too long a text."""
    search = getattr(func, f"search_{model.__tablename__}")

    def condition(text: str) -> ColumnElement[bool] | None:
        wanted = sought(text)
        if wanted is None:
            return None
        found = select(search(wanted).column_valued("found")).scalar_subquery()
        # An array is looked up in the primary key, whatever the planner thinks of the function.
        at_hand: ColumnElement[bool] = model.id == any_(func.array(found, type_=ARRAY(Uuid)))
        return at_hand

    return condition


@dataclass(frozen=True, slots=True)
class Order:
    """One way to sort: a key that is never null, so that row comparisons can use the index.

    ``nulls`` replaces a null of a nullable timestamp by the end of time that puts it last. Where the column
    ``is_unique`` in a tenant there are no ties, and no id is compared to break them. ``then`` is what breaks them
    before the id does.
    """

    column: InstrumentedAttribute[Any]
    nullable: bool = False
    is_unique: bool = False
    then: InstrumentedAttribute[Any] | None = None

    @property
    def parts(self) -> tuple[Order, ...]:
        """What is compared before the id, one after the other."""
        return (self,) if self.then is None else (replace(self, then=None), Order(self.then))

    def key(self, direction: Direction) -> ColumnElement[Any]:
        """The SQL the index is made over."""
        if not self.nullable:
            return self.column.expression
        edge = "-infinity" if direction is Direction.DESC else "infinity"
        end_of_time = literal(edge, literal_execute=True).cast(DateTime(timezone=True))
        # Written as models.base.never_null writes it, or the index would not be recognised.
        return case((self.column.is_(None), end_of_time), else_=self.column)

    def value(self, row: Any) -> Any:
        """What a cursor keeps of the row."""
        if self.then is not None:
            return [part.value(row) for part in self.parts]
        value = getattr(row, self.column.key)
        return value.isoformat() if isinstance(value, datetime) else str(value) if isinstance(value, UUID) else value

    def parse(self, value: Any, direction: Direction) -> Any:
        """A cursor's value as the column's type. Raises ValueError or TypeError."""
        if isinstance(self.column.type, DateTime):
            if value is None and self.nullable:
                return literal("-infinity" if direction is Direction.DESC else "infinity").cast(DateTime(timezone=True))
            # Into UTC, so that a forged time without an offset or beyond the calendar is refused here.
            moment = datetime.fromisoformat(value)
            if moment.tzinfo is None:
                raise ValueError("a time names its offset")
            return moment.astimezone(UTC)
        if isinstance(self.column.type, Integer):
            if type(value) is not int or abs(value) > _LARGEST:
                raise TypeError("a cursor keeps a number")
            return value
        if not isinstance(value, str) or "\x00" in value:
            raise TypeError("a cursor keeps text")
        return UUID(value) if isinstance(self.column.type, Uuid) else value


@dataclass(frozen=True, slots=True)
class Listing:
    """A list as declared once: what it holds, how it may be filtered and sorted.

    ``across_tenants``: every tenant's rows, read as the platform role; for platform administrators only.
    """

    model: Any
    filters: Mapping[str, Condition]
    orders: Mapping[str, Order]
    default: tuple[str, Direction] = ("created_at", Direction.DESC)
    always: Callable[[Mapping[str, Any]], list[ColumnElement[bool]]] = lambda _: []
    across_tenants: bool = False
    apart: Callable[[Mapping[str, Any]], list[Mapping[str, Any]]] = lambda given: [given]
    """Filters that together match what the given one does, and no row twice: each is read by an index in its order."""
    narrow: Callable[[AsyncSession, UUID, Mapping[str, Any]], Awaitable[Narrowed | None]] = as_given
    """What is asked before a page is read; None when nothing can match. A count takes the filters as given."""

    def statement(self, tenant_id: UUID, given: Mapping[str, Any], *, own: bool = False) -> Select[Any] | None:
        """All rows that match, unsorted; None when nothing can. ``own``: without those that the platform shares."""
        statement = select(self.model).where(*self.always(given))
        if not self.across_tenants:
            of_tenant = tenant_of(self.model) == tenant_id if own else seen_by(self.model, tenant_id)
            statement = statement.where(of_tenant)
        for name, value in given.items():
            condition = self.filters[name](value)
            if condition is None:
                return None
            statement = statement.where(condition)
        return statement

    def apart_of(self, tenant_id: UUID, given: Mapping[str, Any]) -> list[Select[Any] | None]:
        """Statements that together are the whole list: each is read by an index in its order."""
        if is_shared(self.model) and tenant_id != PLATFORM_TENANT_ID:
            # One by one: an index over (tenant_id, …) has no order for two tenants at once.
            return [self.statement(owner, given, own=True) for owner in (tenant_id, PLATFORM_TENANT_ID)]
        return [self.statement(tenant_id, one) for one in self.apart(given)]

    @asynccontextmanager
    async def session(self, database: Database, tenant_id: UUID) -> AsyncIterator[AsyncSession]:
        """A session that sees this list's rows and no others. Raises Unavailable."""
        if not self.across_tenants:
            async with database.session(tenant_id) as session:
                yield session
            return
        with database_trouble():
            async with AsyncSession(database.platform, expire_on_commit=False) as session:
                yield session


@dataclass(frozen=True, slots=True)
class PageEdge:
    """One row with its place in the list."""

    cursor: str
    node: Any


class Page:
    """One page of a list, and the count of the whole list for whoever asks."""

    def __init__(self, database: Database, tenant_id: UUID, listing: Listing, sorter: Sorter) -> None:
        self._database = database
        self._tenant_id = tenant_id
        self._listing = listing
        self._sorter = sorter
        self.rows: list[Any] = []
        self.has_next = False
        self.has_previous = False
        self.counted: Select[Any] | None = None

    def cursor(self, row: Any) -> str:
        """The opaque place of ``row`` in this order."""
        return self._sorter.cursor(row)

    @property
    def edges(self) -> list[PageEdge]:
        """The rows with their cursors."""
        return [PageEdge(self.cursor(row), row) for row in self.rows]

    @property
    def info(self) -> Page:
        """The page is its own page info."""
        return self

    @property
    def start_cursor(self) -> str | None:
        """Cursor of the first row; None on an empty page."""
        return self.cursor(self.rows[0]) if self.rows else None

    @property
    def end_cursor(self) -> str | None:
        """Cursor of the last row; None on an empty page."""
        return self.cursor(self.rows[-1]) if self.rows else None

    async def total_count(self) -> int:
        """How many rows match in all; one statement, run only when asked for."""
        if self.counted is None:
            return 0
        statement = select(func.count()).select_from(self.counted.with_only_columns(literal(1)).subquery())
        async with self._listing.session(self._database, self._tenant_id) as session:
            return int(await session.scalar(statement) or 0)


@dataclass(frozen=True)
class Sorter:
    """One order in one direction: how rows are sorted and where their cursors point."""

    name: str
    order: Order
    direction: Direction
    model: Any

    def cursor(self, row: Any) -> str:
        """The opaque place of ``row`` in this order."""
        place = orjson.dumps([self.name, self.direction.value, self.order.value(row), str(row.id)])
        return base64.urlsafe_b64encode(place).rstrip(b"=").decode()

    @cached_property
    def keys(self) -> tuple[ColumnElement[Any], ...]:
        """What is sorted by, ties included."""
        # A list by id has no second key: with one, neither the index nor the months of a log would be told apart.
        first = tuple(part.key(self.direction) for part in self.order.parts)
        return first if self.order.is_unique or self.order.column.key == "id" else (*first, self.model.id)

    def beyond(self, cursor: str, later: bool) -> ColumnElement[bool]:
        """Rows on the far side of ``cursor``. Raises BAD_REQUEST."""
        place = self._place(cursor)
        forward = (self.direction is Direction.ASC) == later
        key: Any = self.keys[0]
        end: Any = place[0]
        if len(self.keys) > 1:
            key, end = tuple_(*self.keys), tuple_(*place)
        beyond: ColumnElement[bool] = key > end if forward else key < end
        return beyond

    def _place(self, cursor: str) -> tuple[Any, ...]:
        try:
            if len(cursor) > _CURSOR_MAX:
                raise ValueError("too long")
            padded = cursor.encode() + b"=" * (-len(cursor) % 4)
            name, direction, value, row_id = orjson.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
            if (name, direction) != (self.name, self.direction.value):
                raise ValueError("another order")
            values = value if self.order.then is not None else [value]
            bound = [self._bound(part, one) for part, one in zip(self.order.parts, values, strict=True)]
            return *bound, bindparam(None, UUID(row_id), Uuid())
        except (ValueError, TypeError, AttributeError, OverflowError) as error:
            raise BadRequest("This cursor does not belong to this list and order.") from error

    def _bound(self, order: Order, value: Any) -> Any:
        parsed = order.parse(value, self.direction)
        return parsed if isinstance(parsed, ColumnElement) else bindparam(None, parsed, order.column.type)

    def sort(self, statement: Select[Any], backward: bool) -> Select[Any]:
        """``statement`` in this order, or from its other end."""
        return statement.order_by(*self.directed(self.keys, backward))

    def directed(self, keys: Sequence[ColumnElement[Any]], backward: bool) -> list[ColumnElement[Any]]:
        """``keys``, which stand for this order's, in its direction or from its other end."""
        descending = (self.direction is Direction.DESC) != backward
        return [key.desc() if descending else key.asc() for key in keys]

    def merged(self, lists: list[Select[Any]], backward: bool, limit: int) -> Select[Any]:
        """The first rows of one list, or of several together: each list's are read by the index, in its order."""
        if len(lists) == 1:
            return self.sort(lists[0], backward).limit(limit)
        parts = [self.sort(one, backward).limit(limit).subquery() for one in lists]
        row = aliased(self.model, union_all(*(select(part) for part in parts)).subquery())
        column = getattr(row, self.order.column.key)
        outer = replace(self, order=replace(self.order, column=column), model=row)
        return outer.sort(select(row), backward).limit(limit)


async def read_page(
    database: Database,
    tenant_id: UUID,
    listing: Listing,
    window: Window,
    given: Mapping[str, Any],
    order: tuple[str, Direction] | None,
) -> Page:
    """One page in one statement, besides what the list asks first; none when nothing can match.

    Raises BAD_REQUEST for a bad window or cursor.
    """
    name, direction = order or listing.default
    sorter = Sorter(name, listing.orders[name], direction, listing.model)
    size = window.size
    matching = listing.statement(tenant_id, given)
    page = Page(database, tenant_id, listing, sorter)
    page.counted = matching
    bounded = [
        sorter.beyond(cursor, later)
        for cursor, later in ((window.after, True), (window.before, False))
        if cursor is not None
    ]
    if matching is None or size == 0:
        return page
    async with listing.session(database, tenant_id) as session:
        narrowed = await listing.narrow(session, tenant_id, given)
        if narrowed is None:
            return page
        lists = narrowed.lists(listing.apart_of(tenant_id, narrowed.given), bounded, sorter, window.backward, size + 1)
        rows = list(await session.scalars(sorter.merged(lists, window.backward, size + 1)))
    more = len(rows) > size
    page.rows = rows[:size][::-1] if window.backward else rows[:size]
    page.has_next = window.before is not None if window.backward else more
    page.has_previous = more if window.backward else window.after is not None
    return page
