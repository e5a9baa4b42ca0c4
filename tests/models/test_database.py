"""This module is where sessions are specified: bound to one tenant or to none, and never left bound."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any, Final
from uuid import UUID

import pytest
from sqlalchemy import insert, select, text, update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from models import (
    PLATFORM_TENANT_ID,
    Agent,
    Event,
    EventTopic,
    Scope,
    SharedRow,
    StructureEvent,
    User,
    Workspace,
    WorkspaceStatus,
    utcnow,
)
from models.base import Base
from models.database import Database, DatabaseUrls, PoolOptions, TenantSession, is_passing, role_url, sqlstate
from models.errors import Unavailable
from models.ids import uuid7
from models.roles import APP
from subscriptions.log import Envelope, append
from tests.patience import DEADLINE
from tests.world import AUDIT, Fleet, Tenants

FORBIDDEN: Final = "42501"
HELD_BY_NO_TENANT: Final = {"leases", "stream_epoch"}
SHARED: Final = {one.__tablename__ for one in SharedRow.__subclasses__()}


@pytest.fixture
async def small(migrated: str) -> AsyncIterator[Database]:
    """Pools of one connection, for which nobody waits long."""
    made = Database(DatabaseUrls.for_roles(migrated), PoolOptions(size=1, wait_seconds=0.05), AUDIT)
    yield made
    await made.close()


async def _fill(database: Database, tenant_id: UUID) -> None:
    await Fleet(database, tenant_id).grow(2)
    async with database.session(tenant_id) as session:
        session.add(User(tenant_id=tenant_id, email=f"{tenant_id}", email_key=f"{tenant_id}"))
        await session.flush()
        change: Any = {"entity_type": "workspace", "entity_id": uuid7(), "before": None, "after": {}}
        await append(
            session,
            [
                Envelope(
                    topic=EventTopic.REGISTRY,
                    kind="workspace.created",
                    required_scope=Scope.WORKSPACES_READ,
                    structure="WORKSPACE_ONLINE",
                    **change,
                )
            ],
            None,
            utcnow(),
        )
        await session.commit()


async def _bound(connection: AsyncConnection) -> str:
    return await connection.scalar(text("SELECT coalesce(current_setting('app.tenant_id', true), '')")) or ""


async def _refused(connection: Any, statement: str) -> str | None:
    with pytest.raises(DBAPIError) as refused:
        await connection.execute(text(statement))
    return sqlstate(refused.value)


async def test_a_session_without_a_tenant_touches_nothing(database: Database) -> None:
    async with TenantSession(database.app) as session:
        with pytest.raises(RuntimeError, match="without a tenant"):
            await session.execute(text("SELECT 1"))


async def test_every_transaction_of_a_session_is_bound_again(database: Database, tenants: Tenants) -> None:
    async with database.session(tenants.mine) as session:
        for _ in range(2):
            assert await _bound(await session.connection()) == str(tenants.mine)
            await session.commit()


async def test_a_connection_is_not_bound_once_its_transaction_is_over(small: Database, tenants: Tenants) -> None:
    async with small.session(tenants.mine) as session:
        await session.execute(text("SELECT 1"))
        await session.commit()
    async with small.app.connect() as connection:
        assert await _bound(connection) == ""


@pytest.mark.parametrize("table", sorted(set(Base.metadata.tables) - HELD_BY_NO_TENANT))
async def test_without_a_tenant_nothing_is_read_and_with_one_only_its_own(
    database: Database, owner: AsyncEngine, tenants: Tenants, table: str
) -> None:
    for tenant_id in (tenants.mine, tenants.other):
        await _fill(database, tenant_id)
    column = "id" if table == "tenants" else "tenant_id"
    async with database.app.connect() as connection:
        assert await connection.scalar(text(f"SELECT count(*) FROM {table}")) == 0
    async with database.session(tenants.mine) as session:
        seen = set(await session.scalars(text(f"SELECT DISTINCT {column} FROM {table}")))
    async with owner.connect() as connection:
        held = set((await connection.execute(text(f"SELECT DISTINCT {column} FROM {table}"))).scalars())
    shared = {PLATFORM_TENANT_ID} if table in SHARED else set()
    assert seen == held & ({tenants.mine} | shared)
    filled = {
        "agents",
        "events",
        "stream_floors",
        "structure_events",
        "tenant_streams",
        "tenants",
        "users",
        "workspaces",
    }
    assert {tenants.mine, tenants.other} <= held or table not in filled


async def test_no_row_is_written_for_another_tenant(database: Database, tenants: Tenants) -> None:
    await Fleet(database, tenants.other).grow(1)
    async with database.session(tenants.mine) as session:
        assert (await session.execute(update(Workspace).values(name="taken"))).rowcount == 0  # type: ignore[attr-defined]
        with pytest.raises(DBAPIError) as refused:
            await session.execute(insert(Workspace).values(tenant_id=tenants.other, name="planted"))
    assert sqlstate(refused.value) == FORBIDDEN


async def test_no_row_is_moved_to_another_tenant(database: Database, tenants: Tenants) -> None:
    await Fleet(database, tenants.mine).grow(1)
    async with database.session(tenants.mine) as session:
        with pytest.raises(DBAPIError) as refused:
            await session.execute(update(Agent).values(tenant_id=tenants.other, workspace_id=None))
    assert sqlstate(refused.value) == FORBIDDEN


async def test_another_tenants_row_is_no_parent(database: Database, tenants: Tenants) -> None:
    theirs = Fleet(database, tenants.other)
    await theirs.grow(1)
    async with database.session(tenants.mine) as session:
        with pytest.raises(DBAPIError) as refused:
            values = {"tenant_id": tenants.mine, "name": "child", "parent_id": theirs.workspaces[0]}
            await session.execute(insert(Workspace).values(**values))
    assert sqlstate(refused.value) == "23503"


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE structure_events SET event_type = 'FORGED'",
        "DELETE FROM structure_events",
        "UPDATE events SET kind = 'forged.event'",
        "DELETE FROM tenant_streams",
        "DELETE FROM stream_floors",
        "DELETE FROM tenants",
        "UPDATE stream_epoch SET marker = 'forged'",
        "TRUNCATE workspaces CASCADE",
        "ALTER TABLE workspaces DISABLE ROW LEVEL SECURITY",
        "CREATE TABLE mine (id int)",
        "CREATE TEMPORARY TABLE users (id int)",
        "SET ROLE signalbox_owner",
        "SELECT * FROM leases",
    ],
)
async def test_history_rules_and_other_roles_are_beyond_the_serving_role(
    database: Database, tenants: Tenants, statement: str
) -> None:
    await _fill(database, tenants.mine)
    async with database.session(tenants.mine) as session:
        assert await _refused(session, statement) == FORBIDDEN


async def test_the_ingest_role_writes_heartbeats_and_nothing_else(database: Database, tenants: Tenants) -> None:
    await Fleet(database, tenants.mine).grow(1)
    async with database.ingest.connect() as connection:
        mine = f"WHERE tenant_id = '{tenants.mine}'"
        done = await connection.execute(text(f"UPDATE workspaces SET active_tasks = 3 {mine}"))
        assert done.rowcount == 1
        for statement in (
            f"UPDATE workspaces SET status = 'online' {mine}",
            f"UPDATE workspaces SET lease_epoch = 9 {mine}",
            f"UPDATE workspaces SET tenant_id = '{tenants.other}' {mine}",
            "INSERT INTO workspaces (tenant_id) VALUES (NULL)",
            "DELETE FROM workspaces",
            "SELECT name FROM workspaces",
            "SELECT * FROM users",
            "UPDATE tenant_streams SET seq = 0",
        ):
            assert await _refused(connection, statement) == FORBIDDEN, statement


async def test_the_tail_role_reads_counters_and_nothing_else(database: Database, tenants: Tenants) -> None:
    async with database.tail.connect() as connection:
        heads = await connection.execute(text("SELECT tenant_id FROM tenant_streams"))
        assert {tenants.mine, tenants.other} <= {row[0] for row in heads}
        for statement in (
            "SELECT * FROM events",
            "SELECT * FROM tenants",
            "SELECT id FROM workspaces",
            "UPDATE tenant_streams SET seq = 0",
            "UPDATE stream_floors SET low_water = 0",
        ):
            assert await _refused(connection, statement) == FORBIDDEN, statement


async def test_the_platform_role_sees_ids_and_due_times_and_no_contents(database: Database, tenants: Tenants) -> None:
    await Fleet(database, tenants.mine).grow(1)
    async with database.platform.connect() as connection:
        found = await connection.execute(text("SELECT tenant_id, id, heartbeat_due_at FROM workspaces"))
        assert tenants.mine in {row[0] for row in found}
        await connection.rollback()
        for statement in (
            "SELECT name FROM workspaces",
            "SELECT payload FROM events",
            "SELECT * FROM users",
            "SELECT * FROM api_keys",
            "UPDATE workspaces SET status = 'offline'",
        ):
            assert await _refused(connection, statement) == FORBIDDEN, statement
            await connection.rollback()


@pytest.mark.parametrize("role", ["app", "platform", "ingest", "tail"])
async def test_every_pool_has_its_time_limits(database: Database, role: str) -> None:
    async with getattr(database, role).connect() as connection:
        limits = [
            await connection.scalar(text(f"SHOW {name}"))
            for name in ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout")
        ]
    assert limits == ["5s", "2s", "10s"]


async def _backend(database: Database) -> int:
    async with database.app.connect() as connection:
        return int(await connection.scalar(text("SELECT pg_backend_pid()")) or 0)


async def test_a_connection_left_inside_a_transaction_is_thrown_away(small: Database, tenants: Tenants) -> None:
    before = await _backend(small)
    assert await _backend(small) == before
    async with small.app.connect() as connection:
        driver: Any = (await connection.get_raw_connection()).driver_connection
        await driver.execute(f"BEGIN; SELECT set_config('app.tenant_id', '{tenants.mine}', true)")
    assert await _backend(small) != before


async def test_no_cancellation_leaves_a_tenant_behind(small: Database, tenants: Tenants) -> None:
    async def read() -> None:
        async with small.session(tenants.mine) as session:
            await session.execute(text("SELECT pg_sleep(0.002)"))

    for turns in range(40):
        reading = asyncio.create_task(read(), name="cancelled reader")
        for _ in range(turns):
            await asyncio.sleep(0)
        reading.cancel()
        with suppress(asyncio.CancelledError):
            await reading
        async with small.app.connect() as connection:
            assert await _bound(connection) == ""


async def test_a_full_pool_is_unavailable_and_nobody_waits_for_ever(small: Database, tenants: Tenants) -> None:
    async with small.session(tenants.mine) as session:
        await session.execute(text("SELECT 1"))
        async with asyncio.timeout(DEADLINE):
            with pytest.raises(Unavailable):
                async with small.session(tenants.mine) as second:
                    await second.execute(text("SELECT 1"))
    assert await _backend(small) > 0


@pytest.mark.parametrize(
    "statement",
    ["SET LOCAL statement_timeout = 10; SELECT pg_sleep(5)", "SELECT pg_terminate_backend(pg_backend_pid())"],
)
async def test_a_statement_cut_short_is_unavailable_and_the_pool_recovers(
    small: Database, tenants: Tenants, statement: str
) -> None:
    with pytest.raises(Unavailable):
        async with small.session(tenants.mine) as session:
            for one in statement.split(";"):
                await session.execute(text(one))
    async with small.session(tenants.mine) as session:
        assert await session.scalar(select(Workspace.id)) is None


async def test_a_row_that_stays_locked_is_unavailable(database: Database, tenants: Tenants) -> None:
    await Fleet(database, tenants.mine).grow(1)
    async with database.session(tenants.mine) as holder:
        await holder.scalar(select(Workspace).with_for_update())
        with pytest.raises(Unavailable):
            async with database.session(tenants.mine) as waiter:
                await waiter.execute(text("SET LOCAL lock_timeout = 10"))
                await waiter.scalar(select(Workspace).with_for_update())


async def test_a_server_that_is_not_there_is_unavailable(tenants: Tenants) -> None:
    away = Database(DatabaseUrls.for_roles("postgresql+asyncpg://x@/x?host=/nowhere"), PoolOptions())
    with pytest.raises(Unavailable):
        async with away.session(tenants.mine) as session:
            await session.execute(text("SELECT 1"))
    with pytest.raises(Unavailable):
        async with away.connection(away.tail):
            pass
    await away.close()


async def test_a_broken_rule_is_not_passing_trouble(database: Database, tenants: Tenants) -> None:
    async with database.session(tenants.mine) as session:
        with pytest.raises(DBAPIError) as refused:
            await session.execute(insert(Workspace).values(tenant_id=tenants.mine, name="x", tier=9))
    assert sqlstate(refused.value) == "23514"
    assert not is_passing(refused.value)
    assert not is_passing(ValueError("a mistake of ours"))


async def test_a_row_that_was_read_survives_its_session(database: Database, tenants: Tenants) -> None:
    await Fleet(database, tenants.mine).grow(1)
    async with database.session(tenants.mine) as session:
        row = (await session.scalars(select(Workspace))).one()
        await session.commit()
    assert row.status is WorkspaceStatus.AWAITING_AGENT
    assert repr(row) == f"<Workspace {(tenants.mine, row.id)}>"
    assert repr(StructureEvent()) == "<StructureEvent new>"
    assert Event.__typeid__ == "event"


def test_every_role_reaches_the_same_database() -> None:
    url = "postgresql+asyncpg://somebody:secret@db.example:5433/signalbox?host=%2Frun"
    assert role_url(url, APP) == "postgresql+asyncpg://signalbox_app:secret@db.example:5433/signalbox?host=%2Frun"
