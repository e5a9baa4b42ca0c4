"""This module is where one tenant is kept from taking every connection that a process has."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from uuid import UUID

from models.errors import Unavailable


@dataclass(slots=True)
class _Turn:
    places: asyncio.Semaphore
    users: int = 0


class Turns:
    """So many writers of one tenant at once; the others wait without a connection.

    Writers of one tenant queue for its event counter. When that is held, each keeps its connection for the lock
    time-out, and without a bound they would keep all: every other tenant's requests would fail with theirs.
    """

    def __init__(self, places: int, wait_seconds: float) -> None:
        self._places = places
        self._wait_seconds = wait_seconds
        self._turns: dict[UUID, _Turn] = {}

    @asynccontextmanager
    async def taken(self, tenant_id: UUID) -> AsyncIterator[None]:
        """One of the tenant's places while the block lasts. Raises Unavailable when none gets free in time."""
        turn = self._turns.get(tenant_id)
        if turn is None:
            turn = self._turns[tenant_id] = _Turn(asyncio.Semaphore(self._places))
        turn.users += 1
        try:
            try:
                async with asyncio.timeout(self._wait_seconds):
                    await turn.places.acquire()
            except TimeoutError as error:
                raise Unavailable from error
            try:
                yield
            finally:
                turn.places.release()
        finally:
            turn.users -= 1
            if not turn.users:
                del self._turns[tenant_id]
