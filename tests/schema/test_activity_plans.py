"""This module is where the list of the log is held to its cost, whoever asks and however rare what they ask for is."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from dataloaders.activity import LOOKED_AT, page_of
from models import EventTopic, EventView
from models.database import Database
from models.ids import uuid7
from tests.world import Tenants

EVENTS = 60_000
SEEN = {"required_scope": frozenset({"workspaces:read", "users:read"}), "owner_user_id": frozenset({uuid7()})}
ENTITY = UUID(int=1)

FILL = text(
    """
INSERT INTO events (tenant_id, seq, id, topic, kind, entity_type, entity_id, required_scope, payload, occurred_at)
SELECT :tenant, n, gen_random_uuid(), 'registry', 'workspace.updated', 'workspace',
       lpad(to_hex(n % 500), 32, '0')::uuid, 'workspaces:read', '{}', now()
FROM generate_series(1, :count) AS n
"""
)


@pytest.fixture(scope="module")
async def logs(database: Database, owner: AsyncEngine) -> AsyncIterator[Tenants]:
    """Two tenants with long logs."""
    made = await Tenants.make(database)
    async with owner.begin() as connection:
        for tenant in (made.mine, made.other):
            await connection.execute(FILL, {"tenant": tenant, "count": EVENTS})
            await connection.execute(
                text("UPDATE tenant_streams SET seq = :count WHERE tenant_id = :tenant"),
                {"tenant": tenant, "count": EVENTS},
            )
    async with owner.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
        await connection.execute(text("ANALYZE events"))
    yield made
    async with owner.begin() as connection:
        for tenant in (made.mine, made.other):
            await connection.execute(text("DELETE FROM events WHERE tenant_id = :tenant"), {"tenant": tenant})


def _nodes(plan: dict[str, Any]) -> list[dict[str, Any]]:
    return [plan, *(found for one in plan.get("Plans", ()) for found in _nodes(one))]


async def _explained(database: Database, tenant: UUID, view: EventView, *, backward: bool = False) -> dict[str, Any]:
    """The plan of the first page from that end, as the serving role runs it."""
    statement = page_of(tenant, view, None, None, backward, 21)
    sql = statement.compile(dialect=database.app.dialect, compile_kwargs={"literal_binds": True})
    async with database.session(tenant) as session:
        answer = await session.scalar(text("EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) " + str(sql).replace(":", r"\:")))
    plan: dict[str, Any] = (json.loads(answer) if isinstance(answer, str) else answer)[0]["Plan"]
    return plan


@pytest.mark.parametrize("backward", [False, True], ids=["newest", "oldest"])
@pytest.mark.parametrize(
    ("asked", "most_rows"),
    [
        ({}, 21),
        ({"topic": frozenset({EventTopic.SECURITY})}, LOOKED_AT),
        ({"kind": frozenset({"never.made", "rare.made"})}, LOOKED_AT),
        ({"actor_type": frozenset({"user"}), "actor_id": frozenset({ENTITY})}, LOOKED_AT),
        ({"entity_type": frozenset({"workspace"}), "entity_id": frozenset({ENTITY})}, 21),
        ({"entity_type": frozenset({"workspace"}), "entity_id": frozenset({ENTITY}), "kind": frozenset({"no"})}, 120),
    ],
    ids=["all", "topic", "kind", "actor", "entity", "entity and kind"],
)
async def test_a_page_looks_at_a_bounded_number_of_events_through_an_index(
    database: Database, logs: Tenants, asked: dict[str, Any], most_rows: int, backward: bool
) -> None:
    plan = await _explained(database, logs.mine, EventView(asked, SEEN), backward=backward)
    scans = [one for one in _nodes(plan) if one.get("Relation Name") == "events"]
    assert scans
    assert not [one["Node Type"] for one in scans if one["Node Type"] == "Seq Scan"]
    looked_at = sum(one["Actual Rows"] + one.get("Rows Removed by Filter", 0) for one in scans)
    assert looked_at <= most_rows
