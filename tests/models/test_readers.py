"""This module is where connections that reads keep at hand are specified: few, clean, one tenant's for one read."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import cast

import pytest
from sqlalchemy import Uuid, bindparam, select, text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import QueuePool

from models import Workspace
from models.database import Database, DatabaseUrls, PoolOptions
from models.ids import uuid7
from models.readers import SHARE
from models.reads import Read
from tests.world import AUDIT, Tenants

# Without the tenant in the statement: what keeps tenants apart here is the transaction alone.
BY_ID = Read(select(Workspace).where(Workspace.id == bindparam("id", type_=Uuid())))


@pytest.fixture
async def keeps_one(migrated: str) -> AsyncIterator[Database]:
    made = Database(DatabaseUrls.for_roles(migrated), PoolOptions(size=SHARE, wait_seconds=0.2), AUDIT)
    yield made
    await made.close()


def taken(database: Database) -> int:
    return cast("QueuePool", database.app.sync_engine.pool).checkedout()


async def pid(database: Database) -> int:
    async with database.readers.reader() as (_, driver):
        found: int = driver.get_server_pid()
        return found


async def test_one_read_after_another_uses_the_same_connection(keeps_one: Database) -> None:
    assert await pid(keeps_one) == await pid(keeps_one)
    assert taken(keeps_one) == 1


async def test_no_more_than_the_share_is_kept(keeps_one: Database) -> None:
    async def slow_read() -> None:
        async with keeps_one.readers.reader():
            await together.wait()

    together = asyncio.Barrier(SHARE)
    await asyncio.gather(*(slow_read() for _ in range(SHARE)))
    assert taken(keeps_one) == 1


async def test_a_small_pool_keeps_none(migrated: str) -> None:
    small = Database(DatabaseUrls.for_roles(migrated), PoolOptions(size=SHARE - 1), AUDIT)
    await pid(small)
    assert taken(small) == 0
    await small.close()


@pytest.mark.parametrize("reason", [LookupError, asyncio.CancelledError])
async def test_one_that_something_went_wrong_with_is_not_kept(keeps_one: Database, reason: type[BaseException]) -> None:
    with pytest.raises(reason):
        async with keeps_one.readers.reader():
            raise reason
    assert taken(keeps_one) == 0


async def test_one_whose_server_went_away_is_replaced_without_an_error(keeps_one: Database, migrated: str) -> None:
    before = await pid(keeps_one)
    superuser = create_async_engine(migrated, isolation_level="AUTOCOMMIT")
    async with superuser.connect() as connection:
        assert await connection.scalar(text("SELECT pg_terminate_backend(:pid, 5000)"), {"pid": before})
    await superuser.dispose()
    async with keeps_one.session(uuid7()) as session:
        # A turn of the loop in which the driver hears of it.
        await session.execute(text("SELECT 1"))
    assert await pid(keeps_one) != before


async def test_tenants_that_read_in_turn_on_one_connection_see_their_own(keeps_one: Database, tenants: Tenants) -> None:
    rows = {tenant: Workspace(tenant_id=tenant, id=uuid7(), name="here") for tenant in (tenants.mine, tenants.other)}
    for tenant, row in rows.items():
        async with keeps_one.session(tenant) as session:
            session.add(row)
            await session.commit()
    for tenant in (*rows, *rows):
        found = [await BY_ID.rows(keeps_one, tenant, id=row.id) for row in rows.values()]
        assert [len(one) for one in found] == [int(row.tenant_id == tenant) for row in rows.values()]
    async with keeps_one.readers.reader() as (_, driver):
        assert not driver.is_in_transaction()
        assert not await driver.fetchval("SELECT current_setting('app.tenant_id', true)")


async def test_closing_gives_all_back(keeps_one: Database) -> None:
    await pid(keeps_one)
    await keeps_one.readers.close()
    assert taken(keeps_one) == 0
