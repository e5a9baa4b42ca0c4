"""This module is where reads past the session are specified: bound to one tenant, clean whatever interrupts them."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import Uuid, bindparam, select, text
from sqlalchemy.ext.asyncio import create_async_engine

from models import Workspace
from models.database import Database
from models.ids import uuid7
from models.reads import Read, _bound
from tests.world import Tenants

# Without the tenant in the statement: what keeps tenants apart here is the transaction alone.
BY_ID = Read(select(Workspace).where(Workspace.id == bindparam("id", type_=Uuid())))


async def place(database: Database, tenants: Tenants) -> Workspace:
    row = Workspace(tenant_id=tenants.mine, id=uuid7(), name="here")
    async with database.session(tenants.mine) as session:
        session.add(row)
        await session.commit()
    return row


async def test_a_read_sees_what_a_session_sees_and_nothing_of_another_tenant(
    database: Database, tenants: Tenants
) -> None:
    row = await place(database, tenants)
    (found,) = await BY_ID.rows(database, tenants.mine, id=row.id)
    async with database.session(tenants.mine) as session:
        same = (await session.scalars(select(Workspace).where(Workspace.id == row.id))).one()
    names = {column.key for column in Workspace.__table__.c} - {"search"}
    assert {name: getattr(found, name) for name in names} == {name: getattr(same, name) for name in names}
    assert await BY_ID.rows(database, tenants.other, id=row.id) == []


@pytest.mark.parametrize("reason", [LookupError, asyncio.CancelledError])
async def test_what_went_wrong_is_what_is_heard_though_the_connection_died_of_it(
    database: Database, tenants: Tenants, migrated: str, reason: type[BaseException]
) -> None:
    row = await place(database, tenants)
    superuser = create_async_engine(migrated, isolation_level="AUTOCOMMIT")
    with pytest.raises(reason):
        async with _bound(database, tenants.mine) as (_, driver):
            async with superuser.connect() as connection:
                ended = text("SELECT pg_terminate_backend(:pid, 5000)")
                assert await connection.scalar(ended, {"pid": driver.get_server_pid()})
            raise reason
    await superuser.dispose()
    assert len(await BY_ID.rows(database, tenants.mine, id=row.id)) == 1
