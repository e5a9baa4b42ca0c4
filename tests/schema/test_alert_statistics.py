"""This module is where statistics of alerts are specified: from kept counts alone, in the days of a time zone."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any, Final
from uuid import UUID
from zoneinfo import ZoneInfo

import orjson
import pytest
from sqlalchemy import event, text
from sqlalchemy.ext.asyncio import AsyncEngine

from models import AlertInstanceRollup, AlertRollup, AlertSeverity, Role, utcnow
from models.alert_counts import hour_of
from models.database import Database
from resolvers.alert_statistics import StatsWindow, alert_statistics, bucket_starts, zone_of
from resolvers.call import Call
from tests.conftest import counted
from tests.report import record
from tests.schema.analysts import receive
from tests.schema.conftest import Gateway
from tests.schema.staff import done, mutation, person
from tests.world import Tenants, call_of, make_tenant, principal

STATS: Final = """query($window: StatsWindow!, $zone: String) { alertStats(window: $window, timeZone: $zone) {
  total firing acknowledged resolved ignored bySeverity { severity count } trend { startsAt count }
  topInstances { instance count } meanTimeToAcknowledgeSeconds meanTimeToResolveSeconds timeZone } }"""
ACKNOWLEDGE: Final = mutation("acknowledgeAlert", "alert", "id")
RESOLVE: Final = mutation("resolveAlert", "alert", "id")
NOW: Final = datetime(2026, 3, 29, 10, 30, tzinfo=UTC)
"""The day on which Berlin's clocks go forward: it has 23 hours."""

MOST_BUFFERS: Final = 200
SHOW: Final = "with a million alerts stored the statistics touch a roll-up"


async def _keep(database: Database, tenant_id: UUID, *rows: Any) -> None:
    async with database.session(tenant_id) as session:
        for one in rows:
            one.tenant_id = tenant_id
        session.add_all(rows)
        await session.commit()


def _hour(back: int, severity: AlertSeverity = AlertSeverity.CRITICAL, at: datetime = NOW, **said: Any) -> AlertRollup:
    return AlertRollup(hour=hour_of(at) - timedelta(hours=back), severity=severity, **said)


def _call(gateway: Gateway, tenant_id: UUID, now: datetime = NOW) -> Call:
    return call_of(replace(gateway.services, clock=lambda: now), principal(tenant_id))


async def test_a_day_is_summed_up_by_status_severity_hour_and_instance(gateway: Gateway, tenants: Tenants) -> None:
    await _keep(
        gateway.services.database,
        tenants.mine,
        _hour(0, firing=2, acknowledged=1, acknowledgements=1, acknowledge_seconds=30.0),
        _hour(0, AlertSeverity.INFO, resolved=4, ignored=7, resolutions=4, resolve_seconds=400.0),
        _hour(23, resolved=1, acknowledgements=1, acknowledge_seconds=90.0, resolutions=1, resolve_seconds=100.0),
        _hour(24, firing=1_000),
        _hour(-1, firing=1_000),
        AlertInstanceRollup(hour=hour_of(NOW), instance="b", alerts=3),
        AlertInstanceRollup(hour=hour_of(NOW) - timedelta(hours=2), instance="b", alerts=2),
        AlertInstanceRollup(hour=hour_of(NOW), instance="a", alerts=5),
        AlertInstanceRollup(hour=hour_of(NOW), instance="c", alerts=0),
        AlertInstanceRollup(hour=hour_of(NOW) - timedelta(hours=24), instance="d", alerts=9),
    )
    await _keep(gateway.services.database, tenants.other, _hour(0, firing=50))
    found = await alert_statistics(_call(gateway, tenants.mine), StatsWindow.LAST_24_HOURS)
    assert (found.total, found.firing, found.acknowledged, found.resolved, found.ignored) == (8, 2, 1, 5, 7)
    by_severity = {one.severity: one.count for one in found.by_severity}
    assert list(by_severity) == list(AlertSeverity)
    assert {name: count for name, count in by_severity.items() if count} == {
        AlertSeverity.CRITICAL: 4,
        AlertSeverity.INFO: 4,
    }
    assert [one.count for one in found.trend] == [1, *[0] * 22, 7]
    assert found.trend[-1].starts_at == hour_of(NOW)
    assert [(one.instance, one.count) for one in found.top_instances] == [("a", 5), ("b", 5)]
    assert (found.mean_time_to_acknowledge_seconds, found.mean_time_to_resolve_seconds) == (60.0, 100.0)


