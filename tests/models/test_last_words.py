"""This module is where a server that says why it goes, between two statements and before it is gone, is survived."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from asyncpg import DataError
from sqlalchemy import Uuid, bindparam, select, text
from sqlalchemy.exc import DBAPIError

from models import Workspace
from models.database import Database, DatabaseUrls, PoolOptions, is_passing
from models.errors import Unavailable
from models.ids import uuid7
from models.reads import Read
from tests.relay import relayed
from tests.world import AUDIT, Tenants

BY_ID = Read(select(Workspace).where(Workspace.id == bindparam("id", type_=Uuid())))
BY_TIER = Read(select(Workspace).where(Workspace.tier == bindparam("tier")))


async def read(database: Database, tenants: Tenants) -> None:
    assert await BY_ID.rows(database, tenants.mine, id=uuid7()) == []


async def ask(database: Database, tenants: Tenants) -> None:
    async with database.session(tenants.mine) as session:
        assert await session.scalar(text("SELECT 1")) == 1


@pytest.mark.parametrize("use", [read, ask])
async def test_a_connection_whose_server_said_that_it_goes_is_trouble_that_passes(
    migrated: str, tmp_path: Path, tenants: Tenants, use: Callable[[Database, Tenants], Awaitable[None]]
) -> None:
    async with relayed(migrated, tmp_path) as (through, relay):
        database = Database(DatabaseUrls.for_roles(through), PoolOptions(), AUDIT)
        await use(database, tenants)
        relay.ends_next = True
        with pytest.raises(Unavailable):
            await use(database, tenants)
        assert not relay.ends_next
        await use(database, tenants)
        await database.close()


async def test_a_value_that_its_parameter_cannot_hold_is_not(database: Database, tenants: Tenants) -> None:
    with pytest.raises(DataError) as raw:
        await BY_TIER.rows(database, tenants.mine, tier=2**80)
    with pytest.raises(DBAPIError) as wrapped:
        async with database.session(tenants.mine) as session:
            await session.scalars(select(Workspace).where(Workspace.tier == 2**80))
    assert not is_passing(raw.value)
    assert not is_passing(wrapped.value)
