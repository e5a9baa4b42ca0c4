"""This module is where a server that says why it goes, between two statements and before it is gone, is survived."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from asyncpg import DataError
from sqlalchemy import Uuid, bindparam, select, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError

from models import Workspace
from models.database import Database, DatabaseUrls, PoolOptions, is_passing
from models.errors import Unavailable
from models.ids import uuid7
from models.reads import Read
from tests.world import AUDIT, Tenants

BY_ID = Read(select(Workspace).where(Workspace.id == bindparam("id", type_=Uuid())))
TIER = Read(select(Workspace).where(Workspace.tier == bindparam("tier")))
_FIELDS = b"SFATAL\0VFATAL\0C57P01\0Mterminating connection due to administrator command\0\0"
LAST_WORDS = b"E" + struct.pack("!i", 4 + len(_FIELDS)) + _FIELDS
_READY = b"Z\0\0\0\5"


class Relay:
    """Stands between a driver and its server; says a server's last words in its name, and hangs up later."""

    def __init__(self, server: str) -> None:
        self._server = server
        self._ends: set[asyncio.StreamWriter] = set()
        self.ends_next = False

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection of the driver."""
        from_server, to_server = await asyncio.open_unix_connection(self._server)
        self._ends |= {writer, to_server}
        await asyncio.gather(self._pass_on(reader, to_server), self._pass_on(from_server, writer, is_answer=True))

    async def _pass_on(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, is_answer: bool = False
    ) -> None:
        while data := await reader.read(65536):
            writer.write(data)
            if is_answer and self.ends_next and data[-6:-1] == _READY:
                self.ends_next = False
                writer.write(LAST_WORDS)
        writer.close()

    def hang_up(self) -> None:
        """End every connection."""
        for one in self._ends:
            one.close()


@pytest.fixture
async def relay(migrated: str, tmp_path: Path) -> AsyncIterator[Relay]:
    relay = Relay(f"{make_url(migrated).query['host']}/.s.PGSQL.5432")
    server = await asyncio.start_unix_server(relay.serve, tmp_path / ".s.PGSQL.5432")
    yield relay
    relay.hang_up()
    server.close()
    await server.wait_closed()


@pytest.fixture
async def relayed(migrated: str, relay: Relay, tmp_path: Path) -> AsyncIterator[Database]:
    through = make_url(migrated).update_query_dict({"host": str(tmp_path)}).render_as_string(hide_password=False)
    made = Database(DatabaseUrls.for_roles(through), PoolOptions(), AUDIT)
    yield made
    await made.close()


async def read(database: Database, tenants: Tenants) -> None:
    assert await BY_ID.rows(database, tenants.mine, id=uuid7()) == []


async def ask(database: Database, tenants: Tenants) -> None:
    async with database.session(tenants.mine) as session:
        assert await session.scalar(text("SELECT 1")) == 1


@pytest.mark.parametrize("use", [read, ask])
async def test_a_connection_whose_server_said_that_it_goes_is_trouble_that_passes(
    relayed: Database, relay: Relay, tenants: Tenants, use: Callable[[Database, Tenants], Awaitable[None]]
) -> None:
    await use(relayed, tenants)
    relay.ends_next = True
    with pytest.raises(Unavailable):
        await use(relayed, tenants)
    assert not relay.ends_next
    await use(relayed, tenants)


async def test_a_value_that_its_parameter_cannot_hold_is_not(database: Database, tenants: Tenants) -> None:
    with pytest.raises(DataError) as raw:
        await TIER.rows(database, tenants.mine, tier=2**80)
    with pytest.raises(DBAPIError) as wrapped:
        async with database.session(tenants.mine) as session:
            await session.scalars(select(Workspace).where(Workspace.tier == 2**80))
    assert not is_passing(raw.value)
    assert not is_passing(wrapped.value)
