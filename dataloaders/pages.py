"""This module is where lists are read: declared filters and orders, keyset cursors, never OFFSET."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import cached_property
from typing import Any, Final
from uuid import UUID

import orjson
from sqlalchemy import ColumnElement, DateTime, Select, Text, Uuid, any_, bindparam, func, literal, select, tuple_
from sqlalchemy.orm import InstrumentedAttribute

from dataloaders.base import tenant_of
from models.database import Database, TenantSession
from models.errors import BadRequest
from models.search import prefix_query

DEFAULT_PAGE: Final = 20
MAX_PAGE: Final = 100
_CURSOR_MAX: Final = 1024


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
        array = bindparam(None, texts, type_=_array_of(kind), unique=True)
        return column == any_(array) if texts else None

    return condition


def _array_of(kind: Any) -> Any:
    from sqlalchemy.dialects.postgresql import ARRAY

    return ARRAY(kind)


def equals(column: InstrumentedAttribute[Any]) -> Condition:
    """The column is the value."""
    return lambda value: column == value


def overlaps(column: InstrumentedAttribute[Any]) -> Condition:
    """The array column holds one of the values."""
    return lambda values: column.overlap([str(value.value) for value in values]) if values else None


def words(model: Any) -> Condition:
    """Each word of the text starts a word of the row's searched columns."""
    search = getattr(func, f"search_{model.__tablename__}")

    def condition(text: str) -> ColumnElement[bool] | None:
        query = prefix_query(text)
        return None if query is None else model.id.in_(select(search(query).column_valued("found")))

    return condition


@dataclass(frozen=True, slots=True)
class Order:
    """One way to sort: a key that is never null, so that row comparisons can use the index.

    ``nulls`` replaces a null of a nullable timestamp by the end of time that puts it last.
    """

    column: InstrumentedAttribute[Any]
    nullable: bool = False

    def key(self, direction: Direction) -> ColumnElement[Any]:
        """The SQL the index is made over."""
        if not self.nullable:
            return self.column.expression
        edge = "-infinity" if direction is Direction.DESC else "infinity"
        return func.coalesce(self.column, literal(edge, literal_execute=True).cast(DateTime(timezone=True)))

    def value(self, row: Any) -> Any:
        """What a cursor keeps of the row."""
        value = getattr(row, self.column.key)
        return value.isoformat() if isinstance(value, datetime) else value

    def parse(self, value: Any, direction: Direction) -> Any:
        """A cursor's value as the column's type. Raises ValueError or TypeError."""
        if isinstance(self.column.type, DateTime):
            if value is None and self.nullable:
                return literal("-infinity" if direction is Direction.DESC else "infinity").cast(DateTime(timezone=True))
            return datetime.fromisoformat(value)
        if not isinstance(value, str):
            raise TypeError("a cursor keeps text")
        return value


@dataclass(frozen=True, slots=True)
class Listing:
    """A list as declared once: what it holds, how it may be filtered and sorted."""

    model: Any
    filters: Mapping[str, Condition]
    orders: Mapping[str, Order]
    default: tuple[str, Direction] = ("created_at", Direction.DESC)
    always: Callable[[Mapping[str, Any]], list[ColumnElement[bool]]] = lambda _: []

    def statement(self, tenant_id: UUID, given: Mapping[str, Any]) -> Select[Any] | None:
        """All rows that match, unsorted; None when nothing can."""
        statement = select(self.model).where(tenant_of(self.model) == tenant_id, *self.always(given))
        for name, value in given.items():
            condition = self.filters[name](value)
            if condition is None:
                return None
            statement = statement.where(condition)
        return statement


class Page:
    """One page of a list, and the count of the whole list for whoever asks."""

    def __init__(self, database: Database, tenant_id: UUID, rows: list[Any], sorter: _Sorter | None) -> None:
        self._database = database
        self._tenant_id = tenant_id
        self._sorter = sorter
        self.rows = rows
        self.has_next = False
        self.has_previous = False
        self.counted: Select[Any] | None = None

    def cursor(self, row: Any) -> str:
        """The opaque place of ``row`` in this order."""
        assert self._sorter is not None
        return self._sorter.cursor(row)

    async def total_count(self) -> int:
        """How many rows match in all; one statement, run only when asked for."""
        if self.counted is None:
            return 0
        statement = select(func.count()).select_from(self.counted.with_only_columns(literal(1)).subquery())
        async with self._database.session(self._tenant_id) as session:
            return int(await session.scalar(statement) or 0)


@dataclass(frozen=True)
class _Sorter:
    name: str
    order: Order
    direction: Direction
    model: Any

    def cursor(self, row: Any) -> str:
        place = orjson.dumps([self.name, self.direction.value, self.order.value(row), str(row.id)])
        return base64.urlsafe_b64encode(place).rstrip(b"=").decode()

    @cached_property
    def keys(self) -> tuple[ColumnElement[Any], ColumnElement[Any]]:
        return self.order.key(self.direction), self.model.id

    def beyond(self, cursor: str, later: bool) -> ColumnElement[bool]:
        """Rows on the far side of ``cursor``. Raises BAD_REQUEST."""
        place = tuple_(*self._place(cursor))
        forward = (self.direction is Direction.ASC) == later
        key = tuple_(*self.keys)
        return key > place if forward else key < place

    def _place(self, cursor: str) -> tuple[Any, Any]:
        try:
            if len(cursor) > _CURSOR_MAX:
                raise ValueError("too long")
            padded = cursor.encode() + b"=" * (-len(cursor) % 4)
            name, direction, value, row_id = orjson.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
            if (name, direction) != (self.name, self.direction.value):
                raise ValueError("another order")
            parsed = self.order.parse(value, self.direction)
            bound = parsed if isinstance(parsed, ColumnElement) else bindparam(None, parsed, self.order.column.type)
            return bound, bindparam(None, UUID(row_id), Uuid())
        except (ValueError, TypeError, AttributeError, binascii.Error) as error:
            raise BadRequest("This cursor does not belong to this list and order.") from error

    def sort(self, statement: Select[Any], backward: bool) -> Select[Any]:
        descending = (self.direction is Direction.DESC) != backward
        return statement.order_by(*(key.desc() if descending else key.asc() for key in self.keys))


async def read_page(
    database: Database,
    tenant_id: UUID,
    listing: Listing,
    window: Window,
    given: Mapping[str, Any],
    order: tuple[str, Direction] | None,
) -> Page:
    """One page in one statement (none when nothing can match). Raises BAD_REQUEST for a bad window or cursor."""
    name, direction = order or listing.default
    sorter = _Sorter(name, listing.orders[name], direction, listing.model)
    size = window.size
    matching = listing.statement(tenant_id, given)
    page = Page(database, tenant_id, [], sorter)
    page.counted = matching
    bounded = [
        sorter.beyond(cursor, later)
        for cursor, later in ((window.after, True), (window.before, False))
        if cursor is not None
    ]
    if matching is None or size == 0:
        return page
    statement = sorter.sort(matching.where(*bounded), window.backward).limit(size + 1)
    async with database.session(tenant_id) as session:
        rows = await _rows(session, statement)
    more = len(rows) > size
    page.rows = rows[:size][::-1] if window.backward else rows[:size]
    page.has_next = window.before is not None if window.backward else more
    page.has_previous = more if window.backward else window.after is not None
    return page


async def _rows(session: TenantSession, statement: Select[Any]) -> list[Any]:
    return list(await session.scalars(statement))
