"""This module is where demo tests get a database of their own, which no other test's tenants are in."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sqlalchemy import text
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import create_async_engine

from models.database import Database, DatabaseUrls, PoolOptions, role_url
from models.migrate import ensure_roles, migrate
from models.roles import OWNER
from resolvers.call import Services
from tests.world import AUDIT, running


async def new_database(superuser_url: str, name: str) -> str:
    """A migrated database of this name; the superuser's URL of it."""
    server = create_async_engine(superuser_url, isolation_level="AUTOCOMMIT")
    async with server.connect() as connection:
        await connection.execute(text(f"CREATE DATABASE {name}"))
    await server.dispose()
    url = make_url(superuser_url).set(database=name).render_as_string(hide_password=False)
    superuser, owner = create_async_engine(url), create_async_engine(role_url(url, OWNER))
    await ensure_roles(superuser, name)
    await migrate(owner)
    await superuser.dispose()
    await owner.dispose()
    return url


@asynccontextmanager
async def house(url: str) -> AsyncIterator[Services]:
    """The services of one start of a gateway on this database."""
    database = Database(DatabaseUrls.for_roles(url), PoolOptions(), AUDIT)
    try:
        async with running(database) as services:
            yield services
    finally:
        await database.close()
