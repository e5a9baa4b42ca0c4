"""This module is where a beat that leads to another status is followed up, one tenant at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from typing import Final
from uuid import UUID
from weakref import WeakValueDictionary

from models import Workspace, WorkspaceStatus
from models.database import Database, database_trouble
from models.registry import status_after_beat
from resolvers.status_changes import AT_ONCE, change_status, locked_workspaces
from resolvers.unit_of_work import Announces, unit_of_work

_TENANTS_AT_ONCE: Final = 4  # beats must not take the pool from callers
_PATIENCE_SECONDS: Final = 8.0


@dataclass(frozen=True, slots=True)
class SeenRow:
    """How a workspace stood when its beat was stored."""

    status: WorkspaceStatus
    lease_epoch: int


@dataclass(slots=True)
class _Round:
    """What one transaction follows up; beats that come while their tenant's is running share the next."""

    seen: dict[UUID, SeenRow] = field(default_factory=dict)
    statuses: dict[UUID, WorkspaceStatus] | None = None


class BeatTransitions:
    """Turns stored beats into status changes: one transaction per tenant, compare-and-set, with events.

    A tenant whose rows or counter somebody holds waits alone: it takes one of four places and no more.
    """

    def __init__(self, database: Database, announcer: Announces, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._announcer = announcer
        self._clock = clock
        self._places = asyncio.Semaphore(_TENANTS_AT_ONCE)
        self._tenants: WeakValueDictionary[UUID, asyncio.Lock] = WeakValueDictionary()
        self._next: dict[UUID, _Round] = {}
        self.changes = 0

    async def follow(self, tenant_id: UUID, seen: Mapping[UUID, SeenRow]) -> dict[UUID, WorkspaceStatus]:
        """Change what still stands as ``seen``; the statuses after it, of every row that was seen.

        Commits. Raises Unavailable with nothing lost: the next beat leads to the same change.
        """
        lock = self._tenants.setdefault(tenant_id, asyncio.Lock())
        shared = self._next.setdefault(tenant_id, _Round())
        shared.seen |= seen
        with database_trouble():
            async with asyncio.timeout(_PATIENCE_SECONDS), lock, self._places:
                if shared.statuses is None:
                    if self._next.get(tenant_id) is shared:
                        del self._next[tenant_id]
                    shared.statuses = await self._run(tenant_id, shared.seen)
                return shared.statuses

    async def _run(self, tenant_id: UUID, seen: Mapping[UUID, SeenRow]) -> dict[UUID, WorkspaceStatus]:
        statuses: dict[UUID, WorkspaceStatus] = {}
        for part in _parts(seen):
            statuses |= await self._change(tenant_id, part)
        return statuses

    async def _change(self, tenant_id: UUID, seen: Mapping[UUID, SeenRow]) -> dict[UUID, WorkspaceStatus]:
        async with unit_of_work(self._database, self._announcer, self._clock, tenant_id, None) as work:
            rows = await locked_workspaces(work, seen)
            statuses = {row.id: row.status for row in rows}
            changed: dict[WorkspaceStatus, list[Workspace]] = {}
            for row in rows:
                target = _target(row, seen[row.id])
                if target is not row.status:
                    changed.setdefault(target, []).append(row)
                    statuses[row.id] = target
            for target, moved in changed.items():
                await change_status(work, moved, target)
        self.changes += sum(map(len, changed.values()))
        return statuses


def _target(row: Workspace, seen: SeenRow) -> WorkspaceStatus:
    if row.status is not seen.status or row.lease_epoch != seen.lease_epoch:
        return row.status  # an operator, a new runtime or another gateway was here since
    # What the row says now, not what the beat said: another gateway may have stored a newer one.
    return status_after_beat(row.status, row.last_error_rate, row.runtime_state)


def _parts(seen: Mapping[UUID, SeenRow]) -> Iterator[dict[UUID, SeenRow]]:
    left = iter(sorted(seen.items()))
    while part := dict(islice(left, AT_ONCE)):
        yield part
