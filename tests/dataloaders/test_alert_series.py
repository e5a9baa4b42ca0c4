"""This module is where a search of alerts is specified: whatever it finds, it is the same list in the same order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

import pytest
from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import AsyncEngine

from dataloaders.alert_series import FEW_SERIES
from dataloaders.alerts import alerts
from dataloaders.pages import Direction, Window, read_page
from models import Alert, AlertAction, AlertSeries, AlertSeverity, AlertStatus, AnalysisStatus
from models.database import Database
from models.ids import uuid7
from models.search import words
from tests.conftest import counted
from tests.world import Tenants, make_tenant

START: Final = datetime(2026, 1, 31, 12, 30, tzinfo=UTC)
HOSTS: Final = 2 * FEW_SERIES
SIZE: Final = 7
NAMES: Final = ("Disk full", "Überlast")
IGNORE, MANUAL = AlertAction.IGNORE, AlertAction.MANUAL


def _alert(tenant_id: UUID, name: str, instance: str | None = None, job: str | None = None, n: int = 0) -> Alert:
    return Alert(
        tenant_id=tenant_id,
        id=uuid7(),
        fingerprint=f"{n:016x}",
        # Some start at the same time, and they do not come in the order in which they start.
        starts_at=START + timedelta(minutes=n * 7 % 31),
        received_at=START + timedelta(minutes=n // 3),
        alert_name=name,
        severity=list(AlertSeverity)[n % 5],
        instance=instance,
        job=job,
        status=AlertStatus.FIRING,
        action_taken=IGNORE if n % 4 == 0 else MANUAL,
        analysis_status=AnalysisStatus.NONE,
    )


async def _store(database: Database, tenant_id: UUID, rows: Sequence[Alert]) -> None:
    async with database.session(tenant_id) as session:
        session.add_all(rows)
        await session.commit()


@pytest.fixture
async def fleet(database: Database, tenants: Tenants) -> list[Alert]:
    """Two alerts of as many hosts as are too many to be read one by one, each fired twice; the same next door."""
    made = {}
    for tenant_id in (tenants.mine, tenants.other):
        hosts = [(name, f"web-{host}.example") for name in NAMES for host in range(HOSTS)]
        made[tenant_id] = [_alert(tenant_id, *one, "node", n) for n, one in enumerate(hosts * 2)]
        await _store(database, tenant_id, made[tenant_id])
    return made[tenants.mine]


def _is_found(alert: Alert, search: str) -> bool:
    held = words(f"{alert.alert_name} {alert.instance or ''} {alert.job or ''}")
    return all(any(one.startswith(start) for one in held) for start in words(search))


async def _walked(
    database: Database, tenant_id: UUID, given: Mapping[str, Any], order: tuple[str, Direction], backward: bool
) -> list[UUID]:
    found: list[UUID] = []
    cursor: str | None = None
    while True:
        window = Window(last=SIZE, before=cursor) if backward else Window(first=SIZE, after=cursor)
        page = await read_page(database, tenant_id, alerts, window, given, order)
        assert len(page.rows) <= SIZE
        ids = [row.id for row in page.rows]
        found = ids + found if backward else found + ids
        if not (page.has_previous if backward else page.has_next):
            assert await page.total_count() == len(found)
            return found
        cursor = page.start_cursor if backward else page.end_cursor


SEARCHES: Final = {
    "all series": "web",
    "all series by two words": "node exam",
    "half the series": "über",
    "more than are read one by one": "web-1",
    "as many": "disk web-1",
    "two": "WEB 11",
    "one": "disk web-23",
}


@pytest.mark.parametrize("search", SEARCHES.values(), ids=SEARCHES)
async def test_pages_of_a_search_are_the_list_in_its_order_from_both_ends(
    database: Database, tenants: Tenants, fleet: list[Alert], search: str
) -> None:
    keys: dict[str, Any] = {
        "starts_at": lambda one: (one.starts_at, one.id),
        "received_at": lambda one: (one.received_at, one.id),
        "severity": lambda one: (one.severity.rank, one.id),
    }
    given = {"search": search}
    for order, key in keys.items():
        expected = [one.id for one in sorted(fleet, key=key) if _is_found(one, search) and not one.is_hidden]
        assert expected
        assert await _walked(database, tenants.mine, given, (order, Direction.ASC), False) == expected
        assert await _walked(database, tenants.mine, given, (order, Direction.DESC), True) == expected[::-1]


@pytest.mark.parametrize("search", SEARCHES.values(), ids=SEARCHES)
async def test_a_search_is_combined_with_every_other_filter(
    database: Database, tenants: Tenants, fleet: list[Alert], search: str
) -> None:
    others: list[tuple[dict[str, Any], Any]] = [
        ({"include_ignored": True}, lambda one: True),
        ({"action_taken": [IGNORE]}, lambda one: one.is_hidden),
        ({"severity": [AlertSeverity.CRITICAL, AlertSeverity.INFO]}, lambda one: one.severity.rank in {5, 2}),
        ({"started_after": START + timedelta(minutes=15)}, lambda one: one.starts_at >= START + timedelta(minutes=15)),
        ({"instance": "web-11.example"}, lambda one: one.instance == "web-11.example"),
        ({"status": [AlertStatus.RESOLVED]}, lambda one: False),
    ]
    for given, holds in others:
        shown = "include_ignored" in given or "action_taken" in given
        expected = [
            one.id
            for one in sorted(fleet, key=lambda one: (one.starts_at, one.id), reverse=True)
            if _is_found(one, search) and holds(one) and (shown or not one.is_hidden)
        ]
        order = ("starts_at", Direction.DESC)
        assert await _walked(database, tenants.mine, {"search": search} | given, order, False) == expected


async def test_a_page_of_a_search_is_two_statements_however_many_it_finds(
    database: Database, tenants: Tenants, fleet: list[Alert]
) -> None:
    for search, most in (("web", 2), ("disk web-23", 2), ("nowhere", 1), ("-", 0)):
        with counted(database) as statements:
            page = await read_page(database, tenants.mine, alerts, Window(), {"search": search}, None)
        assert (len(page.rows) > 0, len(statements)) == (most == 2, most)


async def test_a_series_is_kept_once_by_the_database_whoever_stores_its_alerts(
    database: Database, owner: AsyncEngine, tenants: Tenants
) -> None:
    for n in range(2):
        rows = [_alert(tenants.mine, "Disk", "a", "node", n), _alert(tenants.mine, "Disk", None, None, n + 10)]
        await _store(database, tenants.mine, rows)
    copied = text(
        "INSERT INTO alerts (tenant_id, id, fingerprint, starts_at, received_at, alert_name, instance, severity, "
        "status, labels, annotations, raw_payload, action_taken, still_firing, analyzed, analysis_status, "
        "analysis_progress, analysis_attempts, analysis_count, recommendations, version) SELECT tenant_id, "
        "gen_random_uuid(), fingerprint, now(), now(), 'Imported', instance, severity, status, '{}', '{}', '{}', "
        "action_taken, false, false, 'none', 0, 0, 0, '{}', 1 FROM alerts WHERE tenant_id = :tenant"
    )
    async with owner.begin() as connection:
        await connection.execute(copied, {"tenant": tenants.mine})
    async with database.session(tenants.mine) as session:
        kept = (await session.scalars(select(AlertSeries).order_by(AlertSeries.alert_name, AlertSeries.instance))).all()
        firings = await session.scalar(
            select(func.count()).select_from(Alert).join(AlertSeries, Alert.series == AlertSeries.id)
        )
    assert [(one.alert_name, one.instance, one.job) for one in kept] == [
        ("Disk", "a", "node"),
        ("Disk", None, None),
        ("Imported", "a", None),
        ("Imported", None, None),
    ]
    assert {one.tenant_id for one in kept} == {tenants.mine}
    assert firings == 8


async def test_what_belongs_to_one_column_is_no_part_of_another_series(database: Database, tenants: Tenants) -> None:
    named = [("ab", "c", None), ("a", "bc", None), ("ab", None, "c"), ("abc", None, None), ("2:1:a", "b", "c")]
    await _store(database, tenants.mine, [_alert(tenants.mine, *one, n=n) for n, one in enumerate(named)])
    async with database.session(tenants.mine) as session:
        assert await session.scalar(select(func.count()).select_from(AlertSeries)) == len(named)


async def test_no_tenant_sees_or_finds_another_ones_series(
    database: Database, tenants: Tenants, fleet: list[Alert]
) -> None:
    nobody = await make_tenant(database)
    async with database.session(nobody) as session:
        assert await session.scalar(select(func.count()).select_from(AlertSeries)) == 0
        assert (await session.scalars(select(func.search_alert_series("web")))).all() == []
    page = await read_page(database, nobody, alerts, Window(), {"search": "web"}, None)
    assert (page.rows, await page.total_count()) == ([], 0)
