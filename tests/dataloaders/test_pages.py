"""This module is where pages are specified beyond the usual: ties, changes while one pages, and cursors made up."""

from __future__ import annotations

import base64
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, update

from dataloaders.pages import Direction, Page, Window, read_page
from dataloaders.registry import workspaces
from models import Workspace
from models.database import Database
from models.errors import BadRequest
from models.ids import uuid7
from tests.world import Tenants

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
ORDERS = [(name, direction) for name in workspaces.orders for direction in Direction]


async def _add(database: Database, tenant_id: UUID, *names: str, **values: Any) -> list[UUID]:
    rows = [Workspace(tenant_id=tenant_id, id=uuid7(), name=name, created_at=NOON, **values) for name in names]
    async with database.session(tenant_id) as session:
        session.add_all(rows)
        await session.commit()
    return [row.id for row in rows]


async def _page(database: Database, tenant_id: UUID, order: tuple[str, Direction] | None = None, **window: Any) -> Page:
    return await read_page(database, tenant_id, workspaces, Window(**window), {}, order)


@pytest.mark.parametrize("order", ORDERS, ids=lambda order: f"{order[0]}-{order[1]}")
@pytest.mark.parametrize("backward", [False, True], ids=["first", "last"])
async def test_rows_that_are_equal_but_for_their_id_are_paged_once_each(
    database: Database, tenants: Tenants, order: tuple[str, Direction], backward: bool
) -> None:
    made = await _add(database, tenants.mine, *["same"] * 7)
    seen: list[UUID] = []
    cursor: str | None = None
    for size in (3, 3, 3):
        window = {"last": size, "before": cursor} if backward else {"first": size, "after": cursor}
        page = await _page(database, tenants.mine, order, **window)
        ids = [row.id for row in page.rows]
        seen = ids + seen if backward else seen + ids
        cursor = page.start_cursor if backward else page.end_cursor
    assert seen == (made if order[1] is Direction.ASC else made[::-1])


@pytest.mark.parametrize("order", ORDERS, ids=lambda order: f"{order[0]}-{order[1]}")
async def test_what_comes_and_goes_meanwhile_neither_hides_nor_repeats_what_stays(
    database: Database, tenants: Tenants, order: tuple[str, Direction]
) -> None:
    staying = await _add(database, tenants.mine, *[f"stays {n}" for n in range(6)])
    going = await _add(database, tenants.mine, "a goes", "m goes", "z goes")
    seen: list[UUID] = []
    cursor: str | None = None
    for turn in range(20):
        page = await _page(database, tenants.mine, order, first=2, after=cursor)
        seen += [row.id for row in page.rows]
        cursor = page.end_cursor or cursor
        if not page.has_next:
            break
        if turn < 3:
            await _add(database, tenants.mine, "a comes", "z comes")
            async with database.session(tenants.mine) as session:
                await session.execute(delete(Workspace).where(Workspace.id == going[turn]))
                await session.commit()
    assert not page.has_next
    assert len(seen) == len(set(seen))
    assert set(staying) <= set(seen)


async def test_a_cursor_outlives_its_row(database: Database, tenants: Tenants) -> None:
    first, second, third = await _add(database, tenants.mine, "a", "b", "c")
    page = await _page(database, tenants.mine, ("name", Direction.ASC), first=2)
    async with database.session(tenants.mine) as session:
        await session.execute(delete(Workspace).where(Workspace.id == second))
        await session.commit()
    rest = await _page(database, tenants.mine, ("name", Direction.ASC), after=page.end_cursor)
    assert [row.id for row in rest.rows] == [third]
    assert [row.id for row in page.rows] == [first, second]


@pytest.mark.parametrize("direction", list(Direction))
async def test_what_never_happened_comes_last_in_both_directions_and_can_be_paged_through(
    database: Database, tenants: Tenants, direction: Direction
) -> None:
    never = await _add(database, tenants.mine, "never 1", "never 2", "never 3")
    heard = await _add(database, tenants.mine, "heard")
    async with database.session(tenants.mine) as session:
        await session.execute(update(Workspace).where(Workspace.id.in_(heard)).values(last_heartbeat_at=NOON))
        await session.commit()
    seen: list[UUID] = []
    cursor: str | None = None
    for _ in range(4):
        page = await _page(database, tenants.mine, ("last_heartbeat_at", direction), first=1, after=cursor)
        seen += [row.id for row in page.rows]
        cursor = page.end_cursor
    assert seen == heard + (never if direction is Direction.ASC else never[::-1])


async def test_a_window_between_two_cursors_holds_what_lies_between(database: Database, tenants: Tenants) -> None:
    made = await _add(database, tenants.mine, *"abcdef")
    by_name = ("name", Direction.ASC)
    page = await _page(database, tenants.mine, by_name)
    inner = await _page(
        database, tenants.mine, by_name, first=10, after=page.cursor(page.rows[1]), before=page.cursor(page.rows[4])
    )
    assert [row.id for row in inner.rows] == made[2:4]
    assert (inner.has_previous, inner.has_next) == (True, False)


async def test_an_empty_window_costs_nothing_and_says_so(database: Database, tenants: Tenants) -> None:
    await _add(database, tenants.mine, "a")
    page = await _page(database, tenants.mine, first=0)
    assert (page.rows, page.edges, page.start_cursor, page.end_cursor) == ([], [], None, None)
    assert await page.total_count() == 1


def _written(place: object) -> str:
    return base64.urlsafe_b64encode(orjson.dumps(place)).rstrip(b"=").decode()


_JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4),
    max_leaves=6,
)
_TIMES = st.sampled_from(["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "2026-03-01T12:00:00", "infinity"])
_PLACES = st.tuples(
    st.sampled_from([*workspaces.orders, "id", ""]),
    st.sampled_from(["asc", "desc", "up"]),
    _TIMES | _JSON,
    st.sampled_from([str(uuid7()), "", "x" * 32]) | _JSON,
).map(_written)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cursor=st.text(max_size=40) | _JSON.map(_written) | _PLACES, order=st.sampled_from(ORDERS))
@pytest.mark.parametrize("side", ["after", "before"])
async def test_no_cursor_that_was_made_up_is_more_than_a_bad_request(
    database: Database, tenants: Tenants, side: str, cursor: str, order: tuple[str, Direction]
) -> None:
    try:
        page = await _page(database, tenants.mine, order, **{side: cursor})
    except BadRequest:
        return
    assert page.rows == []


@pytest.mark.parametrize(
    "change",
    [str.upper, str.lower, lambda cursor: cursor[:-1], lambda cursor: cursor + "A", lambda cursor: cursor * 50],
)
async def test_a_cursor_that_was_damaged_is_refused(
    database: Database, tenants: Tenants, change: Callable[[str], str]
) -> None:
    await _add(database, tenants.mine, "a", "b")
    page = await _page(database, tenants.mine, first=1)
    assert page.end_cursor is not None
    with pytest.raises(BadRequest):
        await _page(database, tenants.mine, after=change(page.end_cursor))