async def test_what_is_received_seen_to_and_over_is_counted_at_once(gateway: Gateway, tenants: Tenants) -> None:
    operator = await person(gateway, tenants.mine, Role.OPERATOR)
    began = utcnow() - timedelta(seconds=100)
    first, second = await receive(gateway, tenants.mine, 2, starts_at=began)
    await receive(gateway, tenants.mine, labels={"alertname": "Slow", "severity": "info", "instance": "web-1"})
    await done(gateway, operator, ACKNOWLEDGE, id=first)
    await done(gateway, operator, RESOLVE, id=second)
    found = (await gateway.data(operator, STATS, window="LAST_7_DAYS"))["alertStats"]
    numbers = {name: found[name] for name in ("total", "firing", "acknowledged", "resolved", "ignored")}
    assert numbers == {"total": 3, "firing": 1, "acknowledged": 1, "resolved": 1, "ignored": 0}
    assert {one["severity"]: one["count"] for one in found["bySeverity"] if one["count"]} == {"CRITICAL": 2, "INFO": 1}
    assert found["topInstances"] == [{"instance": "db-1:9100", "count": 2}, {"instance": "web-1", "count": 1}]
    assert sum(one["count"] for one in found["trend"]) == 3
    assert found["meanTimeToAcknowledgeSeconds"] >= 100
    assert found["meanTimeToResolveSeconds"] >= 100


async def test_without_alerts_there_are_zeros_and_no_means(gateway: Gateway, tenants: Tenants) -> None:
    viewer = await person(gateway, tenants.mine, Role.VIEWER)
    for window, buckets in (("LAST_24_HOURS", 24), ("LAST_7_DAYS", 7), ("LAST_30_DAYS", 30)):
        found = (await gateway.data(viewer, STATS, window=window))["alertStats"]
        trend = found.pop("trend")
        assert [one["count"] for one in trend] == [0] * buckets
        assert found == {
            **dict.fromkeys(("total", "firing", "acknowledged", "resolved", "ignored"), 0),
            "bySeverity": [{"severity": one.name, "count": 0} for one in AlertSeverity],
            "topInstances": [],
            "meanTimeToAcknowledgeSeconds": None,
            "meanTimeToResolveSeconds": None,
            "timeZone": "UTC",
        }


async def test_days_begin_at_midnight_of_the_zone_also_where_clocks_are_changed(
    gateway: Gateway, tenants: Tenants
) -> None:
    # 22:00 UTC on the 27th is 23:00 in Berlin, 23:00 is midnight there; from the 29th on midnight is at 22:00.
    hours = {27: (22, 23), 28: (22, 23), 29: (0, 10)}
    await _keep(
        gateway.services.database,
        tenants.mine,
        *(_hour(0, at=datetime(2026, 3, day, hour, tzinfo=UTC), firing=1) for day, of in hours.items() for hour in of),
    )
    call = _call(gateway, tenants.mine)
    berlin = await alert_statistics(call, StatsWindow.LAST_7_DAYS, "Europe/Berlin")
    assert [one.count for one in berlin.trend] == [0, 0, 0, 0, 1, 2, 3]
    assert (berlin.trend[-1].starts_at, berlin.time_zone) == (datetime(2026, 3, 28, 23, tzinfo=UTC), "Europe/Berlin")
    utc = await alert_statistics(call, StatsWindow.LAST_7_DAYS)
    assert [one.count for one in utc.trend] == [0, 0, 0, 0, 2, 2, 2]
    assert berlin.total == utc.total == 6


def test_a_window_holds_whole_days_of_its_zone_the_last_of_them_today() -> None:
    berlin = bucket_starts(StatsWindow.LAST_30_DAYS, NOW + timedelta(days=1), ZoneInfo("Europe/Berlin"))
    assert len(berlin) == 30
    assert sorted({later - one for one, later in pairwise(berlin)}) == [
        timedelta(hours=23),
        timedelta(hours=24),
    ]
    samoa = bucket_starts(StatsWindow.LAST_7_DAYS, NOW, ZoneInfo("Pacific/Apia"))
    assert samoa[-1] == datetime(2026, 3, 28, 11, tzinfo=UTC)


async def test_where_a_day_begins_within_an_hour_the_hour_counts_to_the_day_before(
    gateway: Gateway, tenants: Tenants
) -> None:
    # In Kolkata it is midnight at 18:30 UTC.
    await _keep(
        gateway.services.database,
        tenants.mine,
        *(_hour(0, at=datetime(2026, 3, 28, hour, tzinfo=UTC), firing=1) for hour in (17, 18, 19)),
        _hour(0, at=datetime(2026, 3, 22, 18, tzinfo=UTC), firing=100),
    )
    found = await alert_statistics(_call(gateway, tenants.mine), StatsWindow.LAST_7_DAYS, "Asia/Kolkata")
    assert [one.count for one in found.trend] == [0, 0, 0, 0, 0, 2, 1]
    assert found.total == 3


@pytest.mark.parametrize(
    "name", ["", "Nowhere/Land", "../../etc/passwd", "Europe", "/etc/localtime", "localtime", "x" * 300, "U\x00"]
)
async def test_a_zone_that_there_is_not_is_a_bad_request(gateway: Gateway, tenants: Tenants, name: str) -> None:
    answer = await gateway.answer(principal(tenants.mine), STATS, window="LAST_7_DAYS", zone=name)
    assert [one["extensions"]["code"] for one in answer["errors"]] == ["BAD_REQUEST"]
    assert answer["data"] == {"alertStats": None}


