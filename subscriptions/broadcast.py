"""This module is where broadcaster's fan-out is made safe: bounded queues and a supervised reader."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Final

import structlog
from broadcaster import Broadcast, Event

from subscriptions.backend import SupervisedBackend
from subscriptions.inbox import Inbox

_RESTART_SECONDS: Final = 0.5
_log = structlog.get_logger(__name__)


class BoundedBroadcast(Broadcast):
    """broadcaster's Broadcast, with what its 0.3.1 lacks; our bus is its only user.

    Kept: the backend interface, the registry of queues per channel, the loop that fills them.
    Replaced: `subscribe`, which registered its queue after SUBSCRIBE, overwrote concurrent first
    subscribers and knew no bound, and the end of the loop at the first exception.
    """

    def __init__(self, backend: SupervisedBackend) -> None:
        super().__init__(backend=backend)
        self._supervised = backend
        self._is_ended = False

    async def connect(self) -> None:
        await super().connect()
        self._listener_task.set_name("bus-reader")

    async def disconnect(self) -> None:
        """Ends every subscription, then the reader and the backend."""
        self._is_ended = True
        for queue in {queue for queues in self._subscribers.values() for queue in queues}:
            await queue.put(None)
        self._listener_task.cancel()
        await asyncio.wait({self._listener_task})
        await self._supervised.disconnect()

    @contextlib.asynccontextmanager
    async def subscribe(  # type: ignore[override]  # bytes and gaps, of several channels
        self, *channels: str, queue_size: int = 1024
    ) -> AsyncIterator[Inbox]:
        """Entered when the broker has confirmed, or without it: then the confirmation comes as a gap."""
        if not channels:
            raise ValueError("subscribe to at least one channel")
        inbox = Inbox(queue_size, self._supervised.counters)
        try:
            await self.register(inbox, *channels)
            inbox.listen()
            yield inbox
        finally:
            inbox.close()
            await self.unregister(inbox, *channels)

    async def register(self, queue: asyncio.Queue[Event | None], *channels: str) -> None:
        """Hands the channels' events to the queue. Its `put` must not wait."""
        if self._is_ended:
            await queue.put(None)
            return
        for channel in channels:
            self._subscribers.setdefault(channel, set()).add(queue)
        await self._supervised.subscribe(*channels)

    async def unregister(self, queue: asyncio.Queue[Event | None], *channels: str) -> None:
        for channel in channels:
            queues = self._subscribers.get(channel, set())
            queues.discard(queue)
            if not queues and self._subscribers.pop(channel, None) is not None:
                await self._supervised.unsubscribe(channel)

    async def _listener(self) -> None:
        while True:
            try:
                await super()._listener()
            except Exception:
                # A defect, not the broker's absence: start afresh, so that everybody is told of the gap.
                _log.exception("bus.reader_failed")
                await self._supervised.reconnect()
                await asyncio.sleep(_RESTART_SECONDS)
