"""This module is where reads keep a few connections at hand between them.

Half of what a short read costs is taking a connection from the pool and giving it back.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

SHARE: Final = 4
"""One of so many of a pool's connections may be kept; the others are there for whoever comes."""

Reader = tuple[AsyncConnection, Any]
"""A connection of the pool, and the driver's face of it."""


class Readers:
    """The connections of one pool that reads have at hand. Each is one reader's at a time, and clean between them."""

    def __init__(self, engine: AsyncEngine, pool_size: int) -> None:
        self._engine = engine
        self._most = pool_size // SHARE
        self._idle: list[Reader] = []

    @asynccontextmanager
    async def reader(self) -> AsyncIterator[Reader]:
        """A connection outside any transaction. One that the block raises from goes back to the pool."""
        reader = await self._take()
        try:
            yield reader
        except BaseException:
            # Shielded, as in the block of a connection: who is given up twice must not leave it behind.
            await asyncio.shield(asyncio.ensure_future(reader[0].close()))
            raise
        if len(self._idle) < self._most:
            self._idle.append(reader)
        else:
            await reader[0].close()

    async def close(self) -> None:
        """Give all of them back."""
        while self._idle:
            await self._idle.pop()[0].close()

    async def _take(self) -> Reader:
        while self._idle:
            connection, driver = self._idle.pop()
            if not driver.is_closed():
                return connection, driver
            # The server went away meanwhile; the pool makes another.
            await connection.invalidate()
            await connection.close()
        connection = await self._engine.connect()
        return connection, (await connection.get_raw_connection()).driver_connection
