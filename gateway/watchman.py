"""This module is where what stays open is held to what its credentials are worth: revocation reaches every process.

Security boundary: a request is checked when it comes, a socket or a stream only when it opens; from there on it is
looked at here, twice a second, at the cost of at most one statement a second and tenant for people and one for keys.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import structlog

from gateway.transports.open_connections import OpenConnection, OpenConnections
from models.errors import Unauthenticated, Unavailable
from resolvers.principal import Principal

LOOK_SECONDS: Final = 0.5
"""With rows that are at most a second old, what was revoked ends within one and a half."""
_MOST_AT_ONCE: Final = 1000

_log = structlog.get_logger(__name__)

Recheck = Callable[[Principal], Awaitable[Principal]]
"""The principal as it stands now. Raises UNAUTHENTICATED, UNAVAILABLE."""


class Watchman:
    """Looks at every open connection of this process."""

    def __init__(self, connections: OpenConnections, recheck: Recheck, look_seconds: float = LOOK_SECONDS) -> None:
        self._connections = connections
        self._recheck = recheck
        self._look_seconds = look_seconds
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Look in the background."""
        self._task = asyncio.create_task(self._run(), name="watchman")

    async def stop(self) -> None:
        """End the task."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task}, timeout=5)

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._look_seconds)
            try:
                await self.look()
            except Exception:
                _log.exception("the watchman stumbled; it looks again")

    async def look(self) -> None:
        """Look once at everything that is open."""
        found = list(self._connections.by_principal().items())
        for start in range(0, len(found), _MOST_AT_ONCE):
            part = found[start : start + _MOST_AT_ONCE]
            # Asked for together, so that a tenant's are read together.
            await asyncio.gather(*(self._judge(principal, connections) for principal, connections in part))

    async def _judge(self, principal: Principal, connections: Sequence[OpenConnection]) -> None:
        try:
            now = await self._recheck(principal)
        except Unavailable:
            return  # nobody can say; the database's own trouble must not end a stream
        except Unauthenticated as failure:
            for connection in connections:
                connection.expel(failure)
            return
        if now.scopes != principal.scopes:
            for connection in connections:
                connection.hold_to(now)
