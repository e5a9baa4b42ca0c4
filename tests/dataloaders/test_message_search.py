"""This module is where searching a tenant's messages is shown to reach its index, as the serving role."""

from __future__ import annotations

import re
import time
from typing import Any
from uuid import UUID

import orjson
import pytest
from sqlalchemy import event, select, text
from sqlalchemy.ext.asyncio import AsyncEngine

from dataloaders.base import LoaderScope
from dataloaders.conversations import messages
from dataloaders.messages import message_pages
from dataloaders.pages import Window, read_page
from models import Conversation
from models.database import Database
from models.ids import uuid7
from tests.patience import promised
from tests.report import record
from tests.world import Tenants

FULL = 200_000
SMALL = 20_000

_ROWS = """
WITH thread AS (
  INSERT INTO conversations (tenant_id, id, kind, status, metadata, message_count, token_count)
  VALUES (:tenant, :thread, 'chat', 'active', '{}', :count, 0)
)
INSERT INTO messages (tenant_id, id, conversation_id, seq, role, content, content_type, metadata, state, created_at)
SELECT :tenant, gen_random_uuid(), :thread, n, 'user',
  'the streetlight number ' || n || ' in quarter q' || n % 997 || CASE WHEN n % 9973 = 0 THEN ' flickers' ELSE '' END,
  'text', '{}', 'final', now() - n * interval '1 second'
FROM generate_series(1, :count) AS n
"""


async def _fill(owner: AsyncEngine, tenant: UUID, count: int) -> None:
    async with owner.begin() as connection:
        await connection.execute(text(_ROWS.replace(":count", str(count))), {"tenant": tenant, "thread": uuid7()})
    async with owner.connect() as connection:
        alone = await connection.execution_options(isolation_level="AUTOCOMMIT")
        await alone.exec_driver_sql("VACUUM ANALYZE messages")


def _steps(plan: dict[str, Any]) -> list[dict[str, Any]]:
    return [plan, *(one for inner in plan.get("Plans", ()) for one in _steps(inner))]


async def _explained(database: Database, tenant: UUID, statement: str, parameters: Any) -> list[dict[str, Any]]:
    async with database.session(tenant) as session:
        connection = await session.connection()
        sql = f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statement}"
        answer = (await connection.exec_driver_sql(sql, parameters)).scalar_one()
    return _steps((orjson.loads(answer) if isinstance(answer, str) else answer)[0]["Plan"])


@pytest.mark.parametrize("count", [SMALL, pytest.param(FULL, marks=pytest.mark.faults)])
async def test_a_search_of_many_messages_reaches_its_index_under_row_level_security(
    database: Database, owner: AsyncEngine, tenants: Tenants, count: int
) -> None:
    await _fill(owner, tenants.mine, count)
    await _fill(owner, tenants.other, 1_000)
    asked: list[tuple[str, Any]] = []

    def note(_: object, __: object, statement: str, parameters: Any, *___: object) -> None:
        if "set_config" not in statement:
            asked.append((statement, parameters))

    engine = database.app.sync_engine
    event.listen(engine, "before_cursor_execute", note)
    begun = time.perf_counter()
    try:
        page = await read_page(database, tenants.mine, messages, Window(), {"search": "flick streetlight"}, None)
    finally:
        event.remove(engine, "before_cursor_execute", note)
    took = time.perf_counter() - begun
    assert len(page.rows) == min(20, count // 9973)
    assert all("flickers" in row.content for row in page.rows)
    assert {row.tenant_id for row in page.rows} == {tenants.mine}
    ((statement, parameters),) = asked
    steps = await _explained(database, tenants.mine, statement, parameters)
    assert not any(step["Node Type"] == "Seq Scan" for step in steps), [step["Node Type"] for step in steps]
    assert "search_messages" in {step.get("Function Name") for step in steps}
    blocks = steps[0]["Shared Hit Blocks"] + steps[0]["Shared Read Blocks"]
    # Rows of the table alone would be thousands of blocks; the index reads the postings of its words.
    assert blocks < count // 50
    # What the function does inside: the same plan, as the one that it runs with.
    inside = "SELECT id FROM messages WHERE search @@ to_tsquery('simple', 'flick:* & streetlight:*')"
    async with owner.connect() as connection:
        plan = (await connection.exec_driver_sql(f"EXPLAIN (FORMAT JSON) {inside}")).scalar_one()
    kinds = [step["Node Type"] for step in _steps((orjson.loads(plan) if isinstance(plan, str) else plan)[0]["Plan"])]
    assert "Bitmap Index Scan" in kinds
    assert took < promised(1.0)
    record(
        5,
        "searchMessages reaches its index under row-level security, as the application's role",
        count,
        f"{len(page.rows)} found in {took * 1000:.0f} ms, {blocks} blocks",
    )


@pytest.mark.parametrize("window", [Window(last=5), Window(first=5)], ids=["newest", "oldest"])
async def test_pages_of_many_conversations_are_read_by_the_index_of_their_numbers(
    database: Database, owner: AsyncEngine, tenants: Tenants, window: Window
) -> None:
    await _fill(owner, tenants.mine, 2_000)
    await _fill(owner, tenants.mine, 2_000)
    async with database.session(tenants.mine) as session:
        ids = list(await session.scalars(select(Conversation.id)))
    asked: list[tuple[str, Any]] = []

    def note(_: object, __: object, statement: str, parameters: Any, *___: object) -> None:
        asked.append((statement, parameters))

    engine = database.app.sync_engine
    event.listen(engine, "before_cursor_execute", note)
    try:
        pages = await LoaderScope(database, tenants.mine).of(message_pages(window)).load_many(ids)
    finally:
        event.remove(engine, "before_cursor_execute", note)
    expected = list(range(1996, 2001)) if window.backward else [1, 2, 3, 4, 5]
    assert [[row.seq for row in page.rows] for page in pages] == [expected, expected]
    ((statement, parameters),) = asked
    steps = await _explained(database, tenants.mine, statement, parameters)
    (scan,) = [step for step in steps if step.get("Relation Name") == "messages"]
    assert scan["Node Type"] == "Index Scan"
    assert scan["Index Name"] == "uq_messages_seq"
    assert {"tenant_id", "conversation_id", "seq"} <= set(re.findall(r"[a-z_]+", scan["Index Cond"]))
    assert scan["Actual Rows"] == 6
