"""This module is where silence becomes an offline event: exactly one, whoever notices it first.

The sweep is the guarantee. A hint (a key that expired in Redis) only makes it come sooner, so a forged, lost or
late hint changes nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable
from datetime import datetime
from functools import partial
from typing import Final
from uuid import UUID

from sqlalchemy import ColumnElement, Interval, func, literal, literal_column

from dataloaders.liveness import PAGE, DueWorkspace, due_workspaces
from models import Workspace, WorkspaceStatus
from models.database import Database
from models.registry import LIVE
from resolvers.due_work import DueWork
from resolvers.intake_lease import INTAKE_LEASE
from resolvers.status_changes import change_status, locked_workspaces
from resolvers.unit_of_work import Announces, unit_of_work

_SPACING_SECONDS: Final = 0.25  # a fleet that dies at once sends a hint for each workspace
_SECOND: Final = literal_column("interval '1 second'", Interval)


class Liveness:
    """Takes workspaces offline whose beats stopped, on the database's clock."""

    def __init__(self, database: Database, announcer: Announces, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._announcer = announcer
        self._clock = clock
        self._hint = asyncio.Event()
        self._work = DueWork("liveness", PAGE, partial(due_workspaces, database, INTAKE_LEASE), self._attend)
        self.taken_offline = 0

    def hurry(self) -> None:
        """Something may have fallen silent: let the next sweep come at once."""
        self._hint.set()

    async def rest(self, seconds: float) -> None:
        """Wait for the next sweep's time: ``seconds``, or less after a hint."""
        await asyncio.sleep(min(_SPACING_SECONDS, seconds))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds - _SPACING_SECONDS):
                await self._hint.wait()

    async def sweep(self) -> int:
        """Take every workspace offline that is overdue; how many this call did. Commits, one tenant at a time.

        A tenant that cannot be served now is logged and left to the next sweep. Raises Unavailable, TimeoutError.
        """
        self._hint.clear()
        return await self._work.run()

    async def take_offline(self, tenant_id: UUID, ids: Iterable[UUID], taken_since: datetime) -> int:
        """Take those of ``ids`` offline that are overdue still; how many. Commits.

        Beats must have been taken for one TTL since ``taken_since``: before that, silence may be our own doing.
        """
        async with unit_of_work(self._database, self._announcer, self._clock, tenant_id, None) as work:
            rows = await locked_workspaces(work, ids, *_is_silent(taken_since))
            await change_status(work, rows, WorkspaceStatus.OFFLINE)
        self.taken_offline += len(rows)
        return len(rows)

    async def _attend(self, tenant_id: UUID, due: list[DueWorkspace]) -> int:
        return await self.take_offline(tenant_id, [one.id for one in due], due[0].taken_since)


def _is_silent(taken_since: datetime) -> tuple[ColumnElement[bool], ...]:
    return (
        Workspace.status.in_(sorted(LIVE)),
        Workspace.heartbeat_due_at < func.now(),
        literal(taken_since) + Workspace.heartbeat_ttl_seconds * _SECOND < func.now(),
    )
