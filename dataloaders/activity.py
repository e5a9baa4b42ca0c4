"""This module is where the event log is read as a list: newest first, a page at a time, never counted."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID

import orjson
from sqlalchemy import ColumnElement, Select, and_, false, func, or_, select, true
from sqlalchemy.orm import aliased

from dataloaders.pages import PageEdge, Window, any_of, equals
from models import Event, EventView, StreamFloor, TenantStream
from models.database import Database
from models.errors import BadRequest

LOOKED_AT: Final = 20_000
"""Events that one page looks at for those that match, so that a rare kind costs milliseconds and not the whole log."""

_CURSOR_MAX: Final = 64
_LARGEST: Final = 2**63 - 2


@dataclass(slots=True)
class LogPage:
    """One page of the log. It may be short, even empty, and still have more behind its end cursor."""

    rows: list[Event] = field(default_factory=list)
    has_next: bool = False
    has_previous: bool = False
    start_cursor: str | None = None
    end_cursor: str | None = None

    @property
    def edges(self) -> list[PageEdge]:
        """The events with their cursors."""
        return [PageEdge(_encode(row.seq), row) for row in self.rows]

    @property
    def info(self) -> LogPage:
        """The page is its own page info."""
        return self


async def read_log(database: Database, tenant_id: UUID, view: EventView, window: Window) -> LogPage:
    """One page in one statement. Raises BAD_REQUEST for a bad window or cursor.

    Of one entity all events are looked at; else at most ``LOOKED_AT`` numbers from where the page begins.
    """
    size = window.size
    after, before = _decode(window.after), _decode(window.before)
    page = LogPage()
    page.has_previous = not window.backward and after is not None
    page.has_next = window.backward and before is not None
    if size == 0:
        return page
    statement = page_of(tenant_id, view, after, before, window.backward, size + 1)
    async with database.session(tenant_id) as session:
        found = (await session.execute(statement)).all()
    low, high, reach = found[0][1:]
    rows = [row[0] for row in found if row[0] is not None]
    # What retention and the cursors leave was not all looked at.
    unseen = high is not None and (reach < high if window.backward else low < reach)
    _fill(page, rows, size, reach if unseen else None, window.backward)
    return page


def page_of(
    tenant_id: UUID, view: EventView, after: int | None, before: int | None, backward: bool, most: int
) -> Select[Any]:
    """The events with, in each row, the ends of what was asked for and how far was looked; one row at least."""
    floor = select(StreamFloor.low_water).where(StreamFloor.tenant_id == tenant_id).scalar_subquery()
    head = select(TenantStream.seq).where(TenantStream.tenant_id == tenant_id).scalar_subquery()
    # Both ends lie outside; GREATEST and LEAST pass over a null.
    ends = select(func.greatest(floor, before).label("low"), func.least(head + 1, after).label("high")).subquery()
    low, high = ends.c.low, ends.c.high
    reach: ColumnElement[int]
    if "entity_id" in view.asked:
        reach = high if backward else low
    else:
        reach = func.least(high, low + 1 + LOOKED_AT) if backward else func.greatest(low, high - 1 - LOOKED_AT)
    bounds = select(low, high, reach.label("reach")).subquery("bounds")
    start, end = (bounds.c.low, bounds.c.reach) if backward else (bounds.c.reach, bounds.c.high)
    order = Event.seq.asc() if backward else Event.seq.desc()
    events = (
        select(Event)
        .where(Event.tenant_id == tenant_id, Event.seq > start, Event.seq < end, *conditions(view))
        .order_by(order)
        .limit(most)
        .lateral("found")
    )
    row = aliased(Event, events)
    return (
        select(row, bounds)
        .select_from(bounds)
        .outerjoin(row, true())
        .order_by(row.seq.asc() if backward else row.seq.desc())
    )


def conditions(view: EventView) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    """The view as SQL: what is asked for, and what is granted."""
    return and_(true(), *_tests(view.asked)), or_(false(), *_tests(view.granted))


def _tests(columns: Mapping[str, frozenset[Any]]) -> list[ColumnElement[bool]]:
    return [_is_one_of(name, sorted(values)) for name, values in columns.items()]


def _is_one_of(name: str, values: list[Any]) -> ColumnElement[bool]:
    column = getattr(Event, name)
    # A single value by =, so that an index keeps its order behind it.
    condition = equals(column)(values[0]) if len(values) == 1 else any_of(column)(values)
    return false() if condition is None else condition


def _fill(page: LogPage, rows: list[Event], size: int, reach: int | None, backward: bool) -> None:
    """``rows`` as they were found, from the near end on; ``reach`` where looking stopped short of the far end."""
    more = len(rows) > size
    rows = rows[:size]
    page.rows = rows[::-1] if backward else rows
    places = [row.seq for row in rows]
    if reach is not None and not more:
        # The last that was looked at: the next page goes on behind it, match or not.
        places.append(reach - 1 if backward else reach + 1)
    if places:
        near, far = _encode(places[0]), _encode(places[-1])
        page.start_cursor, page.end_cursor = (far, near) if backward else (near, far)
    if backward:
        page.has_previous = more or reach is not None
    else:
        page.has_next = more or reach is not None


def _encode(seq: int) -> str:
    return base64.urlsafe_b64encode(orjson.dumps(["seq", seq])).rstrip(b"=").decode()


def _decode(cursor: str | None) -> int | None:
    if cursor is None:
        return None
    try:
        if len(cursor) > _CURSOR_MAX:
            raise ValueError("too long")
        padded = cursor.encode() + b"=" * (-len(cursor) % 4)
        name, seq = orjson.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
        if name != "seq" or type(seq) is not int or not 0 < seq <= _LARGEST:
            raise ValueError("no place in a log")
    except (ValueError, TypeError) as error:
        raise BadRequest("This cursor does not belong to this list and order.") from error
    return seq