def test_no_zone_is_utc() -> None:
    assert zone_of(None).key == "UTC"


async def test_who_may_not_read_alerts_gets_no_statistics(gateway: Gateway, tenants: Tenants) -> None:
    key = await person(gateway, tenants.mine, Role.API_CLIENT)
    answer = await gateway.answer(key, STATS, window="LAST_7_DAYS")
    assert [one["extensions"]["code"] for one in answer["errors"]] == ["FORBIDDEN"]


async def test_statistics_are_two_statements(gateway: Gateway, tenants: Tenants, database: Database) -> None:
    await _keep(database, tenants.mine, *(_hour(back, firing=1) for back in range(20)))
    with counted(database) as statements:
        await alert_statistics(_call(gateway, tenants.mine), StatsWindow.LAST_30_DAYS)
    assert len(statements) == 2


_ROLLUPS: Final = """
INSERT INTO alert_rollups (tenant_id, hour, severity, firing, acknowledged, resolved, ignored, acknowledgements,
  acknowledge_seconds, resolutions, resolve_seconds)
SELECT :tenant, date_trunc('hour', now()) - h * interval '1 hour', severity, 0, 0, count(*), 0, count(*),
  60.0 * count(*), count(*), 600.0 * count(*)
FROM (SELECT n % 2160 AS h,
  (ARRAY['critical', 'error', 'warning', 'info', 'unknown'])[1 + (n / 2160 + n) % 5] AS severity
  FROM generate_series(1, :alerts) AS n) made
GROUP BY h, severity ORDER BY h DESC
"""
_INSTANCES: Final = """
INSERT INTO alert_instance_rollups (tenant_id, hour, instance, alerts)
SELECT :tenant, date_trunc('hour', now()) - h * interval '1 hour', 'node-' || i, count(*)
FROM (SELECT n % 2160 AS h, (n / 2160 + n * 31) % 50 AS i FROM generate_series(1, :alerts) AS n) made
GROUP BY h, i ORDER BY h DESC
"""


@pytest.fixture
async def counts(database: Database, owner: AsyncEngine, request: pytest.FixtureRequest) -> UUID:
    """A tenant with the counts of as many alerts as are asked for, over 90 days, beside another with as many."""
    tenants = [await make_tenant(database) for _ in range(2)]
    async with owner.begin() as connection:
        for one in tenants:
            for statement in (_ROLLUPS, _INSTANCES):
                await connection.execute(text(statement), {"tenant": one, "alerts": request.param})
    async with owner.connect() as connection:
        alone = await connection.execution_options(isolation_level="AUTOCOMMIT")
        for table in ("alert_rollups", "alert_instance_rollups"):
            await alone.exec_driver_sql(f"VACUUM ANALYZE {table}")
    return tenants[0]


def _steps(plan: dict[str, Any]) -> list[dict[str, Any]]:
    return [plan, *(step for inner in plan.get("Plans", ()) for step in _steps(inner))]


@pytest.mark.parametrize(
    "counts", [20_000, pytest.param(1_000_000, marks=pytest.mark.faults)], indirect=True, ids=["20000", "1000000"]
)
async def test_statistics_touch_nothing_but_kept_counts(
    gateway: Gateway, counts: UUID, database: Database, request: pytest.FixtureRequest
) -> None:
    asked: list[tuple[str, Any]] = []

    def note(_: object, __: object, statement: str, parameters: Any, *___: object) -> None:
        if "set_config" not in statement:
            asked.append((statement, parameters))

    event.listen(database.app.sync_engine, "before_cursor_execute", note)
    try:
        found = await alert_statistics(call_of(gateway.services, principal(counts)), StatsWindow.LAST_30_DAYS)
    finally:
        event.remove(database.app.sync_engine, "before_cursor_execute", note)
    assert len(found.top_instances) == 10
    buffers = []
    async with database.session(counts) as session:
        connection = await session.connection()
        for statement, parameters in asked:
            explained = f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statement}"
            answer = (await connection.exec_driver_sql(explained, parameters)).scalar_one()
            plan = (orjson.loads(answer) if isinstance(answer, str) else answer)[0]["Plan"]
            read = {step["Relation Name"] for step in _steps(plan) if "Relation Name" in step}
            assert read <= {"alert_rollups", "alert_instance_rollups"}
            conditions = " ".join(step.get("Index Cond", "") for step in _steps(plan))
            assert "tenant_id" in conditions
            assert "hour" in conditions
            buffers.append(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"])
    assert buffers[0] <= MOST_BUFFERS
    alerts = 1_000_000 if "1000000" in request.node.name else 20_000
    record(7, SHOW, alerts, f"roll-ups alone: {buffers[0]} shared buffers for all counts, {buffers[1]} for instances")
