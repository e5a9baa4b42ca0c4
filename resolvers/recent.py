"""This module is where rows are remembered for a moment: at most a second old, read a tenant at a time.

Every request asks who is calling, so a look-up each would be a statement each. While one read is under way the next
one collects its ids, and every read renews what its tenant has used lately: a fleet of any size costs about one
statement a second. Rows of which something cheaper says that they still hold are not read again at all.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Final, Generic, TypeVar
from uuid import UUID

MAX_AGE_SECONDS: Final = 1.0
_IN_USE_SECONDS: Final = 60.0
_MOST_AT_ONCE: Final = 1000
_MOST_KEPT: Final = 20_000

Value = TypeVar("Value")
Read = Callable[[UUID, Sequence[UUID]], Awaitable[Mapping[UUID, Value]]]
"""The values of a tenant's ids; an id without one is left out."""
Holds = Callable[[UUID, Value], Awaitable[bool]]
"""Whether a tenant's value was still true at most ``MAX_AGE_SECONDS`` ago. Raises what finding out raises."""


@dataclass(slots=True)
class _Entry(Generic[Value]):
    value: Value
    read_at: float
    used_at: float


@dataclass(slots=True)
class _Tenant(Generic[Value]):
    entries: dict[UUID, _Entry[Value]] = field(default_factory=dict)
    wanted: dict[UUID, asyncio.Future[Value | None]] = field(default_factory=dict)
    reading: asyncio.Task[None] | None = None


class RecentRows(Generic[Value]):
    """Values that were true at most ``MAX_AGE_SECONDS`` before they were asked for."""

    def __init__(
        self,
        name: str,
        read: Read[Value],
        timer: Callable[[], float] = time.monotonic,
        holds: Holds[Value] | None = None,
    ) -> None:
        self._name = name
        self._read = read
        self._timer = timer
        self._holds = holds
        self._tenants: dict[UUID, _Tenant[Value]] = {}
        self._kept = 0

    async def get(self, tenant_id: UUID, row_id: UUID) -> Value | None:
        """The value, None where there is none. Raises what reading raises."""
        tenant = self._tenants.setdefault(tenant_id, _Tenant())
        now = self._timer()
        entry = tenant.entries.get(row_id)
        if entry is not None and (now - entry.read_at < MAX_AGE_SECONDS or await self._still_holds(tenant_id, entry)):
            entry.used_at = now
            return entry.value
        wanted = tenant.wanted.get(row_id)
        if wanted is None:
            wanted = tenant.wanted[row_id] = asyncio.get_running_loop().create_future()
        if tenant.reading is None:
            tenant.reading = asyncio.create_task(self._serve(tenant_id, tenant), name=f"read recent {self._name}")
        # Shielded, because others wait for the same future.
        return await asyncio.shield(wanted)

    def forget(self, tenant_id: UUID) -> None:
        """Read everything of this tenant anew: something was just changed here."""
        tenant = self._tenants.get(tenant_id)
        if tenant is not None:
            self._kept -= len(tenant.entries)
            # A new dict, so that a read which began before the change fills the old one.
            tenant.entries = {}

    async def close(self) -> None:
        """End every read that is under way; whoever waits for one is cancelled."""
        reads = [tenant.reading for tenant in self._tenants.values() if tenant.reading is not None]
        for read in reads:
            read.cancel()
        await asyncio.gather(*reads, return_exceptions=True)

    async def _still_holds(self, tenant_id: UUID, entry: _Entry[Value]) -> bool:
        return self._holds is not None and await self._holds(tenant_id, entry.value)

    async def _serve(self, tenant_id: UUID, tenant: _Tenant[Value]) -> None:
        try:
            while tenant.wanted:
                batch = dict(islice(tenant.wanted.items(), _MOST_AT_ONCE))
                for row_id in batch:
                    del tenant.wanted[row_id]
                await self._read_batch(tenant_id, tenant, batch)
        finally:
            tenant.reading = None
            for future in tenant.wanted.values():
                future.cancel()
            tenant.wanted.clear()
            if not tenant.entries:
                # Whoever names tenants that are none must leave nothing behind.
                self._tenants.pop(tenant_id, None)

    async def _read_batch(
        self, tenant_id: UUID, tenant: _Tenant[Value], batch: dict[UUID, asyncio.Future[Value | None]]
    ) -> None:
        entries, now = tenant.entries, self._timer()
        try:
            in_use = self._in_use(entries, now)
            renewed = list(islice((row_id for row_id in in_use if row_id not in batch), _MOST_AT_ONCE))
            ids = [*batch, *renewed]
            found = await self._read(tenant_id, ids)
            for row_id in ids:
                self._keep(tenant, entries, row_id, found.get(row_id), now, used=row_id in batch)
        except asyncio.CancelledError:
            for future in batch.values():
                future.cancel()
            raise
        except Exception as error:
            # Whatever it is, it is theirs who wait: nobody must wait for an answer that never comes.
            for future in batch.values():
                if not future.done():
                    future.set_exception(error)
                    future.exception()  # whoever asked may be gone; then nobody retrieves it
            return
        for row_id, future in batch.items():
            if not future.done():
                future.set_result(found.get(row_id))
        if entries is tenant.entries and self._timer() - now < MAX_AGE_SECONDS:
            # Asked for meanwhile, and read by the way: another read would say the same.
            for row_id in tenant.wanted.keys() & set(renewed):
                self._keep(tenant, entries, row_id, found.get(row_id), now, used=True)
                if not (future := tenant.wanted.pop(row_id)).done():
                    future.set_result(found.get(row_id))
        self._trim(now)

    def _in_use(self, entries: dict[UUID, _Entry[Value]], now: float) -> list[UUID]:
        idle = [row_id for row_id, entry in entries.items() if now - entry.used_at > _IN_USE_SECONDS]
        for row_id in idle:
            del entries[row_id]
        self._kept -= len(idle)
        return list(entries)

    def _keep(
        self,
        tenant: _Tenant[Value],
        entries: dict[UUID, _Entry[Value]],
        row_id: UUID,
        value: Value | None,
        read_at: float,
        *,
        used: bool,
    ) -> None:
        if entries is not tenant.entries:
            return
        before = entries.pop(row_id, None)
        self._kept -= before is not None
        if value is not None:
            used_at = read_at if used or before is None else before.used_at
            entries[row_id] = _Entry(value, read_at, used_at)
            self._kept += 1

    def _trim(self, now: float) -> None:
        if self._kept <= _MOST_KEPT:
            return
        for tenant_id, tenant in list(self._tenants.items()):
            tenant.entries = {
                row_id: entry for row_id, entry in tenant.entries.items() if now - entry.used_at < MAX_AGE_SECONDS
            }
            if not tenant.entries and tenant.reading is None:
                del self._tenants[tenant_id]
        self._kept = sum(len(tenant.entries) for tenant in self._tenants.values())
        if self._kept > _MOST_KEPT:
            for tenant in self._tenants.values():
                tenant.entries = {}
            self._kept = 0
