"""This module is where it is specified what a page of alerts costs when very many are stored.

A fiftieth in the gate, a million where numbers are full: the same rows, made by the database itself. They are of ten
thousand series, as a fleet's are: a thing that watches fires again and again.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

import orjson
import pytest
from sqlalchemy import event, text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from dataloaders.alerts import alerts
from dataloaders.pages import Direction, Window, read_page
from gateway.embedded import EmbeddedPostgres
from models import AlertAction, AlertSeverity, AlertStatus, AnalysisStatus, utcnow
from models.database import Database, DatabaseUrls, PoolOptions, role_url
from models.roles import OWNER
from tests.gateway.demo_house import new_database
from tests.report import record
from tests.world import AUDIT, Tenants

MOST_BLOCKS: Final = 200
FEW: Final = 20_000
MILLION: Final = 1_000_000

_GENERATE: Final = text(
    """
INSERT INTO alerts (tenant_id, id, fingerprint, starts_at, received_at, alert_name, severity, instance, job, status,
  labels, annotations, raw_payload, action_taken, acknowledged_at, resolved_at, still_firing, analyzed, analysis_status,
  analysis_progress, analysis_attempts, analysis_count, recommendations, version)
SELECT CAST(:tenant AS uuid), gen_random_uuid(), md5(n::text), now() - (:count - n) * interval '1 second',
  now() - (:count - n) * interval '1 second', 'Alert' || s % 997,
  CASE WHEN n % 1009 = 0 THEN 'critical' WHEN n % 3 = 0 THEN 'warning' ELSE 'info' END,
  'host-' || s % 5003 || CASE WHEN s % 2 = 0 THEN '.east' ELSE '.west' END,
  'job-' || s % 13 || CASE WHEN s % 2 = 0 OR s = 4999 THEN '-blue' ELSE '-green' END,
  CASE WHEN n % 4001 = 0 THEN 'firing' WHEN n % 2003 = 0 THEN 'acknowledged' ELSE 'resolved' END,
  '{}', '{}', '{}', CASE WHEN n % 1999 = 0 THEN 'auto_analyze' WHEN n % 2 = 0 THEN 'ignore' ELSE 'manual' END,
  now(), CASE WHEN n % 4001 = 0 OR n % 2003 = 0 THEN NULL ELSE now() END, false, n % 3001 = 0,
  CASE WHEN n % 3001 = 0 THEN 'completed' WHEN n % 5009 = 0 THEN 'failed' ELSE 'none' END, 0, 0, 0, '{}', 1
FROM (SELECT n, n / 2 * 6007 % 10000 AS s FROM generate_series(CAST(:first AS bigint), CAST(:last AS bigint)) AS n) made
"""
)

FILTERS: Final[dict[str, dict[str, Any]]] = {
    "nothing": {},
    "includeIgnored": {"include_ignored": True},
    "actionTaken": {"action_taken": [AlertAction.IGNORE]},
    "two actions": {"action_taken": [AlertAction.AUTO_ANALYZE, AlertAction.IGNORE]},
    "status": {"status": [AlertStatus.FIRING]},
    "two statuses": {"status": [AlertStatus.FIRING, AlertStatus.ACKNOWLEDGED]},
    "two statuses, ignored too": {"status": [AlertStatus.FIRING, AlertStatus.ACKNOWLEDGED], "include_ignored": True},
    "severity": {"severity": [AlertSeverity.CRITICAL]},
    "all severities": {"severity": list(AlertSeverity)},
    "analyzed": {"analyzed": True},
    "analysisStatus": {"analysis_status": [AnalysisStatus.FAILED, AnalysisStatus.COMPLETED]},
    "alertName": {"alert_name": "Alert7"},
    "instance": {"instance": "host-77.west"},
    "job": {"job": "job-7-green"},
    "startedAfter": {"started_after": utcnow() - timedelta(hours=3)},
    "startedBefore": {"started_before": utcnow() - timedelta(hours=3)},
}
NOWHERE: Final = "host nowhere"
SEARCHES: Final = {
    "a rare word": "4999",
    "a word of every row": "host",
    "a word of half the rows": "west",
    "a word of a tenth": "alert7",
    "a common word and a rare one": "host 4999",
    "two common words that are rarely together": "west blue",
    "some words of some rows": "host-77 alert7",
    "as many series as are read one by one": "alert75 job-7 east",
    "one more": "alert62 job-6 west",
    "a few more": "host-77",
    "a letter": "a",
    "nothing": NOWHERE,
}
ORDERS: Final = [(name, direction) for name in alerts.orders for direction in Direction]


@pytest.fixture(scope="module")
async def alone(postgres: EmbeddedPostgres) -> str:
    """A database of its own: the index of words is everybody's, and would also be read for what other tests wrote."""
    return await new_database(postgres.url, "alert_pages")


