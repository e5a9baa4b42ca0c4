"""This module is where a commit is made known: a coalescing set of (tenant, seq), published by one task.

Redis only rings the bell. A wake-up that is lost costs at most one sweep interval, so a failed publish is a
metric and never a failed mutation.
"""

from __future__ import annotations

import asyncio
from typing import Protocol
from uuid import UUID

from subscriptions.channels import encode_wakeup, events_channel


class Publishes(Protocol):
    """What the announcer needs of a bus."""

    async def publish(self, channel: str, data: bytes) -> bool:
        """Hand ``data`` to the broker; False when it could not."""
        ...


class Announcer:
    """Publishes the newest committed seq of each tenant, soon after its commit and never inside it."""

    def __init__(self, bus: Publishes) -> None:
        self._bus = bus
        self._pending: dict[UUID, int] = {}
        self._ready = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.published = 0
        self.failed = 0

    def start(self) -> None:
        """Begin publishing in the background; ``stop`` ends it."""
        self._task = asyncio.create_task(self._run(), name="announcer")

    async def stop(self) -> None:
        """Publish what is pending (once) and end."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None
        await self._publish_pending()

    def announce(self, tenant_id: UUID, seq: int) -> None:
        """Say that the tenant's log now reaches ``seq``. Returns at once."""
        self._pending[tenant_id] = max(seq, self._pending.get(tenant_id, 0))
        self._ready.set()

    async def _run(self) -> None:
        while True:
            await self._ready.wait()
            await self._publish_pending()

    async def _publish_pending(self) -> None:
        self._ready.clear()
        pending, self._pending = self._pending, {}
        for tenant_id, seq in pending.items():
            if await self._bus.publish(events_channel(tenant_id), encode_wakeup(tenant_id, seq)):
                self.published += 1
            else:
                self.failed += 1
