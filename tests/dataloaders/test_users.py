"""This module is where lists of people, keys and tenants are specified, and with them how every list is paged."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import orjson
import pytest
from sqlalchemy import update

from dataloaders.credentials import api_keys
from dataloaders.pages import Direction, Listing, Page, Window, read_page
from dataloaders.tenants import tenant_by_slug, tenant_exists
from dataloaders.tenants import tenants as every_tenant
from dataloaders.users import user_by_email, users
from models import PLATFORM_SLUG, PLATFORM_TENANT_ID, ApiKey, Role, Tenant, TenantStatus, User, UserStatus
from models.database import Database
from models.errors import BadRequest
from models.ids import NIL, uuid7
from models.users import email_key
from tests.conftest import counted
from tests.world import Tenants, make_tenant

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
ORDERS = [(name, direction) for name in users.orders for direction in Direction]


async def page_of(
    database: Database,
    tenant_id: UUID,
    given: Mapping[str, Any] | None = None,
    order: tuple[str, Direction] | None = None,
    listing: Listing = users,
    **window: Any,
) -> Page:
    return await read_page(database, tenant_id, listing, Window(**window), given or {}, order)


async def people(database: Database, tenant_id: UUID, count: int = 7) -> list[User]:
    """People whose times tie in pairs; every third has never signed in."""
    rows = [
        User(
            tenant_id=tenant_id,
            id=uuid7(),
            email=f"P{number}@Example.org",
            email_key=email_key(f"P{number}@Example.org"),
            display_name=f"Person {number}",
            department="Law" if number % 2 else "Parks",
            roles=[Role.VIEWER.value] if number % 2 else [Role.VIEWER.value, Role.OPERATOR.value],
            status=UserStatus.ACTIVE if number < 5 else UserStatus.PENDING,
            created_at=NOON + timedelta(minutes=number // 2),
            last_login_at=None if number % 3 == 0 else NOON - timedelta(minutes=number // 2),
        )
        for number in range(count)
    ]
    async with database.session(tenant_id) as session:
        session.add_all(rows)
        await session.commit()
    return rows


def expected(rows: list[User], name: str, direction: Direction) -> list[UUID]:
    """What the contract says, in Python: nulls last, ties broken by id in the same direction."""
    descending = direction is Direction.DESC
    never = datetime.min.replace(tzinfo=UTC) if descending else datetime.max.replace(tzinfo=UTC)

    def key(row: User) -> tuple[Any, UUID]:
        values = {"created_at": row.created_at, "email": row.email_key, "last_login_at": row.last_login_at or never}
        return values[name], row.id

    return [row.id for row in sorted(rows, key=key, reverse=descending)]


@pytest.mark.parametrize(("name", "direction"), ORDERS)
async def test_pages_forwards_and_backwards_hold_each_row_once_in_order(
    database: Database, tenants: Tenants, name: str, direction: Direction
) -> None:
    rows = await people(database, tenants.mine)
    await people(database, tenants.other)
    wanted = expected(rows, name, direction)
    forwards: list[UUID] = []
    page = await page_of(database, tenants.mine, order=(name, direction), first=2)
    forwards += [row.id for row in page.rows]
    while page.has_next:
        page = await page_of(database, tenants.mine, order=(name, direction), first=2, after=page.end_cursor)
        assert page.has_previous
        forwards += [row.id for row in page.rows]
    assert forwards == wanted
    backwards: list[UUID] = []
    page = await page_of(database, tenants.mine, order=(name, direction), last=3)
    backwards = [row.id for row in page.rows] + backwards
    while page.has_previous:
        page = await page_of(database, tenants.mine, order=(name, direction), last=3, before=page.start_cursor)
        assert page.has_next
        backwards = [row.id for row in page.rows] + backwards
    assert backwards == wanted


async def test_an_insert_before_the_page_moves_nothing(database: Database, tenants: Tenants) -> None:
    rows = await people(database, tenants.mine)
    wanted = expected(rows, "created_at", Direction.DESC)
    first = await page_of(database, tenants.mine, first=3)
    newcomer = User(
        tenant_id=tenants.mine,
        id=uuid7(),
        email="new@example.org",
        email_key="new@example.org",
        created_at=NOON + timedelta(days=1),
    )
    async with database.session(tenants.mine) as session:
        session.add(newcomer)
        await session.commit()
    second = await page_of(database, tenants.mine, first=100, after=first.end_cursor)
    assert [row.id for row in first.rows + second.rows] == wanted


@pytest.mark.parametrize(
    ("given", "numbers"),
    [
        ({"status": [UserStatus.PENDING]}, [5, 6]),
        ({"status": [UserStatus.PENDING, UserStatus.ACTIVE]}, [0, 1, 2, 3, 4, 5, 6]),
        ({"status": []}, []),
        ({"roles": [Role.OPERATOR]}, [0, 2, 4, 6]),
        ({"roles": [Role.OPERATOR, Role.VIEWER]}, [0, 1, 2, 3, 4, 5, 6]),
        ({"roles": [Role.ADMIN]}, []),
        ({"roles": []}, []),
        ({"department": "Law"}, [1, 3, 5]),
        ({"department": "law"}, []),
        ({"department": "Law\x00"}, []),
        ({"department": "Law", "status": [UserStatus.PENDING]}, [5]),
        ({"search": "PERS 3"}, [3]),
        ({"search": "p4 example"}, [4]),
        ({"search": "erson"}, []),
        ({"search": "' \x00 & !"}, []),
    ],
)
async def test_a_filter_holds_what_matches_and_counts_it(
    database: Database, tenants: Tenants, given: dict[str, Any], numbers: list[int]
) -> None:
    rows = await people(database, tenants.mine)
    await people(database, tenants.other)
    page = await page_of(database, tenants.mine, given, ("email", Direction.ASC))
    assert [row.id for row in page.rows] == [rows[number].id for number in numbers]
    assert await page.total_count() == len(numbers)


async def test_the_deleted_are_not_listed(database: Database, tenants: Tenants) -> None:
    gone, *rest = await people(database, tenants.mine)
    async with database.session(tenants.mine) as session:
        await session.execute(update(User).where(User.id == gone.id).values(deleted_at=NOON))
        await session.commit()
    page = await page_of(database, tenants.mine)
    assert {row.id for row in page.rows} == {row.id for row in rest}
    assert await page.total_count() == len(rest)


async def test_a_page_is_one_statement_and_its_count_another(database: Database, tenants: Tenants) -> None:
    await people(database, tenants.mine)
    with counted(database) as statements:
        page = await page_of(database, tenants.mine, {"search": "person", "roles": [Role.VIEWER]})
        assert len(statements) == 1
        await page.total_count()
        assert len(statements) == 2
        await page_of(database, tenants.mine, {"status": []})
        await page_of(database, tenants.mine, first=0)
        assert len(statements) == 2


@pytest.mark.parametrize(
    "window", [{"first": -1}, {"last": -1}, {"first": 101}, {"last": 101}, {"first": 1, "last": 1}]
)
async def test_a_window_beyond_the_limits_is_a_bad_request(
    database: Database, tenants: Tenants, window: dict[str, Any]
) -> None:
    with pytest.raises(BadRequest):
        await page_of(database, tenants.mine, **window)


def forged(*place: Any) -> str:
    return base64.urlsafe_b64encode(orjson.dumps(list(place))).rstrip(b"=").decode()


@pytest.mark.parametrize(
    "cursor",
    [
        *["", "!", "é", "\ud800", "x" * 5000, "W10", base64.urlsafe_b64encode(b"[" * 500).decode()],
        *[forged("created_at", "asc", NOON.isoformat(), str(NIL)), forged("email", "desc", "a@b.org", str(NIL))],
        *[forged("created_at", "desc", value, str(NIL)) for value in (None, 7, "", "soon", "2026-03-01T12:00:00")],
        *[forged("created_at", "desc", f"{day}", str(NIL)) for day in ("0001-01-01T00+23:59", "9999-12-31T23-23:59")],
        *[forged("created_at", "desc", NOON.isoformat(), row) for row in (None, 7, "nonsense", {"a": 1})],
    ],
)
async def test_a_forged_cursor_is_a_bad_request(database: Database, tenants: Tenants, cursor: str) -> None:
    with pytest.raises(BadRequest):
        await page_of(database, tenants.mine, after=cursor)


async def test_a_text_that_the_database_cannot_hold_is_no_cursor(database: Database, tenants: Tenants) -> None:
    for value in ("nul\x00", None, 7):
        with pytest.raises(BadRequest):
            await page_of(
                database, tenants.mine, order=("email", Direction.ASC), after=forged("email", "asc", value, str(NIL))
            )


async def test_a_cursor_carries_no_authority(database: Database, tenants: Tenants) -> None:
    await people(database, tenants.mine)
    theirs = await people(database, tenants.other)
    mine = await page_of(database, tenants.mine, first=1)
    page = await page_of(database, tenants.other, after=mine.end_cursor)
    assert {row.id for row in page.rows} <= {row.id for row in theirs}


async def test_keys_are_listed_newest_first_and_only_the_own(database: Database, tenants: Tenants) -> None:
    for tenant_id in (tenants.mine, tenants.other):
        async with database.session(tenant_id) as session:
            for n in range(3):
                made_at = NOON + timedelta(days=n)
                session.add(
                    ApiKey(tenant_id=tenant_id, name=f"key {n}", prefix="p", secret_hash=b"h", created_at=made_at)
                )
            await session.commit()
    page = await page_of(database, tenants.mine, listing=api_keys)
    assert [row.name for row in page.rows] == ["key 2", "key 1", "key 0"]
    assert {row.tenant_id for row in page.rows} == {tenants.mine}
    assert await page.total_count() == 3


async def test_the_platforms_list_holds_every_customer_once_and_not_the_platform(database: Database) -> None:
    made = {await make_tenant(database) for _ in range(3)}
    found: list[UUID] = []
    page = await page_of(database, PLATFORM_TENANT_ID, listing=every_tenant, first=100)
    found += [row.id for row in page.rows]
    while page.has_next:
        page = await page_of(database, PLATFORM_TENANT_ID, listing=every_tenant, first=100, after=page.end_cursor)
        found += [row.id for row in page.rows]
    assert made <= set(found)
    assert PLATFORM_TENANT_ID not in found
    assert len(found) == len(set(found)) == await page.total_count()


async def test_a_person_is_found_by_any_spelling_of_the_address_in_the_own_tenant_only(
    database: Database, tenants: Tenants
) -> None:
    mine, *_ = await people(database, tenants.mine)
    async with database.session(tenants.mine) as session:
        found = await user_by_email(session, "  p0@EXAMPLE.ORG ")
        assert found is not None
        assert found.id == mine.id
        assert await user_by_email(session, "p0@example.org\x00") is None
    async with database.session(tenants.other) as session:
        assert await user_by_email(session, "p0@example.org") is None


async def test_a_slug_leads_to_id_and_status_and_nothing_else_does(database: Database) -> None:
    tenant_id = await make_tenant(database)
    async with database.session(tenant_id) as session:
        row = await session.get_one(Tenant, tenant_id)
    assert await tenant_by_slug(database, row.slug) == (tenant_id, TenantStatus.ACTIVE)
    assert await tenant_by_slug(database, PLATFORM_SLUG) == (PLATFORM_TENANT_ID, TenantStatus.ACTIVE)
    for slug in ("", "no-such", row.slug.upper(), f"{row.slug}\x00", "x" * 5000):
        assert await tenant_by_slug(database, slug) is None
    assert await tenant_exists(database, tenant_id)
    assert not await tenant_exists(database, uuid7())