@pytest.fixture(scope="module")
async def database(alone: str) -> AsyncIterator[Database]:
    database = Database(DatabaseUrls.for_roles(alone), PoolOptions(size=4), AUDIT)
    yield database
    await database.close()


@pytest.fixture(scope="module")
async def owner(alone: str) -> AsyncIterator[AsyncEngine]:
    engine = create_async_engine(role_url(alone, OWNER))
    yield engine
    await engine.dispose()


async def generate(owner: AsyncEngine, tenant_id: UUID, count: int) -> None:
    """That many alerts, and what the planner has to know of them."""
    for first in range(1, count + 1, 100_000):
        async with owner.begin() as connection:
            last = min(first + 99_999, count)
            await connection.execute(_GENERATE, {"tenant": tenant_id, "count": count, "first": first, "last": last})
    async with owner.connect() as connection:
        alone = await connection.execution_options(isolation_level="AUTOCOMMIT")
        await alone.exec_driver_sql("VACUUM ANALYZE alerts, alert_series")


async def blocks(
    database: Database, tenant_id: UUID, given: dict[str, Any], order: tuple[str, Direction] | None
) -> int:
    """Shared buffers that the first page touches, asked as the application role."""
    asked: list[tuple[str, Any]] = []

    def note(_: object, __: object, statement: str, parameters: Any, *___: object) -> None:
        if "set_config" not in statement:
            asked.append((statement, parameters))

    engine = database.app.sync_engine
    event.listen(engine, "before_cursor_execute", note)
    try:
        page = await read_page(database, tenant_id, alerts, Window(), given, order)
    finally:
        event.remove(engine, "before_cursor_execute", note)
    assert (len(page.rows) > 0) == (given.get("search") != NOWHERE)
    touched = 0
    async with database.session(tenant_id) as session:
        connection = await session.connection()
        for statement, parameters in asked:
            sql = f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statement}"
            answer = (await connection.exec_driver_sql(sql, parameters)).scalar_one()
            plan = (orjson.loads(answer) if isinstance(answer, str) else answer)[0]["Plan"]
            touched += int(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"])
    return touched


async def _all_pages(database: Database, owner: AsyncEngine, tenant_id: UUID, count: int) -> dict[str, int]:
    await generate(owner, tenant_id, count)
    found = {name: await blocks(database, tenant_id, given, None) for name, given in FILTERS.items()}
    for name, words in SEARCHES.items():
        found[f"search: {name}"] = await blocks(database, tenant_id, {"search": words}, None)
    for order in ORDERS:
        found[" ".join(order)] = await blocks(database, tenant_id, {}, order)
    return found


async def test_the_first_page_under_any_filter_and_in_any_order_touches_few_buffers(
    database: Database, owner: AsyncEngine, tenants: Tenants
) -> None:
    found = await _all_pages(database, owner, tenants.mine, FEW)
    assert {name: count for name, count in found.items() if count > MOST_BLOCKS} == {}


@pytest.mark.faults
async def test_so_it_does_with_a_million_stored(database: Database, owner: AsyncEngine, tenants: Tenants) -> None:
    found = await _all_pages(database, owner, tenants.mine, MILLION)
    worst = max(found, key=found.__getitem__)
    shows = "with a million alerts stored, the first page under any filter touches at most 200 shared buffers"
    record(7, shows, MILLION, f"{found[worst]} at most ({worst}); the series of alerts, a roll-up, counted in")
    assert {name: count for name, count in found.items() if count > MOST_BLOCKS} == {}
